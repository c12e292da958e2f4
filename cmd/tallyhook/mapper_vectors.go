package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/tallyhook/tallyhook/mapper/vectors"
)

// vectorsLastMax is how many postbacks a node makes vectors of at once.
const vectorsLastMax = 100

type mapperVectorsCmd struct {
	Dir          string `arg:"" help:"Folder to write into; files that are there are never overwritten."`
	FromActivity bool   `env:"-" default:"true" help:"Of postbacks that came, as activity keeps them: secrets are left out of them. There is no other way yet."`
	Source       string `required:"" env:"-" help:"Of this source." placeholder:"ID"`
	Last         int    `env:"-" default:"20" help:"How many, counted from the newest." placeholder:"N"`
	remote       `embed:""`
}

func (m mapperVectorsCmd) Run(a *app) error {
	if m.Last < 1 || m.Last > vectorsLastMax {
		return usagef("--last %d: want 1 to %d", m.Last, vectorsLastMax)
	}
	return a.withNode(m.remote, func(c *client) error {
		path := sourcePath(m.Source) + "/vectors?" + url.Values{"last": {strconv.Itoa(m.Last)}}.Encode()
		resp, text, err := c.exchange(a.ctx, http.MethodGet, path, "", nil, answerTimeMax)
		switch {
		case err != nil:
			return err
		case resp.StatusCode != http.StatusOK:
			return c.refused(resp, text)
		}
		cases, err := vectors.Parse(text)
		if err != nil {
			return fmt.Errorf("the answer of %s cannot be read: is it a Tallyhook node of this version? %w", c.addr, err)
		}
		if len(cases) == 0 {
			fmt.Fprintf(a.errOut, "source %s has no postbacks to make vectors of: \"tallyhook activity --source %s\" lists what came\n", m.Source, quoteArg(m.Source))
			return nil
		}
		fresh := slices.DeleteFunc(slices.Clone(cases), func(c vectors.Case) bool {
			_, err := os.Stat(filepath.Join(m.Dir, c.Name+vectors.FileEnd))
			return err == nil
		})
		if err := vectors.WriteDir(m.Dir, fresh); err != nil {
			return err
		}
		if kept := len(cases) - len(fresh); kept > 0 {
			fmt.Fprintf(a.out, "%s that were there already stay as they are\n", plural(int64(kept), "vector"))
		}
		cases = fresh
		fmt.Fprintf(a.out, "%s in %s: what stands below \"-- reports --\" is what the mapper said then; edit it to what it ought to say\n",
			plural(int64(len(cases)), "vector"), m.Dir)
		return nil
	})
}
