package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

const (
	// rulingWaitMax is how long an answer waits for the ledger to carry out what
	// was decided: an idle node does it within a second.
	rulingWaitMax = 5 * time.Second
	rulingPoll    = 50 * time.Millisecond
)

const lookUpHeld = "; GET /api/v1/held lists what is held"

// settlementRoutes are what people decide of held events, and accounts.
func (c *Console) settlementRoutes() []route {
	get, post := http.MethodGet, http.MethodPost
	return []route{
		{method: get, path: "/api/v1/held", serve: c.listHeld, params: []string{"source", "reason", "limit", "after"}},
		{method: post, path: "/api/v1/held/{id}/release", serve: c.releaseHeld, lookUp: lookUpHeld},
		{method: post, path: "/api/v1/held/{id}/reject", serve: c.rejectHeld, lookUp: lookUpHeld},
		{method: get, path: "/api/v1/accounts", serve: c.listAccounts, params: []string{"prefix", "currency", "limit", "after"}},
		{method: get, path: "/api/v1/accounts/statement", serve: c.getStatement, params: []string{"account", "limit", "after"}, lookUp: lookUpAccount},
	}
}

func (c *Console) listHeld(w http.ResponseWriter, r *request) error {
	f := sink.HeldFilter{Source: r.query.Get("source"), Reason: r.query.Get("reason")}
	return listed(w, r, func(ctx context.Context, after string, limit int) ([]sink.HeldRow, string, error) {
		return c.cfg.Books.Held(ctx, f, after, limit)
	})
}

func (c *Console) releaseHeld(w http.ResponseWriter, r *request) error {
	var in struct {
		Value *string `json:"value"` // instead of what was reported
	}
	if err := decodeIfAny(w, r.Request, &in); err != nil {
		return err
	}
	if in.Value == nil {
		return c.rule(w, r, true, nil)
	}
	value, err := event.ParseAmount(*in.Value)
	if err != nil {
		return badRequest("value %q: %s; want for example 12.50", clip(*in.Value), err)
	}
	return c.rule(w, r, true, &value)
}

func (c *Console) rejectHeld(w http.ResponseWriter, r *request) error {
	if err := decodeIfAny(w, r.Request, &struct{}{}); err != nil {
		return err
	}
	return c.rule(w, r, false, nil)
}

// decodeIfAny is decodeJSON of a body that may be missing.
func decodeIfAny(w http.ResponseWriter, r *http.Request, v any) error {
	text, _, err := body(w, r, "application/json")
	if err != nil || len(text) == 0 {
		return err
	}
	return decode(text, v)
}

// rule notes what a person decides of a held event, and answers with the event
// as the ledger has left it then; with 202 and the event as it is held when the
// ledger does not get to it in time, or no node runs in this process.
func (c *Console) rule(w http.ResponseWriter, r *request, release bool, value *event.Amount) error {
	id, err := event.ParseID(r.PathValue("id"))
	if err != nil {
		return badRequest("%s", err)
	}
	if err := c.cfg.Objects.Rule(r.Context(), r.actor, id, release, value); err != nil {
		return err
	}
	wait := rulingWaitMax
	if c.cfg.Node == nil {
		wait = 0
	}
	held, err := c.carriedOut(r.Context(), id, wait)
	if err != nil {
		return err
	}
	if held != nil && held.Pending != nil {
		writeJSON(w, http.StatusAccepted, held)
		return nil
	}
	timeline, err := c.cfg.Activity.Event(r.Context(), id)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, timeline)
	return nil
}

// carriedOut waits until what was decided of an event is carried out. It gives
// the event as long as it is held: decided still, or, for another reason, held anew.
func (c *Console) carriedOut(ctx context.Context, id event.ID, wait time.Duration) (*sink.HeldRow, error) {
	ticker := time.NewTicker(rulingPoll)
	defer ticker.Stop()
	for end := time.Now().Add(wait); ; {
		held, err := c.cfg.Books.HeldEvent(ctx, id)
		if errors.Is(err, sink.ErrNotFound) {
			return nil, nil
		}
		if err != nil || held.Pending == nil || !time.Now().Before(end) {
			return held, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
}
