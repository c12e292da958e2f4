package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/tallyhook/tallyhook/mapper/admission"
	modules "github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/vectors"
	"github.com/tallyhook/tallyhook/store"
)

// mapperCmd is everything about mappers that partners write. new, build and
// test need no node; the others ask one.
type mapperCmd struct {
	New      mapperNewCmd      `cmd:"" help:"Begin a mapper: a project with its SDK, an example and a test vector."`
	Build    mapperBuildCmd    `cmd:"" help:"Compile a project to a module."`
	Test     mapperTestCmd     `cmd:"" help:"Admit a module on this machine as a node would: run its vectors, show what it burns."`
	Push     mapperPushCmd     `cmd:"" help:"Upload a module as a new version of a mapper; the node admits it or says why not."`
	List     mapperListCmd     `cmd:"" help:"List mappers."`
	Show     mapperShowCmd     `cmd:"" help:"Show a mapper with its versions, or one version with the verdict of its admission."`
	Activate mapperActivateCmd `cmd:"" help:"Let a version map what comes from now on."`
	Rollback mapperRollbackCmd `cmd:"" help:"Put the version back that was active before."`
	Shadow   mapperShadowCmd   `cmd:"" help:"Run a version beside the active one and show where they differ."`
	Grant    mapperGrantCmd    `cmd:"" help:"Give a mapper another tier of fuel."`
	Vectors  mapperVectorsCmd  `cmd:"" help:"Make test vectors of postbacks that came."`
}

// admitCmd is the child process in which a module is compiled and
// tried: whatever it does there, it does to nobody else.
type admitCmd struct{}

// Run reads a request from standard input and writes a verdict to standard
// output.
func (admitCmd) Run(*app) error { return admission.Child(os.Stdin, os.Stdout) }

// admissionChild is the command line that runs admitCmd.
func admissionChild() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's own file, which compiles the module in a process of its own: %w", err)
	}
	return []string{self, "mapper-admission"}, nil
}

// upload is what a mapper's version is made of.
type upload struct {
	code, config []byte
	cases        []vectors.Case
}

// smallVector is the size of a request below which vectors may be too small to
// tell how much fuel the largest ones take.
const smallVector = 4 << 10

// largest is the size of the largest request among the vectors.
func (u *upload) largest() (bytes int) {
	for i := range u.cases {
		r := &u.cases[i].Record
		bytes = max(bytes, len(r.Query)+len(r.Body))
	}
	return bytes
}

// readUpload reads module, configuration (none when its name is empty) and the
// folder of vectors.
func readUpload(module, config, folder string) (up *upload, err error) {
	up = new(upload)
	if _, up.code, err = readSmall(module, modules.Default().ModuleBytesMax); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w; \"tallyhook mapper build DIR\" makes it", err)
		}
		return nil, err
	}
	if config != "" {
		if _, up.config, err = readSmall(config, store.MapperConfigBytesMax); err != nil {
			return nil, err
		}
	}
	up.cases, err = vectors.ReadDir(folder)
	return up, err
}
