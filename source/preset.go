package source

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

// Preset is what is known of a kind of sender, one embedded YAML file each. What
// a source says itself goes first.
type Preset struct {
	Name     string              `json:"name"`
	Title    string              `json:"title"`
	Verified bool                `json:"verified"`        // false: rests on guesses, confirm with a captured request
	Query    string              `json:"query,omitempty"` // to be pasted behind the source's URL at the sender, with the sender's macros
	Fields   map[string][]string `json:"fields"`

	Statuses     map[string][]string `json:"statuses,omitempty"`
	Identity     string              `json:"identity,omitempty"`
	Currency     string              `json:"currency,omitempty"`
	Transforms   Transforms          `json:"transforms,omitzero"`
	DedupeWindow Duration            `json:"dedupe_window,omitempty"` // the sender's retry horizon
}

// fill gives s what it does not say itself.
func (p *Preset) fill(s *Spec) {
	if len(s.Statuses) == 0 {
		s.Statuses = p.Statuses
	}
	if s.Identity == "" {
		s.Identity = p.Identity
	}
	if s.Currency == "" {
		s.Currency = p.Currency
	}
	if s.Transforms == (Transforms{}) {
		s.Transforms = p.Transforms
	}
	if s.DedupeWindow == 0 {
		s.DedupeWindow = p.DedupeWindow
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
