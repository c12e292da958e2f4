//go:build !race

package wasm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

const goMapper = `package main

import "unsafe"

var buffer, output [32 << 10]byte

//go:wasmexport mapper_v1_buffer
func mapperBuffer() uint64 { return word(&buffer[0], len(buffer)) }

func word(p *byte, n int) uint64 { return uint64(uintptr(unsafe.Pointer(p)))<<32 | uint64(n) }

// mapper_v1_map gives ref_id = the value of the first pair named ref.
//
//go:wasmexport mapper_v1_map
func mapperMap(n uint32) uint64 {
	u16 := func(at int) int { return int(buffer[at]) | int(buffer[at+1])<<8 }
	at := u16(24)
	for range u16(6) {
		name, value := u16(at+2), u16(at+4)
		if string(buffer[at+6:at+6+name]) == "ref" {
			output[0], output[2], output[3] = 1, byte(value), 0
			copy(output[4:], buffer[at+6+name:][:value])
			return word(&output[0], 4+value)
		}
		at += 6 + name + value
	}
	if n > 0 && buffer[4] == 1 {
		panic("a test without a ref")
	}
	return 2
}

func main() {}
`

// buildGo builds a mapper in Go as a partner would.
func buildGo(t testing.TB, source string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": source, "go.mod": "module mapper\n\ngo 1.26\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", "mapper.wasm", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOWORK=off")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	code, err := os.ReadFile(filepath.Join(dir, "mapper.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestGoGuest(t *testing.T) {
	var log strings.Builder
	e := openEngine(t, Config{Log: func(_ string, level int32, text []byte) { log.Write(text) }})
	w := newWorker(t, e)
	limits := rewrite.Default()
	limits.DataSegmentsMax = max(limits.DataSegmentsMax, 1<<16) // Go cuts its data at zeros
	code, info, err := rewrite.Rewrite(buildGo(t, goMapper), limits)
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Load(context.Background(), Module{Name: "go@1", Code: code, FuelPerCall: fuelPerCall})
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		wantAnswer(t, w, p, "abc")
	}
	i := instance(t, w, p)
	t.Logf("%d bytes, %d functions, start-up %d units, %d pages, %d units a call", len(code), info.Functions,
		rewrite.Default().FuelInit-i.InitFuelLeft(), i.Pages(), i.Fuel())
	in := abi.Begin(i.Input(), abi.FlagTest, 0)
	n, _ := in.End(nil)
	_, _, err = i.Map(context.Background(), n)
	wantTrap(t, err, Crash, "the module crashed in function")
	if !strings.Contains(log.String(), "panic: a test without a ref") {
		t.Errorf("a panic prints %q", log.String())
	}
	wantAnswer(t, w, p, "abc")
	if p.Made() != 2 {
		t.Errorf("%d instances, want a second one after the panic", p.Made())
	}
}
