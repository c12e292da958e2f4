package wasm

import (
	"context"
	"encoding/binary"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/tallyhook/tallyhook/mapper/abi"
)

// What modules may import. The runtimes of Go and JavaScript ask for parts of
// WASI even when the mapper itself needs none; they get an empty world in which
// nothing can be reached: no arguments, no files, a clock that stands, the same
// random bytes always. Some answers are what those runtimes need to stay calm:
// a write that fails makes Go's panic handler panic until the stack is gone, and
// an unknown error for a preopened folder ends its start-up.

const wasiModule = "wasi_snapshot_preview1"

// Limits of what a module may ask the host for.
const (
	LogBytesMax        = 1 << 10 // of one line
	LogLinesMax        = 32      // of one call
	randomBytesMax     = 1 << 10
	subscriptionsMax   = 64
	subscriptionBytes  = 48
	subscriptionResult = 32
)

// itemFuel is the price of one item of a list that a module hands over. Bytes
// that the host writes or logs cost a unit each. Without these prices a loop
// around random_get would buy twenty times the time that a loop of its own does.
const itemFuel = 16

// Errors of WASI.
const (
	success  = 0
	badFile  = 8
	badPlace = 21
	invalid  = 28
)

// standstill is the time on the module's clock, nanoseconds since 1970. It is
// not zero: Go's runtime takes zero for a broken clock.
const standstill = 1_640_995_200_000_000_000

type hostFunction struct {
	params, results []api.ValueType
	run             func(g *guest, m api.Module, stack []uint64)
}

// hostFunctions is never written to: module name, function name.
var hostFunctions = map[string]map[string]hostFunction{
	abi.ImportModule: {abi.ImportLog: host("iii", "", logLine)},
	wasiModule:       wasiFunctions(),
}

func wasiFunctions() map[string]hostFunction {
	deny := func(g *guest, m api.Module, stack []uint64) { stack[0] = badFile }
	all := map[string]hostFunction{
		"args_get":          host("ii", "i", empty),
		"args_sizes_get":    host("ii", "i", noneOfThem),
		"environ_get":       host("ii", "i", empty),
		"environ_sizes_get": host("ii", "i", noneOfThem),
		"clock_res_get":     host("ii", "i", clockResolution),
		"clock_time_get":    host("iIi", "i", clockTime),
		"fd_write":          host("iiii", "i", fdWrite),
		"poll_oneoff":       host("iiii", "i", poll),
		"proc_exit":         host("i", "", procExit),
		"random_get":        host("ii", "i", random),
		"sched_yield":       host("", "i", empty),
	}
	for name, params := range map[string]string{
		"fd_advise": "iIIi", "fd_allocate": "iII", "fd_close": "i", "fd_datasync": "i", "fd_fdstat_get": "ii",
		"fd_fdstat_set_flags": "ii", "fd_fdstat_set_rights": "iII", "fd_filestat_get": "ii",
		"fd_filestat_set_size": "iI", "fd_filestat_set_times": "iIIi", "fd_pread": "iiiIi",
		"fd_prestat_dir_name": "iii", "fd_prestat_get": "ii", "fd_pwrite": "iiiIi", "fd_read": "iiii",
		"fd_readdir": "iiiIi", "fd_renumber": "ii", "fd_seek": "iIii", "fd_sync": "i", "fd_tell": "ii",
		"path_create_directory": "iii", "path_filestat_get": "iiiii", "path_filestat_set_times": "iiiiIIi",
		"path_link": "iiiiiii", "path_open": "iiiiiIIii", "path_readlink": "iiiiii",
		"path_remove_directory": "iii", "path_rename": "iiiiii", "path_symlink": "iiiii",
		"path_unlink_file": "iii", "sock_accept": "iii", "sock_recv": "iiiiii", "sock_send": "iiiii",
		"sock_shutdown": "ii",
	} {
		all[name] = host(params, "i", deny)
	}
	return all
}

// host writes types as letters, i for i32, I for i64.
func host(params, results string, run func(*guest, api.Module, []uint64)) hostFunction {
	types := func(letters string) (list []api.ValueType) {
		for _, c := range letters {
			if c == 'I' {
				list = append(list, i64)
			} else {
				list = append(list, i32)
			}
		}
		return list
	}
	return hostFunction{types(params), types(results), run}
}

// bindImports gives r what m imports, and only that: each module with host
// functions costs tens of microseconds and kilobytes.
func bindImports(ctx context.Context, r wazero.Runtime, m wazero.CompiledModule) error {
	builders := map[string]wazero.HostModuleBuilder{}
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		b := builders[module]
		if b == nil {
			b = r.NewHostModuleBuilder(module)
			builders[module] = b
		}
		h := hostFunctions[module][name]
		call := api.GoModuleFunc(func(ctx context.Context, m api.Module, stack []uint64) {
			h.run(guestOf(ctx), m, stack)
		})
		b.NewFunctionBuilder().WithGoModuleFunction(call, h.params, h.results).Export(name)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	return nil
}

func empty(_ *guest, _ api.Module, stack []uint64) { stack[0] = success }

// noneOfThem(count *u32, bytes *u32)
func noneOfThem(_ *guest, m api.Module, stack []uint64) {
	count, size := uint32(stack[0]), uint32(stack[1])
	stack[0] = result(m.Memory().WriteUint32Le(count, 0) && m.Memory().WriteUint32Le(size, 0))
}

func result(ok bool) uint64 {
	if ok {
		return success
	}
	return badPlace
}

// clockResolution(clock, resolution *u64)
func clockResolution(_ *guest, m api.Module, stack []uint64) {
	stack[0] = result(m.Memory().WriteUint64Le(uint32(stack[1]), 1))
}

// clockTime(clock, precision, time *u64)
func clockTime(_ *guest, m api.Module, stack []uint64) {
	stack[0] = result(m.Memory().WriteUint64Le(uint32(stack[2]), standstill))
}

// procExit(code) does not return.
func procExit(_ *guest, _ api.Module, stack []uint64) { panic(exit{uint32(stack[0])}) }

// random(buffer, length)
func random(g *guest, m api.Module, stack []uint64) {
	n := uint32(stack[1])
	if n > randomBytesMax {
		stack[0] = invalid
		return
	}
	g.pay(m, int64(n))
	p, ok := m.Memory().Read(uint32(stack[0]), n)
	for i := range p {
		p[i] = byte(i*167 + 13) // any bytes, the same in every run
	}
	stack[0] = result(ok)
}

// poll(subscriptions, events, count, happened *u32): each comes true at once,
// and nobody sleeps.
func poll(g *guest, m api.Module, stack []uint64) {
	in, out, n, happened := uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])
	if n == 0 || n > subscriptionsMax {
		stack[0] = invalid
		return
	}
	g.pay(m, int64(n)*itemFuel)
	subscriptions, ok := m.Memory().Read(in, n*subscriptionBytes)
	events, ok2 := m.Memory().Read(out, n*subscriptionResult)
	if !ok || !ok2 || !m.Memory().WriteUint32Le(happened, n) {
		stack[0] = badPlace
		return
	}
	for i := range int(n) {
		s, e := subscriptions[i*subscriptionBytes:], events[i*subscriptionResult:]
		data, kind := binary.LittleEndian.Uint64(s), s[8]
		clear(e[:subscriptionResult])
		binary.LittleEndian.PutUint64(e, data)
		e[10] = kind
	}
	stack[0] = success
}

// fdWrite(file, pieces, count, written *u32) takes everything on standard
// output and standard error.
func fdWrite(g *guest, m api.Module, stack []uint64) {
	fd, place, n, written := uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])
	if fd != 1 && fd != 2 {
		stack[0] = badFile
		return
	}
	if n > m.Memory().Size()/8 {
		stack[0] = badPlace
		return
	}
	g.pay(m, int64(n)*itemFuel)
	pieces, ok := m.Memory().Read(place, n*8)
	if !ok {
		stack[0] = badPlace
		return
	}
	var total uint32
	line := g.line[:0]
	for ; len(pieces) > 0; pieces = pieces[8:] {
		at, length := binary.LittleEndian.Uint32(pieces), binary.LittleEndian.Uint32(pieces[4:])
		p, ok := m.Memory().Read(at, length)
		if !ok {
			stack[0] = badPlace
			return
		}
		total += length
		line = append(line, p[:min(len(p), len(g.line)-len(line))]...)
	}
	g.log(m, int32(fd), line)
	stack[0] = result(m.Memory().WriteUint32Le(written, total))
}

// logLine(level, text, length)
func logLine(g *guest, m api.Module, stack []uint64) {
	if text, ok := m.Memory().Read(uint32(stack[1]), min(uint32(stack[2]), LogBytesMax)); ok {
		g.log(m, int32(stack[0]), text)
	}
}
