package wasm

import (
	"context"

	"github.com/tetratelabs/wazero/api"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// guest is the context of every call into one instance: it is how a host
// function, which the instances of a program share, knows for whom it works.
// It never ends; calls are bounded by fuel.
type guest struct {
	context.Context // carries the memory allocator while the instance is made

	module string
	sink   func(module string, level int32, text []byte)
	lines  int // logged in this call
	line   [LogBytesMax]byte
	fuel   api.MutableGlobal // nil until first needed: the start function runs before anybody can ask for it
}

func guestOf(ctx context.Context) *guest {
	g, ok := ctx.(*guest)
	if !ok {
		panic("bug: a mapper module was called with another context")
	}
	return g
}

// pay takes units of fuel for work whose amount the module chose; the call of a
// host function as such has been paid for by the rewritten code.
func (g *guest) pay(m api.Module, units int64) {
	if g.fuel == nil {
		g.fuel = m.ExportedGlobal(rewrite.FuelExport).(api.MutableGlobal)
	}
	left := int64(g.fuel.Get()) - units
	g.fuel.Set(uint64(left))
	if left < 0 {
		panic(errOutOfFuel)
	}
}

// log hands text to the sink, up to the limit of lines. The bytes cost fuel
// whether somebody reads them or not, so that figures measured with a sink hold
// without one.
func (g *guest) log(m api.Module, level int32, text []byte) {
	g.pay(m, int64(len(text)))
	if g.sink == nil || g.lines == LogLinesMax {
		return
	}
	g.lines++
	g.sink(g.module, level, text)
}
