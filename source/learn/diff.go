package learn

import (
	"encoding/json"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/tallyhook/tallyhook/source"
)

// clone copies a spec with all that it holds.
func clone(s source.Spec) (c source.Spec) {
	p, err := json.Marshal(s)
	if err != nil {
		panic("bug: own spec does not encode: " + err.Error())
	}
	if err := json.Unmarshal(p, &c); err != nil {
		panic("bug: own spec does not decode: " + err.Error())
	}
	return c
}

// yamlOf writes a spec as network.yaml has it, without what it does not say.
func yamlOf(s source.Spec) string {
	p, err := json.Marshal(s)
	if err != nil {
		panic("bug: own spec does not encode: " + err.Error())
	}
	var m map[string]any
	if err := json.Unmarshal(p, &m); err != nil {
		panic("bug: own spec does not decode: " + err.Error())
	}
	text, err := yaml.Marshal(pruned(m))
	if err != nil {
		panic("bug: own spec is no YAML: " + err.Error())
	}
	return string(text)
}

// pruned takes out what is zero, which in a spec is the same as absent.
func pruned(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for key, inner := range m {
		if key == "signature" { // says nothing needlessly, and its join may be "" on purpose
			continue
		}
		switch inner := pruned(inner).(type) {
		case nil:
			delete(m, key)
		case string:
			if inner == "" {
				delete(m, key)
			}
		case bool:
			if !inner {
				delete(m, key)
			}
		case float64:
			if inner == 0 {
				delete(m, key)
			}
		case map[string]any:
			if len(inner) == 0 {
				delete(m, key)
			}
		}
	}
	return m
}

// Limits of a diff: what is compared line by line, and what is shown of more.
const (
	diffCellsMax = 1 << 20
	diffLinesMax = 1 << 10
)

// diff shows what changes between two specs, line by line of their YAML, "" for
// nothing.
func diff(before, after source.Spec) string {
	a, b := lines(yamlOf(before)), lines(yamlOf(after))
	if strings.Join(a, "\n") == strings.Join(b, "\n") {
		return ""
	}
	var out strings.Builder
	out.WriteString("--- source " + before.ID + "\n+++ source " + before.ID + " as proposed\n")
	head := 0
	for ; head < min(len(a), len(b)) && a[head] == b[head]; head++ {
		out.WriteString(" " + a[head] + "\n")
	}
	a, b = a[head:], b[head:]
	if len(a)*len(b) > diffCellsMax {
		a, b = a[:min(len(a), diffLinesMax)], b[:min(len(b), diffLinesMax)]
	}
	// common[i][j] is how many lines a[i:] and b[j:] share in order.
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out.WriteString(" " + a[i] + "\n")
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common[i+1][j] >= common[i][j+1]):
			out.WriteString("-" + a[i] + "\n")
			i++
		default:
			out.WriteString("+" + b[j] + "\n")
			j++
		}
	}
	return out.String()
}

func lines(s string) []string { return strings.Split(strings.TrimRight(s, "\n"), "\n") }
