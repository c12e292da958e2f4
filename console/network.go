package console

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// apply brings campaigns, publishers, buyers and sources to what the body
// says, YAML or JSON, and answers with what that changed or would change.
func (c *Console) apply(w http.ResponseWriter, r *request) error {
	dryRun, err := truth(r.query, "dry_run")
	if err != nil {
		return err
	}
	text, kind, err := body(w, r.Request, "application/json", "application/yaml")
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return badBody(io.EOF)
	}
	n := new(store.Network)
	if kind == "application/json" {
		err = source.DecodeJSON(text, n)
	} else {
		err = source.DecodeYAML(text, n)
	}
	if err != nil {
		return badBody(err)
	}
	changes, err := c.cfg.Objects.Apply(r.Context(), r.actor, n, dryRun)
	if err != nil {
		return err
	}
	changed := 0
	for _, ch := range changes {
		if ch.Action != store.Unchanged {
			changed++
		}
	}
	if changed > 0 && !dryRun {
		if err := c.changed(r.Context()); err != nil {
			return err
		}
	}
	if changes == nil {
		changes = []store.Change{}
	}
	writeJSON(w, http.StatusOK, struct {
		DryRun  bool           `json:"dry_run"`
		Changed int            `json:"changed"` // objects that are not as they were
		Changes []store.Change `json:"changes"` // one per object of the body
	}{dryRun, changed, changes})
	return nil
}

func (c *Console) listCampaigns(w http.ResponseWriter, r *request) error {
	return listed(w, r, c.cfg.Objects.ListCampaigns)
}

func (c *Console) listPublishers(w http.ResponseWriter, r *request) error {
	return listed(w, r, c.cfg.Objects.ListPublishers)
}

func (c *Console) listBuyers(w http.ResponseWriter, r *request) error {
	return listed(w, r, c.cfg.Objects.ListBuyers)
}

func (c *Console) listAudit(w http.ResponseWriter, r *request) error {
	return listed(w, r, c.cfg.Objects.ListAudit)
}

// listed answers with one page of what read lists.
func listed[T any](w http.ResponseWriter, r *request, read func(ctx context.Context, after string, limit int) ([]T, string, error)) error {
	after, limit, err := page(r.query)
	if err != nil {
		return err
	}
	rows, next, err := read(r.Context(), after, limit)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, list(rows, next))
	return nil
}
