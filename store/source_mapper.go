package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tallyhook/tallyhook/source"
)

// mapperThere wants the mapper that a source names to be one that can map: a
// source that follows the active version needs one to be active, a source that
// is pinned needs its version to have been admitted. ErrInvalid otherwise,
// with the command to run first.
func mapperThere(ctx context.Context, tx *sql.Tx, src *source.Source) error {
	if src.MapperName == "" {
		return nil
	}
	m, err := readMapper(ctx, tx, src.MapperName)
	if err == nil && src.MapperVersion != 0 {
		err = versionThere(ctx, tx, src)
	}
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrState):
		return invalid("source %q: mapper %q: %s", src.Spec.ID, src.Spec.Mapper, err)
	case err != nil:
		return fmt.Errorf("look up mapper %s: %w", src.MapperName, err)
	case src.MapperVersion == 0 && m.Active == 0:
		return invalid("source %q: mapper %q has no active version, so nothing would map what comes: run tallyhook mapper activate %s VERSION first, or pin the source to one with %s@VERSION",
			src.Spec.ID, m.Name, m.Name, m.Name)
	}
	return nil
}

func versionThere(ctx context.Context, tx *sql.Tx, src *source.Source) error {
	v, err := readVersion(ctx, tx, src.MapperName, src.MapperVersion)
	if err == nil && !v.State.runs() {
		err = notAdmitted(&v)
	}
	return err
}

// planMappers finds sources of the file that name mappers that cannot map.
func (p *applier) planMappers(n *Network, faults *faultList) error {
	for i := range n.Sources {
		if n.Sources[i].Mapper == "" {
			continue
		}
		src, err := source.Compile(n.Sources[i])
		if err != nil {
			continue // told already
		}
		err = mapperThere(p.ctx, p.tx, src)
		if err != nil && !errors.Is(err, ErrInvalid) {
			return err
		}
		faults.add(fmt.Sprintf("sources[%d].mapper", i), err)
	}
	return nil
}
