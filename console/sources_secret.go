package console

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/tallyhook/tallyhook/store"
)

// secretWish is what the body of a new source says of its secret: true for one
// that we make, or the sender's own as text.
type secretWish struct {
	wanted bool
	given  store.Secret
}

// UnmarshalJSON reads true, false or a text. Its error never holds the text.
func (s *secretWish) UnmarshalJSON(p []byte) error {
	*s = secretWish{}
	if json.Unmarshal(p, &s.wanted) == nil {
		return nil
	}
	var text string
	if err := json.Unmarshal(p, &text); err != nil || text == "" {
		return errors.New(`secret: want true for one that is made and told once, or the sender's own as text`)
	}
	s.given = store.Secret(text)
	return nil
}

// setSecret gives a source another secret: the sender's own, or one that is
// made and told in the answer.
func (c *Console) setSecret(w http.ResponseWriter, r *request) error {
	var in struct {
		Secret *store.Secret `json:"secret"` // absent: one is made
		Keep   *keepSpan     `json:"keep"`
	}
	if err := decodeJSON(w, r.Request, &in); err != nil {
		return err
	}
	var info store.SourceInfo
	var made string
	var err error
	if id := r.PathValue("id"); in.Secret != nil {
		info, err = c.cfg.Objects.SetSecret(r.Context(), r.actor, id, *in.Secret, in.Keep.orNone())
	} else {
		info, made, err = c.cfg.Objects.RotateSecret(r.Context(), r.actor, id, in.Keep.orNone())
	}
	return c.changedSource(w, r, info, made, err)
}

func (c *Console) dropSecrets(w http.ResponseWriter, r *request) error {
	info, err := c.cfg.Objects.DropSecrets(r.Context(), r.actor, r.PathValue("id"))
	return c.changedSource(w, r, info, "", err)
}

func (c *Console) addPublicKey(w http.ResponseWriter, r *request) error {
	var in struct {
		ID  string `json:"id"`
		Key string `json:"key"` // PEM, base64 or hex
	}
	if err := decodeJSON(w, r.Request, &in); err != nil {
		return err
	}
	info, err := c.cfg.Objects.AddPublicKey(r.Context(), r.actor, r.PathValue("id"), in.ID, in.Key)
	return c.changedSource(w, r, info, "", err)
}

func (c *Console) dropPublicKey(w http.ResponseWriter, r *request) error {
	info, err := c.cfg.Objects.DropPublicKey(r.Context(), r.actor, r.PathValue("id"), r.PathValue("name"))
	return c.changedSource(w, r, info, "", err)
}

// changedSource ends a change of a source's secrets and answers with the
// source, and with the secret that was made.
func (c *Console) changedSource(w http.ResponseWriter, r *request, info store.SourceInfo, made string, err error) error {
	if err != nil {
		return err
	}
	if err := c.changed(r.Context()); err != nil {
		return withholding(err, made, info.ID)
	}
	v := c.view(info)
	v.SecretValue = made
	writeJSON(w, http.StatusOK, v)
	return nil
}
