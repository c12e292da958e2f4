package console

import (
	"net/http"
	"strconv"

	"github.com/tallyhook/tallyhook/store"
)

func (c *Console) listKeys(w http.ResponseWriter, r *request) error {
	return listed(w, r, c.cfg.Objects.ListKeys)
}

// createKey makes a key and tells its text, this once.
func (c *Console) createKey(w http.ResponseWriter, r *request) error {
	var in store.KeySpec
	if err := decodeJSON(w, r.Request, &in); err != nil {
		return err
	}
	info, text, err := c.cfg.Objects.CreateKey(r.Context(), r.actor, in)
	if err != nil {
		return err
	}
	if err := c.changed(r.Context()); err != nil {
		if f, ok := err.(*failure); ok {
			f.message += "; the text of the new key was not told: delete key " + strconv.FormatInt(info.ID, 10) + " and make another one"
		}
		return err
	}
	writeJSON(w, http.StatusCreated, struct {
		store.KeyInfo
		Key string `json:"key"`
	}{info, text})
	return nil
}

// deleteKey ends a key. The one that asks stays, so that one that may do this
// is always left.
func (c *Console) deleteKey(w http.ResponseWriter, r *request) error {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return badRequest("key %q: want the number of a key", clip(r.PathValue("id")))
	}
	if id == r.key.ID {
		return refuse(http.StatusConflict, "conflict", "key %d is the one that this request came with: end it with another admin's key", id)
	}
	if err := c.cfg.Objects.DeleteKey(r.Context(), r.actor, id); err != nil {
		return err
	}
	if err := c.changed(r.Context()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
