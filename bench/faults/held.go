package faults

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/node"
)

// Sizes of the runs with held events.
const (
	heldRounds = 6
	heldEach   = 10 // events of which people decide in one round, all at once
	heldOver   = 200 * unit
	heldAgreed = 55 * unit // what some are released at
)

// ruled is a held event and what people decide of it.
type ruled struct {
	event    string
	reported int64
	actions  []string // release, reject, agree (release at another value); several are asked at the same time
}

// Held has people release and reject held events, now and then
// both at once, while the node that they ask is killed: right after an answer,
// or as soon as the decision is noted. Each decision is carried out once, and
// where there are several it is the last one that was noted.
func Held(t testing.TB, bin string, size Size) { together(t, bin, size, decideHeld) }

// HeldLone is Held of one node.
func HeldLone(t testing.TB, bin string, size Size) { alone(t, bin, size, decideHeld) }

func decideHeld(w *world) {
	take, path := newTaker(w), w.heldSource()
	list := w.holdEvents(take, path)
	stop := w.heldTraffic(take, path)
	db, last := w.books(), len(w.nodes)-1
	for round := range heldRounds {
		var wait sync.WaitGroup
		answered := make(chan struct{}, 2*heldEach)
		noted := `SELECT count(*) FROM audit WHERE action IN ('release', 'reject')`
		before := w.count(db, noted)
		for i, e := range list[round*heldEach : (round+1)*heldEach] {
			for k, action := range e.actions {
				wait.Go(func() { w.decide(e, action, (i+k)%len(w.nodes), answered) })
			}
		}
		m := w.nodes[min(round%2, last)]
		if round/2%2 == 0 {
			select {
			case <-answered:
			case <-time.After(takenMax):
				w.Fatalf("no decision was answered within %s", takenMax)
			}
		} else {
			w.until(readyMax, "a decision is noted", func(context.Context) error {
				if w.count(db, noted) == before {
					return errors.New("none is")
				}
				return nil
			})
		}
		w.kill(m)
		w.restart(m)
		wait.Wait()
	}
	stop()
	w.decided(db, "all decisions are carried out", `SELECT (SELECT count(*) FROM ruling) + (SELECT count(*) FROM held)`)
	w.judgeHeld(db, list)
}

// heldSource makes a source of which no value above 100 is booked by itself.
func (w *world) heldSource() (path string) {
	w.Helper()
	path = w.sourceOf(map[string]any{"id": "held", "name": "Held", "buyer": "acme", "reply": "accepted", "identity": "tx", "currency": "USD", "amount_max": "100"})
	w.knownEverywhere()
	return path
}

// holdEvents has events held, each on a call of its own.
func (w *world) holdEvents(take *taker, path string) (list []*ruled) {
	w.Helper()
	for i := range heldRounds * heldEach {
		id := fmt.Sprintf("held-%03d", i)
		w.tellCall(take, id)
		e := &ruled{reported: int64(heldOver + i*unit), actions: [][]string{{"release"}, {"reject"}, {"agree"}, {"release", "reject"}}[i%4]}
		var err error
		if e.event, err = take.get(w.nodes, path, url.Values{"call_id": {id}, "tx": {id}, "payout": {decimal(e.reported)}}); err != nil {
			w.Fatal(err)
		}
		list = append(list, e)
	}
	w.decided(w.books(), "all are held", fmt.Sprintf(`SELECT %d - count(*) FROM held`, len(list)))
	return list
}

func (w *world) tellCall(take *taker, id string) {
	w.Helper()
	_, err := take.send(w.nodes[:1], func(host string) (*http.Request, error) {
		r, err := http.NewRequest(http.MethodPost, "http://"+host+"/v1/calls", strings.NewReader(fmt.Sprintf(`{"call_id":%q}`, id)))
		if err == nil {
			r.Header.Set("Authorization", "Bearer "+w.key)
		}
		return r, err
	})
	if err != nil {
		w.Fatal(err)
	}
}

// heldTraffic keeps the ledgers busy: one value of one call, again and again.
func (w *world) heldTraffic(take *taker, path string) (stop func()) {
	w.Helper()
	w.tellCall(take, "busy")
	ctx, end := context.WithCancel(w.Context())
	var wait sync.WaitGroup
	for i := range w.nodes {
		wait.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				query := url.Values{"call_id": {"busy"}, "tx": {fmt.Sprintf("busy-%d-%d", i, n)}, "payout": {"1"}}
				if _, err := take.get([]*member{w.nodes[i]}, path, query); err != nil {
					w.Error(err)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	return func() { end(); wait.Wait() }
}

// decide asks nodes for an action, the first one first, until one answers: that
// it is noted, or that the event is not held any more.
func (w *world) decide(e *ruled, action string, first int, answered chan<- struct{}) {
	verb, body := action, any(nil)
	if action == "agree" {
		verb, body = "release", map[string]string{"value": decimal(heldAgreed)}
	}
	for n, end := first, time.Now().Add(takenMax); ; n++ {
		err := w.nodes[n%len(w.nodes)].api.Do(w.Context(), http.MethodPost, "/api/v1/held/"+e.event+"/"+verb, body, new(struct{}))
		refused := (*node.StatusError)(nil)
		switch {
		case err == nil:
			answered <- struct{}{}
			return
		case errors.As(err, &refused) && refused.Status < 500 && strings.Contains(refused.Text, "not held"):
			return
		case errors.As(err, &refused) && refused.Status < 500 || time.Now().After(end):
			w.Errorf("%s of event %s: %v", action, e.event, err)
			return
		}
		time.Sleep(againAfter)
	}
}

// judgeHeld holds every event against the last decision that was noted of it.
func (w *world) judgeHeld(db *sql.DB, list []*ruled) {
	w.Helper()
	noted, became := map[string][]string{}, map[string][]string{}
	w.each(db, `SELECT action, object FROM audit WHERE action IN ('release', 'reject') ORDER BY no`, func(row func(...any) error) error {
		var action, object string
		err := row(&action, &object)
		event := strings.TrimPrefix(object, "event/")
		noted[event] = append(noted[event], action)
		return err
	})
	w.each(db, `SELECT stream, seq, status, reason, delta FROM verdict WHERE source = 'held' ORDER BY change_seq`, func(row func(...any) error) error {
		var stream, seq, delta int64
		var status, reason string
		err := row(&stream, &seq, &status, &reason, &delta)
		event := fmt.Sprintf("%d-%d", stream, seq)
		became[event] = append(became[event], fmt.Sprintf("%s %s %s", status, reason, decimal(delta)))
		return err
	})
	total, several, kinds := int64(unit), 0, map[string]int{} // the busy call has one
	for _, e := range list {
		if len(noted[e.event]) == 0 {
			w.Errorf("no decision of event %s is noted", e.event)
			continue
		}
		if len(noted[e.event]) > 1 {
			several++
		}
		action, value := noted[e.event][len(noted[e.event])-1], e.reported
		if slices.Contains(e.actions, "agree") {
			value = heldAgreed
		}
		want := []string{"held amount_over_cap 0.000000", "rejected refused_by_person 0.000000"}
		if action == "release" {
			want[1] = "booked released " + decimal(value)
			total += value
		}
		if kinds[action]++; !slices.Equal(became[e.event], want) {
			w.Errorf("event %s: %v were noted, and it became %q, want %q", e.event, noted[e.event], became[e.event], want)
		}
	}
	w.say("decided: %v, %d of them more than once", kinds, several)
	w.holds("buyer_receivable", "acme", "USD", total)
	w.invariants()
}
