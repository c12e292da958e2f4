package run

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/bench/mappers"
)

// Mappers is what partners' mappers cost.
type Mappers struct {
	Shapes   []mappers.Shape    `json:"shapes,omitempty"`
	Extism   *Extism            `json:"extism,omitempty"`
	Distinct []mappers.Distinct `json:"distinct,omitempty"`
	Active   []mappers.Active   `json:"active,omitempty"`
	Nodes    []MapperNode       `json:"nodes,omitempty"`
	Notes    []string           `json:"notes,omitempty"` // what is missing, and why
}

// Extism is what its go-sdk takes for the first shape, in C.
type Extism struct {
	SDK          string       `json:"sdk"`
	Wazero       string       `json:"wazero"`
	Output       []byte       `json:"output,omitempty"`
	Map          mappers.Cost `json:"map"`
	Nothing      mappers.Cost `json:"nothing"` // a function that does nothing, with the same input
	InstanceHeap float64      `json:"instance_heap"`
}

// MapperNode is a node that starts with many active mappers in C, Rust and
// AssemblyScript.
type MapperNode struct {
	Mappers        int     `json:"mappers"`
	PushMs         float64 `json:"push_ms"`          // to push and activate one, admission included
	ReadyMs        float64 `json:"ready_ms"`         // until it takes postbacks in, the slowest of some starts
	MappersReadyMs float64 `json:"mappers_ready_ms"` // until every mapper can run, likewise
	CPUMs          float64 `json:"cpu_ms"`           // used until then
	RSSBytes       int64   `json:"rss_bytes"`        //
}

// callOf finds the call of a language, as it runs on a node.
func callOf(s *mappers.Shape, lang string) *mappers.Call {
	i := slices.IndexFunc(s.Calls, func(c mappers.Call) bool { return c.Lang == lang && (c.Counted || lang == mappers.BuiltIn) })
	if i < 0 {
		return nil
	}
	return &s.Calls[i]
}

// mappedTimes is a language's time beside the built-in mapper's, 0 when one of
// the two was not measured; rounds are those of each turn.
func mappedTimes(s *mappers.Shape, lang string) (times float64, rounds []float64) {
	builtin, own := callOf(s, mappers.BuiltIn), callOf(s, lang)
	if builtin == nil || own == nil {
		return 0, nil
	}
	for i := range min(len(builtin.Mapped.Rounds), len(own.Mapped.Rounds)) {
		rounds = append(rounds, ratio(own.Mapped.Rounds[i], builtin.Mapped.Rounds[i]))
	}
	return ratio(own.Mapped.Nanos, builtin.Mapped.Nanos), rounds
}

// extismTimes is how much faster a language's bare call is than Extism's.
func (m *Mappers) extismTimes(lang string) float64 {
	if m.Extism == nil || len(m.Shapes) == 0 {
		return 0
	}
	own := callOf(&m.Shapes[0], lang)
	if own == nil || own.Bare == nil {
		return 0
	}
	return ratio(m.Extism.Map.Nanos, own.Bare.Nanos)
}

// langNames are how the languages are written.
var langNames = map[string]string{mappers.BuiltIn: "built-in", "c": "C", "rust": "Rust", "as": "AssemblyScript", mappers.LangGo: "Go"}

func namesOf(langs []string) string {
	var names []string
	for _, l := range langs {
		names = append(names, langNames[l])
	}
	return strings.Join(names, ", ")
}

// mapperGoals states the aims that concern mappers. What was not measured has
// no row.
func (r *Result) mapperGoals() (list []Goal) {
	m := r.Mappers
	if m == nil {
		return nil
	}
	allocs, most := 0.0, ""
	for i := range m.Shapes {
		s := &m.Shapes[i]
		for _, lang := range []string{"c", "rust"} {
			if times, _ := mappedTimes(s, lang); times > 0 {
				list = append(list, Goal{fmt.Sprintf("mapper in %s, %d bytes, %s: CPU per postback", langNames[lang], s.InputBytes, s.Name),
					"at most 2× the built-in mapper's", fmt.Sprintf("%.2f×", times), times <= 2})
			}
		}
		for _, c := range s.Calls {
			if c.Bare != nil && (most == "" || c.Bare.Allocs > allocs) {
				allocs, most = c.Bare.Allocs, c.Lang
			}
		}
	}
	for _, lang := range []string{"c", "rust"} {
		if times := m.extismTimes(lang); times > 0 {
			list = append(list, Goal{"one call of a mapper in " + langNames[lang] + ", the same logic and input in Extism's go-sdk", "at least 10× faster",
				fmt.Sprintf("%.0f×", times), times >= 10})
		}
	}
	if most != "" {
		list = append(list, Goal{"allocations of the host for one call of a mapper, the language with the most", "0", fmt.Sprintf("%.3g", allocs), allocs == 0})
	}
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.Mappers == mappersOfGoal {
			list = append(list, Goal{fmt.Sprintf("intake ready after start with %d mappers in C, Rust and AssemblyScript", n.Mappers), "at most 100 ms",
				fmt.Sprintf("%.4g ms", n.ReadyMs), n.ReadyMs > 0 && n.ReadyMs <= 100})
		}
	}
	return list
}

// mappersOfGoal is the number of active mappers that the goal speaks of.
const mappersOfGoal = 100
