package faults

import (
	"testing"
	"time"
)

// Sizes of what is done to a network.
const (
	slowBy   = 100         // milliseconds more for every answer
	cutAfter = int64(4000) // bytes of answers, then the connection breaks
)

// outage is one way in which a server is not there.
type outage struct {
	name       string
	lasts      time.Duration // at least
	noticed    bool          // for certain, and soon: nodes are refused, or nothing comes
	begin, end func()
}

// outagesOf lists what is done to the server of a role. An insert may take
// ClickHouse a minute, so that only a long silence of it is a fault.
func (w *world) outagesOf(role string, b *backend) []outage {
	whole, part := w.size.Fault, w.size.Fault
	if w.size.Long {
		part /= 5
	}
	list := []outage{
		{"down", whole, true, b.link.Down, b.link.Up},
		{"silent", part, role != "activity" || w.size.Long, b.link.Silence, b.link.Clear},
		{"slow", part, false, func() { b.link.Slow(slowBy) }, b.link.Clear},
		{"resetting", part, false, b.link.Reset, b.link.Clear},
		{"cut", part, false, func() { b.link.Cut(cutAfter) }, b.link.Clear},
	}
	if w.size.Long {
		list = append(list, outage{"frozen", part, true, b.Freeze, b.Thaw})
	}
	return list
}

// Away takes the server of one role (store, index or activity) away in every
// manner, one after the other, under load. Senders do not notice: each request
// is answered in time. The others go on, nodes say what is away while it is,
// and when it is back they catch up and stop saying so.
func Away(t testing.TB, bin string, size Size, role string) {
	w := newWorld(t, bin, size)
	b := map[string]*backend{"store": &w.store, "index": &w.index, "activity": &w.activity}[role]
	w.startNodes(2)
	w.drive()
	w.pause(size.Calm)
	w.phase("warm")
	w.pause(size.Calm)
	before := w.phase("change")
	for _, o := range w.outagesOf(role, b) {
		w.phase(role + " " + o.name)
		begin, done := time.Now(), w.sum(booked)
		o.begin()
		if o.noticed {
			w.says(role, true, w.notice())
		}
		w.pause(time.Until(begin.Add(o.lasts)))
		if role != "store" && w.sum(booked) <= done {
			t.Errorf("%s %s: nothing was booked meanwhile", role, o.name)
		}
		during := w.phase("after " + role + " " + o.name)
		o.end()
		w.tookIn(during)
		w.compare(before, during)
		w.says(role, false, recoverMax)
		w.caughtUp()
		w.unharmed(w.phase("change"))
	}
	w.pause(size.Calm)
	w.judge()
}

// compare reports how long 99 of 100 answers took at most, beside what they took
// before. It is no test: on a machine that everything shares it varies more by
// itself than any promise could allow.
func (w *world) compare(before, during *phase) {
	w.Helper()
	a, b := before.atOnce.Quantile(.99), during.atOnce.Quantile(.99)
	w.say("%s: p99 of an answer at once %s, before %s: ratio %.2f", during.name, b, a, float64(b)/float64(max(a, 1)))
}

// RestartWithoutStore restarts a node, by a crash, while PostgreSQL is away: it
// takes in by what it kept on its own disk, and everything is booked when
// PostgreSQL is back.
func RestartWithoutStore(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	w.startNodes(2)
	m := w.nodes[0]
	w.drive()
	w.pause(size.Calm)
	w.store.link.Down()
	w.kill(m)
	w.restart(m)
	w.phase("without store")
	w.pause(size.Fault)
	w.says("store", true, w.notice())
	w.grows(m, journaled, noticeMax)
	// Some connections were to the process that was killed; nothing else fails.
	if p := w.phase("store is back"); p.acked == 0 || p.refused > 0 {
		t.Errorf("%s: %d requests were acknowledged, %d refused", p.name, p.acked, p.refused)
	}
	w.store.link.Up()
	w.says("store", false, recoverMax)
	w.caughtUp()
	w.judge()
}
