package ingest

import (
	"net/netip"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

// patient is a request that waits for Redis. The flags belong to the lock of
// the bucket in whose list it stands.
type patient struct {
	answer   chan decision // of one: who answers never blocks
	timer    *time.Timer
	answered bool
	gone     bool // its patience was over; whoever takes it off the list returns it to the pool
}

// decision is what a patient is told.
type decision struct {
	ok, alone bool // alone: Redis said nothing
	wait      time.Duration
}

func newPatient() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &patient{answer: make(chan decision, 1), timer: t}
}

func (l *RedisLimiter) putPatient(w *patient) {
	w.timer.Stop()
	l.patients.Put(w)
}

// visit is one request at its buckets. Its patience is for all of them.
type visit struct {
	l       *RedisLimiter
	at      int64
	patient *patient // nil until it has to wait; its timer runs
	alone   bool     // Redis did not decide
}

func (v *visit) allow(src *source.Source, peer netip.Addr) (bool, time.Duration) {
	var token *sharedBucket
	if src.PerToken > 0 {
		token = v.l.source(src.Spec.ID, v.at)
	}
	if src.PerIP > 0 {
		if token != nil {
			if wait := token.spent(src.PerToken, v.at); wait > 0 {
				return false, wait
			}
		}
		if ok, wait := v.take(v.l.peer(src.Spec.ID, peer, v.at), src.PerIP); !ok {
			return false, wait
		}
	}
	if token == nil {
		return true, 0
	}
	return v.take(token, src.PerToken)
}

// take asks the node's own bucket, which every request must pass, then the
// lease, then Redis.
func (v *visit) take(b *sharedBucket, perMin int) (ok bool, wait time.Duration) {
	b.mu.Lock()
	b.setLimit(perMin)
	b.at = v.at
	resting := b.resting(v.at)
	if b.full, ok, wait = draw(b.full, perMin, v.at); !ok {
		b.mu.Unlock()
		return false, max(wait, resting)
	}
	switch {
	case b.pay(v.at):
		if b.tokens <= b.low && resting == 0 && !v.l.line.down.Load() {
			v.l.line.join(b)
		}
	case v.alone || v.l.line.down.Load():
		v.alone = true
	case resting > 0:
		b.full -= b.every
		b.mu.Unlock()
		return false, resting
	case b.lend(v.at):
		v.l.line.join(b)
	default:
		return v.wait(b)
	}
	b.mu.Unlock()
	return true, 0
}

// wait stands in line until b is answered for or patience ends. The caller
// holds b's lock, and wait gives it back.
func (v *visit) wait(b *sharedBucket) (bool, time.Duration) {
	w := v.patient
	if w == nil {
		w = v.l.patients.Get().(*patient)
		w.timer.Reset(v.l.patience)
		v.patient = w
	}
	w.answered, w.gone = false, false
	b.used++
	b.waiting = append(b.waiting, w)
	v.l.line.join(b)
	b.mu.Unlock()

	var a decision
	select {
	case a = <-w.answer:
	case <-w.timer.C:
		b.mu.Lock()
		if !w.answered {
			w.gone = true
			b.debt++
			b.mu.Unlock()
			v.patient, v.alone = nil, true
			return true, 0
		}
		b.mu.Unlock()
		a = <-w.answer   // it came between the timer and the lock
		w.timer.Reset(0) // and no patience is left for the next bucket
	}
	v.alone = v.alone || a.alone
	return a.ok, a.wait
}

func (w *patient) tell(a decision) {
	w.answered = true
	w.answer <- a
}
