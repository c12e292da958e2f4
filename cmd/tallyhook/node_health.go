package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/console"
)

// healthInterval is how often the primary store is asked whether it is there.
const healthInterval = 2 * time.Second

// health is whether a backend answers, and since when.
type health struct {
	mu    sync.Mutex
	fault string
	since time.Time
}

// set notes what it said and tells whether that is another state.
func (h *health) set(err error, now time.Time) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed = (err == nil) != (h.fault == "")
	if changed {
		h.since = now
	}
	if h.fault = ""; err != nil {
		h.fault = err.Error()
	}
	return changed
}

func (h *health) status(role, kind string) console.BackendStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	return console.BackendStatus{Role: role, Kind: kind, Up: h.fault == "", Since: h.since, Fault: h.fault}
}

// watchHealth asks the store and the activity store now and then; the caches
// are watched by who uses them. An embedded store is a file of this process.
func (n *node) watchHealth(ctx context.Context) error {
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for {
		if n.db.Postgres() {
			n.note(ctx, &n.store, n.db.Ready(ctx), "the store is away: "+storeAwayAdvice, "the store answers")
		}
		if n.shipper != nil {
			n.note(ctx, &n.ships, n.activityFault(ctx), "the activity store is away: verdicts wait in the primary store", "the activity store answers")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// activityFault is what is wrong with the activity store, as the shipper has
// met it or as the server itself says.
func (n *node) activityFault(ctx context.Context) error {
	if err := n.analysts.Ping(ctx); err != nil {
		return err
	}
	if text := n.shipper.Status().LastError; text != "" {
		return errors.New(text)
	}
	return nil
}

// note keeps what a backend said, and says it once when that has changed.
func (n *node) note(ctx context.Context, h *health, err error, away, back string) {
	if ctx.Err() != nil || !h.set(err, time.Now()) {
		return
	}
	if err != nil {
		n.log.Warn(away, "error", err)
		return
	}
	n.log.Info(back)
}

// backends says how everything stands that the node leans on.
func (n *node) backends() []console.BackendStatus {
	kind := "sqlite"
	if n.db.Postgres() {
		kind = "postgres"
	}
	list := []console.BackendStatus{n.store.status("store", kind), n.caches.index(), n.caches.limits()}
	if n.shipper != nil {
		list = append(list, n.ships.status("activity", "clickhouse"))
	}
	return list
}

// shipping says how far the activity store is behind.
func (n *node) shipping() (s console.ShippingStatus) {
	if n.shipper != nil {
		st := n.shipper.Status()
		s = console.ShippingStatus{Holding: st.Holding, Through: st.Through, LagRows: st.LagRows, LagSeconds: st.Lag.Seconds()}
	}
	return s
}

// Ready implements console.Node.
func (n *node) Ready() error {
	if err := n.journal.Err(); err != nil {
		return err
	}
	if s := n.journal.Status(); s.Full != nil {
		return s.Full
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.failed != "":
		return errors.New(n.failed)
	case n.stopping:
		return errors.New("the node is stopping")
	}
	return nil
}

// name is what listings call this node.
func (n *node) name() string {
	if n.cfg.NodeName != "" {
		return n.cfg.NodeName
	}
	return hostname()
}

func hostname() string {
	h, err := os.Hostname()
	if err != nil {
		return "node"
	}
	return h
}
