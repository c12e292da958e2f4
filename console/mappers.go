package console

import (
	"context"
	"net/http"
	"strconv"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

func (c *Console) listMappers(w http.ResponseWriter, r *request) error {
	return listed(w, r, func(ctx context.Context, after string, limit int) ([]store.MapperInfo, string, error) {
		return c.cfg.Objects.ListMappers(ctx, r.key.Scope(), after, limit)
	})
}

func (c *Console) getMapper(w http.ResponseWriter, r *request) error {
	d, err := c.cfg.Objects.GetMapper(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, d)
	return nil
}

func (c *Console) patchMapper(w http.ResponseWriter, r *request) error {
	var in struct {
		Tier store.Tier `json:"tier"`
	}
	if err := decodeJSON(w, r.Request, &in); err != nil {
		return err
	}
	return c.mapperChange(w, r, func(ctx context.Context, name string) (store.MapperInfo, error) {
		return c.cfg.Objects.SetMapperTier(ctx, r.actor, name, in.Tier)
	})
}

// numbered is the body that names a version.
type numbered struct {
	Version *int `json:"version"`
}

// version reads the body, which must name a version of at least least.
func version(w http.ResponseWriter, r *request, least int) (int, error) {
	var in numbered
	if err := decodeJSON(w, r.Request, &in); err != nil {
		return 0, err
	}
	switch {
	case in.Version == nil:
		return 0, badRequest("version is missing: send for example {\"version\":3}")
	case *in.Version < least || *in.Version > source.MapperVersionMax:
		return 0, badRequest("version %d: want a whole number from %d to %d", *in.Version, least, source.MapperVersionMax)
	}
	return *in.Version, nil
}

func (c *Console) activateMapper(w http.ResponseWriter, r *request) error {
	v, err := version(w, r, 1)
	if err != nil {
		return err
	}
	return c.mapperChange(w, r, func(ctx context.Context, name string) (store.MapperInfo, error) {
		return c.cfg.Objects.ActivateMapper(ctx, r.actor, name, v)
	})
}

func (c *Console) shadowMapper(w http.ResponseWriter, r *request) error {
	v, err := version(w, r, 0)
	if err != nil {
		return err
	}
	return c.mapperChange(w, r, func(ctx context.Context, name string) (store.MapperInfo, error) {
		return c.cfg.Objects.ShadowMapper(ctx, r.actor, name, v)
	})
}

func (c *Console) rollbackMapper(w http.ResponseWriter, r *request) error {
	text, _, err := body(w, r.Request, "application/json")
	if err != nil {
		return err
	}
	if len(text) > 0 { // an empty object is as good as nothing
		if err := decode(text, &struct{}{}); err != nil {
			return err
		}
	}
	return c.mapperChange(w, r, func(ctx context.Context, name string) (store.MapperInfo, error) {
		return c.cfg.Objects.RollbackMapper(ctx, r.actor, name)
	})
}

// mapperChange makes a change of {name} and answers with the mapper as it is
// then and as the node works by it.
func (c *Console) mapperChange(w http.ResponseWriter, r *request, change func(ctx context.Context, name string) (store.MapperInfo, error)) error {
	info, err := change(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	if err := c.changed(r.Context()); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, info)
	return nil
}

// versionOf reads {n} of the path.
func versionOf(r *request) (int, error) {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || n < 1 || n > source.MapperVersionMax {
		return 0, badRequest("version %q: want a whole number from 1 to %d", clip(r.PathValue("n")), source.MapperVersionMax)
	}
	return n, nil
}

func (c *Console) getMapperVersion(w http.ResponseWriter, r *request) error {
	n, err := versionOf(r)
	if err != nil {
		return err
	}
	v, err := c.cfg.Objects.GetMapperVersion(r.Context(), r.PathValue("name"), n)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// getMapperModule answers with the module as it was pushed.
func (c *Console) getMapperModule(w http.ResponseWriter, r *request) error {
	n, err := versionOf(r)
	if err != nil {
		return err
	}
	up, err := c.cfg.Objects.GetMapperUpload(r.Context(), r.PathValue("name"), n)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/wasm")
	_, _ = w.Write(up.Code) // a client that is gone needs no error
	return nil
}

func (c *Console) listShadow(w http.ResponseWriter, r *request) error {
	rows, err := c.cfg.Objects.ShadowCounts(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, list(rows, ""))
	return nil
}
