//go:build !race

package rewrite_test

import (
	"math"
	"strconv"
	"strings"
)

// specValue is an argument or result in the specification's tests: numbers are
// unsigned decimal bit patterns; a vector is a list of lanes, the first lowest.
type specValue struct {
	Type  string `json:"type"`
	Lane  string `json:"lane_type"`
	Value any    `json:"value"`
}

func (v specValue) width() int {
	if v.Type == "v128" {
		return 2
	}
	return 1
}

func (v specValue) lanes() []string {
	var texts []string
	if list, ok := v.Value.([]any); ok {
		for _, item := range list {
			texts = append(texts, item.(string))
		}
		return texts
	}
	text, _ := v.Value.(string)
	return []string{text}
}

func (v specValue) laneBits() int {
	kind := v.Type
	if kind == "v128" {
		kind = v.Lane
	}
	bits, err := strconv.Atoi(strings.TrimLeft(kind, "if"))
	if err != nil {
		return 64 // a reference
	}
	return bits
}

// words gives the value as the runtime takes it. A reference is its number plus
// one, as zero is null.
func (v specValue) words() []uint64 {
	words := make([]uint64, v.width())
	bits := v.laneBits()
	for i, text := range v.lanes() {
		n, _ := strconv.ParseUint(text, 10, 64)
		if strings.HasSuffix(v.Type, "ref") {
			n = 0
			if text != "null" {
				n, _ = strconv.ParseUint(text, 10, 64)
				n++
			}
		}
		if bits < 64 {
			n &= 1<<bits - 1
		}
		words[i*bits/64] |= n << (i * bits % 64)
	}
	return words
}

func (v specValue) nan() bool {
	for _, text := range v.lanes() {
		if strings.HasPrefix(text, "nan") {
			return true
		}
	}
	return false
}

// matches compares lane by lane; any NaN is as good as the one that is wanted.
func (v specValue) matches(got []uint64) bool {
	want := v.words()
	bits := v.laneBits()
	for i, text := range v.lanes() {
		g := got[i*bits/64] >> (i * bits % 64)
		w := want[i*bits/64] >> (i * bits % 64)
		if bits < 64 {
			g &= 1<<bits - 1
			w &= 1<<bits - 1
		}
		switch {
		case strings.HasPrefix(text, "nan") && bits == 32:
			if !math.IsNaN(float64(math.Float32frombits(uint32(g)))) {
				return false
			}
		case strings.HasPrefix(text, "nan"):
			if !math.IsNaN(math.Float64frombits(g)) {
				return false
			}
		case g != w && v.Type != "funcref":
			return false
		}
	}
	return true
}
