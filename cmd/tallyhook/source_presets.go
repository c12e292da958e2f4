package main

import (
	"fmt"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	"github.com/tallyhook/tallyhook/source"
)

type sourcePresetsCmd struct {
	Name string `arg:"" optional:"" help:"Show this one whole."`
	JSON bool   `help:"Print JSON."`
}

// Run needs no node: presets are part of the program.
func (s sourcePresetsCmd) Run(a *app) error {
	if s.Name != "" {
		p, err := source.PresetOf(s.Name)
		if err != nil {
			return usageError{err}
		}
		if s.JSON {
			return a.printJSON(p)
		}
		text, err := yaml.Marshal(p)
		if err != nil {
			return err
		}
		_, err = a.out.Write(text)
		return err
	}
	var list []*source.Preset
	for _, name := range source.Presets() {
		p, err := source.PresetOf(name)
		if err != nil {
			return err
		}
		list = append(list, p)
	}
	if s.JSON {
		return a.printJSON(list)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PRESET\tSENDER\tKNOWN\tIDENTITY\tPASTE AT THE SENDER")
	for _, p := range list {
		known := "documented"
		if !p.Verified {
			known = "guessed"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Name, p.Title, known, orNone(p.Source.Identity), orNone(p.Query))
	}
	return w.Flush()
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
