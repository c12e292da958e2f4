package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/vectors"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// Limits of vectors that are made of what came.
const (
	VectorsLastDefault = 20
	VectorsLastMax     = 100
	vectorsRowsMax     = 10 * ListRowsMax // events looked at for them
)

// getVectors makes test vectors of the last postbacks of a source: each
// request as it came, secrets taken out, and what was made of it as what shall
// come of it. Requests that are not kept whole any more are left out.
func (c *Console) getVectors(w http.ResponseWriter, r *request) error {
	last, err := number(r.query, "last", VectorsLastDefault, 1, VectorsLastMax)
	if err != nil {
		return err
	}
	info, err := c.cfg.Objects.GetSource(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	var cases []vectors.Case
	bytes := 0
	err = c.lastRecords(r.Context(), info.ID, func(record []sink.Row) (more bool, err error) {
		one, ok, err := c.caseOf(r.Context(), &info, record)
		if err != nil || !ok {
			return err == nil, err
		}
		if bytes += len(vectors.Archive([]vectors.Case{one})); bytes > vectors.ArchiveBytesMax {
			return false, nil
		}
		cases = append(cases, one)
		return len(cases) < int(last), nil
	})
	if err != nil {
		return err
	}
	if len(cases) == 0 {
		return refuse(http.StatusNotFound, "not_found", "source %q has no postback that is kept whole: send one to its URL, then ask again", info.ID)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(vectors.Archive(cases)) // a client that is gone needs no error
	return nil
}

// lastRecords gives the events of each record of a source, the newest record
// first, until take wants no more or vectorsRowsMax events were looked at.
func (c *Console) lastRecords(ctx context.Context, sourceID string, take func([]sink.Row) (more bool, err error)) error {
	var record []sink.Row
	var current string
	after := ""
	for seen := 0; seen < vectorsRowsMax; {
		rows, next, err := c.cfg.Activity.List(ctx, sink.Filter{Source: sourceID, Limit: ListRowsDefault, After: after})
		if err != nil {
			return err
		}
		for _, row := range rows {
			if of, _, _ := strings.Cut(row.Event, "."); of != current {
				if len(record) > 0 {
					if more, err := take(record); err != nil || !more {
						return err
					}
				}
				record, current = nil, of
			}
			record = append(record, row)
		}
		seen += len(rows)
		if after = next; next != "" {
			continue
		}
		if len(record) > 0 {
			_, err = take(record)
		}
		return err
	}
	return nil // the record at hand may not be whole
}

// caseOf makes a case of one record; ok is false when it cannot be made whole.
func (c *Console) caseOf(ctx context.Context, info *store.SourceInfo, record []sink.Row) (one vectors.Case, ok bool, err error) {
	id, err := event.ParseID(record[0].Event)
	if err != nil {
		return one, false, err
	}
	var request *sink.Request
	var want []vectors.Want
	var text strings.Builder
	for n := range record {
		id.N = uint16(n)
		t, err := c.cfg.Activity.Event(ctx, id)
		if err != nil || t.Request == nil || t.Request.BodyCut {
			return one, false, notThere(err)
		}
		if n == 0 {
			fmt.Fprintf(&text, "Postback %s of source %s, received %s: %s", t.Row.Event, info.ID, event.AppendTime(nil, int64(t.ReceivedAt)), t.Status)
		}
		wanted, err := wantOf(t)
		if err != nil {
			return one, false, nil // not one that a vector can say
		}
		request, want = t.Request, append(want, wanted)
	}
	rec := &event.Record{ReceivedAt: int64(record[0].ReceivedAt), Method: request.Method, Query: request.Query,
		ContentType: request.ContentType, Peer: request.Peer, Headers: request.Headers, Body: request.Body}
	id.N = 0
	one, err = vectors.New("event-"+id.String(), text.String(), settingsOf(&info.Spec), rec, want)
	return one, err == nil, nil
}

// notThere takes an event that is not there for none, since retention may take
// it while it is looked at.
func notThere(err error) error {
	if err != nil && failureOf(err, "").status == http.StatusNotFound {
		return nil
	}
	return err
}

var errNotMapped = errors.New("its mapper was not asked yet")

// wantOf is what was made of an event as what shall come of it.
func wantOf(t *sink.Timeline) (vectors.Want, error) {
	switch {
	case t.Status == event.Invalid.String(), t.Status == event.Failed.String():
		return vectors.Want{Invalid: event.Reason(t.Reason)}, nil
	case t.Status == event.Ignored.String() && event.Reason(t.Reason) == event.MapperDropped:
		return vectors.Want{Ignored: true}, nil
	case event.Reason(t.Reason) == event.MapperUnavailable:
		return vectors.Want{}, errNotMapped
	}
	return vectors.ParseWant(t.Report)
}

// settingsOf is what of a source's settings a mapper's reports depend on.
func settingsOf(s *source.Spec) string {
	var b strings.Builder
	line := func(name string, value any) {
		text, err := json.Marshal(value) // which is YAML too
		if err != nil {
			panic("bug: own value does not encode: " + err.Error())
		}
		fmt.Fprintf(&b, "%s: %s\n", name, text)
	}
	if s.Currency != event.DefaultCurrency {
		line("currency", s.Currency)
	}
	if s.Match.DefaultRegion != source.DefaultRegion {
		line("match", map[string]string{"default_region": s.Match.DefaultRegion})
	}
	if len(s.Constants) > 0 {
		line("constants", s.Constants)
	}
	if s.Transforms.NegativeReverses || s.Transforms.TimeZone != "" {
		line("transforms", source.Transforms{NegativeReverses: s.Transforms.NegativeReverses, TimeZone: s.Transforms.TimeZone})
	}
	if s.Identity != "" {
		line("identity", s.Identity)
	}
	return b.String()
}
