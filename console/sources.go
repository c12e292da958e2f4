package console

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

func (c *Console) listSources(w http.ResponseWriter, r *request) error {
	after, limit, err := page(r.query)
	if err != nil {
		return err
	}
	infos, next, err := c.cfg.Objects.ListSources(r.Context(), after, limit)
	if err != nil {
		return err
	}
	rows := make([]sourceView, len(infos))
	for i, info := range infos {
		rows[i] = c.view(info)
	}
	writeJSON(w, http.StatusOK, list(rows, next))
	return nil
}

func (c *Console) getSource(w http.ResponseWriter, r *request) error {
	info, err := c.cfg.Objects.GetSource(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, c.view(info))
	return nil
}

func (c *Console) createSource(w http.ResponseWriter, r *request) error {
	var in struct {
		source.Spec
		Secret secretWish `json:"secret"`
	}
	if err := decodeJSON(w, r.Request, &in); err != nil {
		return err
	}
	info, secret, err := c.create(r, in.Spec, in.Secret)
	if err != nil {
		return err
	}
	if err := c.changed(r.Context()); err != nil {
		return withholding(err, secret, info.ID)
	}
	v := c.view(info)
	v.SecretValue = secret
	w.Header().Set("Location", "/api/v1/sources/"+url.PathEscape(info.ID))
	writeJSON(w, http.StatusCreated, v)
	return nil
}

func (c *Console) create(r *request, spec source.Spec, wish secretWish) (info store.SourceInfo, secret string, err error) {
	if wish.given != "" {
		info, err = c.cfg.Objects.CreateSourceWithSecret(r.Context(), r.actor, spec, wish.given)
		return info, "", err
	}
	return c.cfg.Objects.CreateSource(r.Context(), r.actor, spec, wish.wanted)
}

// withholding adds to an error that a secret was made and will not be told.
func withholding(err error, secret, id string) error {
	if f, ok := err.(*failure); ok && secret != "" {
		f.message += "; its new secret was not told: rotate the secret of source " + id + " to get one"
	}
	return err
}

func (c *Console) patchSource(w http.ResponseWriter, r *request) error {
	id := r.PathValue("id")
	text, _, err := body(w, r.Request, "application/json")
	if err != nil {
		return err
	}
	info, err := c.cfg.Objects.GetSource(r.Context(), id)
	if err != nil {
		return err
	}
	p, err := parsePatch(text, c.view(info))
	if err != nil {
		return err
	}
	info, err = c.applyPatch(r.Context(), r.actor, id, p)
	if err != nil {
		return err
	}
	if err := c.changed(r.Context()); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, c.view(info))
	return nil
}

func (c *Console) applyPatch(ctx context.Context, actor, id string, p *patch) (store.SourceInfo, error) {
	info, err := c.cfg.Objects.ChangeSource(ctx, actor, id, p.merge)
	if err == nil && p.dropSecrets {
		info, err = c.cfg.Objects.DropSecrets(ctx, actor, id)
	}
	return info, err
}

func (c *Console) deleteSource(w http.ResponseWriter, r *request) error {
	if err := c.cfg.Objects.DeleteSource(r.Context(), r.actor, r.PathValue("id")); err != nil {
		return err
	}
	if err := c.changed(r.Context()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// rotation is the body of a rotate request.
type rotation struct {
	What string    `json:"what"` // "token" or "secret"
	Keep *keepSpan `json:"keep"`
}

// keepSpan is how long the secret before lives on; absent is the store's
// default, 0s ends it.
type keepSpan source.Duration

// UnmarshalText reads the forms of source.Duration.
func (k *keepSpan) UnmarshalText(p []byte) error { return (*source.Duration)(k).UnmarshalText(p) }

// orNone gives the span as the store reads it: its word for none is below zero.
func (k *keepSpan) orNone() time.Duration {
	switch {
	case k == nil:
		return 0
	case *k == 0:
		return -1
	}
	return time.Duration(*k)
}

func (c *Console) rotateSource(w http.ResponseWriter, r *request) error {
	var in rotation
	if err := decodeJSON(w, r.Request, &in); err != nil {
		return err
	}
	info, secret, err := c.rotate(r, in)
	if err != nil {
		return err
	}
	if err := c.changed(r.Context()); err != nil {
		return withholding(err, secret, info.ID)
	}
	v := c.view(info)
	v.SecretValue = secret
	writeJSON(w, http.StatusOK, v)
	return nil
}

func (c *Console) rotate(r *request, in rotation) (info store.SourceInfo, secret string, err error) {
	id := r.PathValue("id")
	switch in.What {
	case "token":
		if in.Keep != nil {
			return info, "", badRequest("keep %q: a token ends at once; keep is for secrets", time.Duration(*in.Keep))
		}
		info, err = c.cfg.Objects.RotateToken(r.Context(), r.actor, id)
	case "secret":
		info, secret, err = c.cfg.Objects.RotateSecret(r.Context(), r.actor, id, in.Keep.orNone())
	default:
		err = badRequest("what %q: want token or secret", clip(in.What))
	}
	return info, secret, err
}
