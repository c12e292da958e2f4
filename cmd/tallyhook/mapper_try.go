package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/tallyhook/tallyhook/mapper/admission"
	modules "github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/vectors"
	"github.com/tallyhook/tallyhook/store"
)

type mapperTestCmd struct {
	File         string `arg:"" help:"The compiled module."`
	Vectors      string `required:"" env:"-" help:"Folder of test vectors." placeholder:"DIR"`
	MapperConfig string `env:"-" help:"Configuration that the module reads once, when it starts." placeholder:"FILE"`
	Tier         string `env:"-" default:"standard" enum:"standard,large" help:"Tier of the mapper: standard or large. Only an operator grants large."`
	JSON         bool   `help:"Print the verdict as JSON."`
}

func (m mapperTestCmd) Run(a *app) error {
	up, err := readUpload(m.File, m.MapperConfig, m.Vectors)
	if err != nil {
		return err
	}
	v, err := a.admit(up, m.Tier)
	if err != nil {
		return err
	}
	if m.JSON {
		err = a.printJSON(v)
	} else {
		err = a.printVerdict(v, v.Admitted)
	}
	if err == nil && v.Admitted && !m.JSON {
		_, err = fmt.Fprintln(a.out, "\nA node would admit it.")
		if largest := up.largest(); err == nil && largest < smallVector {
			_, err = fmt.Fprintf(a.out, "Its largest vector is a request of %d bytes, and the limit of fuel comes from the dearest vector: if larger requests are to be\nexpected (a node takes bodies of 65,536 bytes), add one as large.\n", largest)
		}
	}
	if err != nil {
		return err
	}
	return judged(filepath.Base(m.File), v)
}

// admit judges an upload as a node does, times it and keeps nothing.
func (a *app) admit(up *upload, tier string) (*admission.Verdict, error) {
	child, err := admissionChild()
	if err != nil {
		return nil, err
	}
	cache, err := os.MkdirTemp("", "tallyhook-mapper-test-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(cache)
	fuel := int64(admission.FuelMaxStandard)
	if tier == string(store.TierLarge) {
		fuel = admission.FuelMaxLarge
	}
	waited := a.waiting("admission")
	defer waited()
	v, err := admission.Run(a.ctx, child, admission.Request{Code: up.code, Config: up.config, Vectors: vectors.Archive(up.cases),
		FuelMax: fuel, Limits: modules.Default(), CacheDir: cache})
	if err != nil || !v.Admitted {
		return v, err
	}
	return v, timeVectors(a.ctx, up, v, cache)
}
