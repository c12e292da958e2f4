package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/tallyhook/tallyhook/plugins"
)

type mapperNewCmd struct {
	Dir  string `arg:"" help:"Folder to make; it must not be there, or be empty."`
	Lang string `required:"" env:"-" enum:"go,rust,c,as" help:"Language: go, rust, c, or as for AssemblyScript." placeholder:"LANG"`
}

func (m mapperNewCmd) Run(a *app) error {
	if err := wantEmpty(m.Dir); err != nil {
		return err
	}
	project, err := plugins.Project(m.Lang)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(project)) {
		if err := writeNew(filepath.Join(m.Dir, filepath.FromSlash(name)), project[name]); err != nil {
			return fmt.Errorf("make a project: %w", err)
		}
	}
	module, vectors := quoteArg(filepath.Join(m.Dir, moduleFile)), quoteArg(filepath.Join(m.Dir, "vectors"))
	fmt.Fprintf(a.out, "%s holds a mapper in %s, its SDK and test vectors. Next:\n\n", m.Dir, toolchainNamed(m.Lang).name)
	fmt.Fprintf(a.out, "  tallyhook mapper build %s\n", quoteArg(m.Dir))
	fmt.Fprintf(a.out, "  tallyhook mapper test %s --vectors %s\n", module, vectors)
	fmt.Fprintf(a.out, "  tallyhook mapper push %s --vectors %s --name NAME\n", module, vectors)
	return nil
}

// writeNew writes a file that must not be there, and the folders above it.
func writeNew(path string, text []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

func toolchainNamed(lang string) *toolchain {
	for i := range toolchains {
		if toolchains[i].lang == lang {
			return &toolchains[i]
		}
	}
	panic("bug: no toolchain for " + lang)
}

// wantEmpty is nil when a project may be made at dir.
func wantEmpty(dir string) error {
	there, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("make a project: %w", err)
	case len(there) > 0:
		return fmt.Errorf("%s is not empty, it holds %s: name another folder", dir, there[0].Name())
	}
	return nil
}
