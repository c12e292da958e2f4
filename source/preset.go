package source

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

// Preset is what is known of a kind of sender, one embedded YAML file each.
type Preset struct {
	Name     string              `json:"name"`
	Title    string              `json:"title"`
	Verified bool                `json:"verified"` // false: rests on guesses, confirm with a captured request
	Fields   map[string][]string `json:"fields"`
}

var presets = loadPresets()

func loadPresets() map[string]*Preset {
	all := map[string]*Preset{}
	entries, err := presetFiles.ReadDir("presets")
	if err != nil {
		panic("bug: embedded presets: " + err.Error())
	}
	for _, e := range entries {
		text, err := presetFiles.ReadFile("presets/" + e.Name())
		if err != nil {
			panic("bug: embedded presets: " + err.Error())
		}
		p := new(Preset)
		if err := DecodeYAML(text, p); err != nil || p.Name+".yaml" != e.Name() {
			panic(fmt.Sprintf("bug: preset %s: name %q, %v", e.Name(), p.Name, err))
		}
		all[p.Name] = p
	}
	return all
}

// Presets lists the names of the built-in presets.
func Presets() []string {
	var names []string
	for n := range presets {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func presetOf(name string) (*Preset, error) {
	if name == "" {
		name = "generic"
	}
	if p := presets[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("preset %q is not known: have %s", name, strings.Join(Presets(), ", "))
}
