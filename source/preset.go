package source

import (
	"embed"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

// Preset is what is known of a kind of sender, one embedded YAML file each.
// Source is what one would have to write into every source of such a sender;
// what a source says itself goes first.
type Preset struct {
	Name     string   `json:"name"`
	Title    string   `json:"title"`
	Verified bool     `json:"verified"`          // false: rests on guesses, confirm with a captured request
	Guesses  []string `json:"guesses,omitempty"` // what exactly is guessed
	Docs     string   `json:"docs,omitempty"`    // the sender's own description
	Notes    []string `json:"notes,omitempty"`   // what an operator should know before using it
	Query    string   `json:"query,omitempty"`   // to be pasted behind the source's URL at the sender, with the sender's macros
	Path     string   `json:"path,omitempty"`    // stands between the URL and the query
	Source   Spec     `json:"source"`
}

// fill gives s what it does not say itself; an empty list says nothing. Names of
// fields are merged by compileFields.
func (p *Preset) fill(s *Spec) {
	own, of := reflect.ValueOf(s).Elem(), reflect.ValueOf(p.Source)
	for i := range own.NumField() {
		f := own.Field(i)
		silent := f.IsZero() || (f.Kind() == reflect.Slice || f.Kind() == reflect.Map) && f.Len() == 0
		if own.Type().Field(i).Name != "Fields" && silent {
			f.Set(of.Field(i))
		}
	}
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

// PresetOf gives a built-in preset, "" the generic one.
func PresetOf(name string) (*Preset, error) {
	if name == "" {
		name = "generic"
	}
	if p := presets[name]; p != nil {
		return p, nil
	}
	if near := Nearest(name, Presets()); near != "" {
		return nil, fmt.Errorf("preset %q is not known: did you mean %q?", name, near)
	}
	return nil, fmt.Errorf("preset %q is not known: have %s", name, strings.Join(Presets(), ", "))
}
