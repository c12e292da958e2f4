package console

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// filterOf reads the filter of an activity listing.
func (c *Console) filterOf(r *request) (f sink.Filter, err error) {
	q := r.query
	now := c.cfg.Now()
	if f.Since, err = moment(q, "since", now); err != nil {
		return f, err
	}
	if f.Until, err = moment(q, "until", now); err != nil {
		return f, err
	}
	f.Source, f.Status, f.Caller, f.CallID = q.Get("source"), q.Get("status"), q.Get("caller"), q.Get("call_id")
	f.After, f.Limit, err = page(q)
	return f, err
}

// listActivity lists events, the newest first, or with newer_than those that
// changed after that change number, in the order of their changes: what
// "activity --follow" asks for again and again with the next that it was given.
func (c *Console) listActivity(w http.ResponseWriter, r *request) error {
	f, err := c.filterOf(r)
	if err != nil {
		return err
	}
	if !r.query.Has("newer_than") {
		rows, next, err := c.cfg.Activity.List(r.Context(), f)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, list(rows, next))
		return nil
	}
	if f.After != "" {
		return badRequest("after %q beside newer_than: give one of them", clip(f.After))
	}
	change, err := number(r.query, "newer_than", 0, 0, math.MaxInt64)
	if err != nil {
		return err
	}
	rows, through, err := c.cfg.Activity.Newer(r.Context(), f, change)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, list(rows, strconv.FormatInt(through, 10)))
	return nil
}

func (c *Console) getEvent(w http.ResponseWriter, r *request) error {
	id, err := event.ParseID(r.PathValue("id"))
	if err != nil {
		return badRequest("%s", err)
	}
	timeline, err := c.cfg.Activity.Event(r.Context(), id)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, timeline)
	return nil
}

// summarySince is how far a summary goes back when nothing else is said.
const summarySince = 24 * time.Hour

func (c *Console) getSummary(w http.ResponseWriter, r *request) error {
	since, err := moment(r.query, "since", c.cfg.Now())
	if err != nil {
		return err
	}
	if since.IsZero() {
		since = c.cfg.Now().Add(-summarySince)
	}
	summary, err := c.cfg.Activity.Summary(r.Context(), since)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, summary)
	return nil
}

// postQuery runs one reading statement on the activity store. The statement
// stays out of the log: it may name callers.
func (c *Console) postQuery(w http.ResponseWriter, r *request) error {
	var in struct {
		SQL   string `json:"sql"`
		Limit int    `json:"limit"`
	}
	if err := decodeJSON(w, r.Request, &in); err != nil {
		return err
	}
	if in.Limit == 0 {
		in.Limit = QueryRowsDefault
	}
	ctx := r.Context()
	select {
	case c.queries <- struct{}{}:
		defer func() { <-c.queries }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ask := c.cfg.Activity.Query
	if c.cfg.Query != nil {
		ask = c.cfg.Query
	}
	table, err := ask(ctx, in.SQL, in.Limit)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, table)
	return nil
}
