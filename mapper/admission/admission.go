// Package admission decides whether an uploaded mapper may run, and how much
// fuel a call of it gets. Compiling is where a hostile module does most harm,
// and a compile cannot be cancelled; so all of it happens in a child process of
// its own, which is killed when it takes too much time or memory.
//
//	Run (the node)                          Child (the same binary, limits set on itself)
//	  request  ── stdin ──►  rewrite ─► compile ─► start ─► vectors on fresh and used instances
//	  verdict  ◄─ stdout ──  the step that it is at, then the verdict
//
// A module's fault, however the child ends of it, is a Verdict that its author
// can act on; an error is the node's own trouble. Native code of an admitted
// module is left in the cache folder, of a refused one nothing is left.
package admission

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/vectors"
)

// Fuel that one call may get.
const (
	FuelMin         = 200_000    // however little the vectors need
	FuelMaxStandard = 10_000_000 // tier standard: enough for C, Rust, AssemblyScript and careful Go
	FuelMaxLarge    = 50_000_000 // tier large: encoding/json in Go, JavaScript engines

	fuelPerWorst = 20 // a call may take so many times what the worst vector took
)

// ConfigBytesMax is the size of a mapper's configuration: it has to fit into
// the smallest buffer that a module may offer.
const ConfigBytesMax = 16 << 10

// Request is what is to be judged. Run keeps none of its memory.
type Request struct {
	Code    []byte         // the module as uploaded
	Config  []byte         // what its mapper_v1_init is given; nil when it has none
	Vectors []byte         // an archive of package vectors
	FuelMax int64          // of the mapper's tier
	Limits  rewrite.Limits // of the module's structure

	// CacheDir is the cache folder of the node's engine, made when it is not
	// there. Empty: nothing is kept.
	CacheDir string
}

// Verdict is what came of it. But for CompileMillis and Vector.Nanos the same
// request gives the same verdict.
type Verdict struct {
	Admitted bool     `json:"admitted"`
	Reasons  []Reason `json:"reasons,omitempty"` // why not

	SHA256         string   `json:"sha256"` // of the module as uploaded
	ModuleBytes    int      `json:"module_bytes"`
	RewrittenBytes int      `json:"rewritten_bytes,omitempty"`
	CompileMillis  int64    `json:"compile_ms"`
	MemoryPages    uint32   `json:"memory_pages"`      // of 64 KiB, the most after any vector
	InitFuel       int64    `json:"init_fuel"`         // what starting an instance takes
	WorstFuel      int64    `json:"worst_fuel"`        // the most that a vector took
	FuelLimit      int64    `json:"fuel_limit"`        // that a call shall have; 0 when refused
	Exports        []string `json:"exports,omitempty"` // the first 64
	Imports        []string `json:"imports,omitempty"` // MODULE.NAME
	Vectors        []Vector `json:"vectors,omitempty"`
}

// Reason is one reason of a refusal.
type Reason struct {
	Code string `json:"code"` // a machine word: a code below, or one of package rewrite or wasm
	Text string `json:"text"` // says to the author what is wrong and what to do
}

// Vector is what one test case gave.
type Vector struct {
	Name  string   `json:"name"`
	OK    bool     `json:"ok"`
	Fuel  int64    `json:"fuel"`
	Pages uint32   `json:"pages"`
	Nanos int64    `json:"ns"` // the quickest call, with what the host does around it
	Diff  []string `json:"diff,omitempty"`
}

// Codes of refusals, beside those of packages rewrite and wasm. Never renamed.
const (
	CodeConfigBytes    = "config_bytes"
	CodeVectorsBytes   = "vectors_bytes"
	CodeVectorsBad     = "vectors_unreadable"
	CodeNoVectors      = "no_vectors"
	CodeStartFailed    = "start_failed" // the start function, _initialize, mapper_v1_init or mapper_v1_buffer trapped
	CodeVectorBroke    = "vector_broke" // the mapper trapped on a vector, or its output cannot be read
	CodeVectorDiffers  = "vector_differs"
	CodeKeepsState     = "keeps_state"
	CodeNeedsMoreFuel  = "needs_more_fuel"
	CodeCompileSlow    = "compile_too_slow"
	CodeCompileLarge   = "compile_too_large"
	CodeCompileCrashed = "compile_crashed"
	CodeVectorsSlow    = "vectors_too_slow"
	CodeVectorsLarge   = "vectors_too_large"
	CodeVectorsCrashed = "vectors_crashed"
)

// bounds are what a child may take.
type bounds struct {
	CPUSeconds  uint64
	MemoryBytes uint64 // beside what the process maps before it begins
	FileBytes   uint64 // of one file that it writes
	Files       uint64 // open at once

	wall time.Duration
}

// The address space of a Go process counts more than 1 GB before it does
// anything, so together this is somewhat above 2 GiB.
var defaultBounds = bounds{CPUSeconds: 10, MemoryBytes: 1 << 30, FileBytes: 256 << 20, Files: 64, wall: 20 * time.Second}

func newVerdict(code []byte) *Verdict {
	sum := sha256.Sum256(code)
	return &Verdict{SHA256: hex.EncodeToString(sum[:]), ModuleBytes: len(code)}
}

func (v *Verdict) refuse(code, format string, args ...any) {
	v.Reasons = append(v.Reasons, Reason{Code: code, Text: fmt.Sprintf(format, args...)})
}

// sizes refuses what is too large to be looked at.
func (v *Verdict) sizes(r *Request) {
	if n := len(r.Code); n > r.Limits.ModuleBytesMax {
		v.refuse(rewrite.RefuseModuleBytes, "the module has %d bytes; at most %d are allowed: build it without debug information and optimised for size", n, r.Limits.ModuleBytesMax)
	}
	if n := len(r.Config); n > ConfigBytesMax {
		v.refuse(CodeConfigBytes, "the configuration has %d bytes; at most %d are allowed: put what does not change into the module", n, ConfigBytesMax)
	}
	if n := len(r.Vectors); n > vectors.ArchiveBytesMax {
		v.refuse(CodeVectorsBytes, "the test vectors have %d bytes; at most %d are allowed: leave out cases that show nothing new", n, vectors.ArchiveBytesMax)
	}
}
