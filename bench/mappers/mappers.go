// Package mappers measures what partners' mappers cost: the example "pairs" in
// every language beside the built-in mapper, which does the same, over the same
// postbacks.
//
//	calls     one postback: the bare call of an instance and the whole way
//	          through mapper.Mapper, with and without the counting of work
//	distinct  batches whose postbacks belong to 1, 100 or 1,000 mappers
//	active    from an engine's opening until many mappers can run, and what
//	          memory they and their instances take
//
// Each part is meant to run in a process of its own (bench/cmd/mappers), so that
// memory and garbage are its own. Times are the processor's, of the whole
// process, for the machine is shared; what is compared takes turns.
package mappers

import (
	"time"
)

// Config says what to measure and how long.
type Config struct {
	Root   string        // the module's sources: the examples' modules are there
	Go     string        // the example in Go, built, see BuildGo; "" leaves it out
	Round  time.Duration // processor time of one turn of one subject, default 20 ms
	Rounds int           // turns of each, default 10
	Cache  string        // folder of native code, of Active
	Langs  []string      // of Active's mappers, which take turns
	Count  int           // of Active's mappers
}

func (c *Config) defaults() {
	if c.Round == 0 {
		c.Round = 20 * time.Millisecond
	}
	if c.Rounds == 0 {
		c.Rounds = 10
	}
}

// Cost is that of one operation.
type Cost struct {
	Nanos  float64   `json:"cpu_ns"`        // of the cheapest turn: what others do on the machine only adds
	Median float64   `json:"cpu_ns_median"` // of all turns
	Rounds []float64 `json:"cpu_ns_rounds"` // in their order; those of subjects that were measured together took turns
	Allocs float64   `json:"allocs"`
	Bytes  float64   `json:"bytes"`
}

// BuiltIn is the name of the built-in mapper among languages.
const BuiltIn = "builtin"

// Calls are what Config's part calls found.
type Calls struct {
	Shapes []Shape `json:"shapes"`
}

// Shape is one kind of postback and what mapping one costs.
type Shape struct {
	Name       string `json:"name"`
	Pairs      int    `json:"pairs"`       // that a sender sends
	InputBytes int    `json:"input_bytes"` // of one as a mapper reads it
	Calls      []Call `json:"calls"`

	// For whoever measures another host: one input, and what C made of it.
	Input  []byte `json:"input,omitempty"`
	Output []byte `json:"output,omitempty"`
}

// Call is the cost of one postback.
type Call struct {
	Lang    string `json:"lang"`
	Counted bool   `json:"counted"`        // its code counts fuel and depth, as on a node
	Fuel    int64  `json:"fuel,omitempty"` // that it uses
	Bare    *Cost  `json:"bare,omitempty"` // input copied in, call, output in view; nil for the built-in mapper
	Mapped  Cost   `json:"mapped"`         // from the record in a batch to the event, all included

	// AllocsPerEvent is how many allocations each further postback of a batch
	// adds to those of the batch.
	AllocsPerEvent float64 `json:"allocs_per_event"`
}

// Distinct is one size of a crowd of mappers in random order.
type Distinct struct {
	Lang    string  `json:"lang"`
	Mappers int     `json:"mappers"`
	Cost    Cost    `json:"cost"` // of one postback
	Made    float64 `json:"instances_made_per_event"`
}

// Active is how long many mappers take to get ready, from the disk cache, and
// what they take then.
type Active struct {
	Langs        []string `json:"langs"`
	Mappers      int      `json:"mappers"`
	ModuleBytes  int      `json:"module_bytes"` // of all, as pushed
	OpenMs       float64  `json:"open_ms"`      // of the engine
	RewriteMs    float64  `json:"rewrite_ms"`   // of all
	CheckMs      float64  `json:"check_ms"`     // that their native code is there and whole
	LoadMs       float64  `json:"load_ms"`
	ReadyMs      float64  `json:"ready_ms"`      // all of the above, by the clock on the wall
	ReadyCPUMs   float64  `json:"ready_cpu_ms"`  //
	InstanceMs   float64  `json:"instances_ms"`  // then one instance of each and one call
	HeapBytes    float64  `json:"heap_bytes"`    // of each mapper, without an instance
	RSSBytes     float64  `json:"rss_bytes"`     //
	InstanceHeap float64  `json:"instance_heap"` // bytes of each instance, beside the mapper
	InstanceRSS  float64  `json:"instance_rss"`  //
	Charged      float64  `json:"instance_charged"`
	ProcessRSS   int64    `json:"process_rss_bytes"` // of all, with instances
}
