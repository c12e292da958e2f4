package faults

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// action is what an operator does with a mapper: activate and shadow with a
// version, rollback without.
type action struct {
	verb    string
	version int
}

func (a action) String() string {
	if a.verb == "rollback" {
		return a.verb
	}
	return fmt.Sprintf("%s %d", a.verb, a.version)
}

// do asks a node for an action.
func (w *world) do(m *member, name string, a action) (now mapperSeen, err error) {
	var in any
	if a.verb != "rollback" {
		in = map[string]int{"version": a.version}
	}
	return now, m.api.Do(w.Context(), http.MethodPost, mapperPath(name, a.verb), in, &now)
}

// registry is what the store must hold of a mapper: the model of it.
type registry struct {
	active, previous, shadow int
	replaced                 map[int]int // by version: what was active before it was activated last
}

// after gives the registry after an action, which must be one that is granted.
func (r registry) after(a action) registry {
	r.replaced = maps.Clone(r.replaced)
	switch {
	case a.verb == "shadow":
		r.shadow = a.version
		return r
	case a.verb == "activate" && a.version != r.active:
		r.replaced[a.version] = r.active
		r.active, r.previous = a.version, r.active
	case a.verb == "rollback":
		was := r.active
		r.active, r.previous = r.previous, r.replaced[r.previous]
		if r.previous == was {
			r.previous = 0
		}
	}
	if r.shadow == r.active {
		r.shadow = 0
	}
	return r
}

func (r registry) is(m mapperSeen) bool {
	return r.active == m.Active && r.previous == m.Previous && r.shadow == m.Shadow
}

// acts does what must be granted and come out as the model says.
func (w *world) acts(m *member, name string, r registry, a action) registry {
	w.Helper()
	now, err := w.do(m, name, a)
	if err != nil {
		w.Fatalf("%s: %v", a, err)
	}
	want := r.after(a)
	if !want.is(now) {
		w.Errorf("%s of mapper %s: active, previous and shadow are %d, %d, %d, want %d, %d, %d", a, name, now.Active, now.Previous, now.Shadow, want.active, want.previous, want.shadow)
	}
	return want
}

// first makes a mapper of a module, whose first version is in force then.
func (w *world) first(name string, code, archive []byte) registry {
	w.Helper()
	w.pushed(name, 1, code, archive)
	r := w.acts(w.nodes[0], name, registry{replaced: map[int]int{}}, action{"activate", 1})
	w.inForce(name, 1)
	return r
}

// activityRow is an event as the activity lists it.
type activityRow struct {
	Event      string    `json:"event"`
	ReceivedAt time.Time `json:"received_at"`
	DecidedAt  time.Time `json:"decided_at"`
	Source     string    `json:"source"`
	Status     string    `json:"status"`
	Reason     string    `json:"reason"`
	Mapper     string    `json:"mapper"`
	Fuel       int64     `json:"fuel"`
	Revision   int       `json:"revision"`
	Latency    struct {
		Total int64 `json:"total"` // microseconds
	} `json:"latency_us"`
}

// waits says that an event waits for its mapper.
func (r *activityRow) waits() bool { return r.Status == "parked" && r.Reason == "mapper_unavailable" }

// rows reads the activity of sources, of the given statuses ("" is all),
// in order of receipt.
func (w *world) rows(status string, sources ...string) (list []activityRow) {
	w.Helper()
	for _, id := range sources {
		for after := ""; ; {
			var page struct {
				Rows []activityRow `json:"rows"`
				Next string        `json:"next"`
			}
			q := url.Values{"source": {id}, "limit": {"1000"}}
			for name, value := range map[string]string{"status": status, "after": after} {
				if value != "" {
					q.Set(name, value)
				}
			}
			if err := w.living()[0].api.Do(w.Context(), http.MethodGet, "/api/v1/activity?"+q.Encode(), nil, &page); err != nil {
				w.Fatal(err)
			}
			list = append(list, page.Rows...)
			if after = page.Next; after == "" {
				break
			}
		}
	}
	slices.SortFunc(list, func(a, b activityRow) int {
		return cmp.Or(a.ReceivedAt.Compare(b.ReceivedAt), strings.Compare(a.Event, b.Event))
	})
	return list
}
