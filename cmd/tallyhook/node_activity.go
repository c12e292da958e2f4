package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"time"

	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/sink/clickhouse"
	"github.com/tallyhook/tallyhook/store"
)

// openActivity makes what ships verdicts to the activity store, when there is
// one. It is connected when it is first needed: it may be away.
func (n *node) openActivity(context.Context) (err error) {
	if n.opt.Activity == "" {
		return nil
	}
	if n.analysts, err = clickhouse.Open(n.opt.Activity); err != nil {
		return usageError{err}
	}
	n.onClose(n.analysts.Close)
	cfg := clickhouse.Config{Read: n.db.Read, Write: n.db.Write, Pool: n.db.Pool, StoreID: n.db.ID, Node: n.name(),
		KeepDays: n.cfg.ActivityKeepDays, Explain: n.db.Explain, Now: time.Now, Log: n.log}
	if n.cfg.HashCallers {
		cfg.Callers = hidden(n.objects.Seal)
	}
	n.shipper = clickhouse.NewShipper(n.analysts, cfg)
	return nil
}

// hidden gives what the activity store may hold of a caller's number when
// numbers are not to be read there: a digest with a key that it does not know,
// so that nobody can try numbers out, and the last four digits.
func hidden(seal *store.Seal) func(e164 string) string {
	pepper := seal.Pepper("caller")
	return func(e164 string) string {
		m := hmac.New(sha256.New, pepper)
		m.Write([]byte(e164))
		return hex.EncodeToString(m.Sum(nil)[:16]) + "…" + e164[max(0, len(e164)-4):]
	}
}

// ship runs the shipper once the store has been reached.
func (n *node) ship(ctx context.Context) error {
	if n.shipper == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-n.reached:
	}
	n.shipper.Ship(ctx)
	return nil
}

// Limits of forgetting.
const (
	forgetInterval = time.Minute
	forgetRowsMax  = 5000 // per transaction
	forgetPause    = 50 * time.Millisecond
)

// forget lets raw requests and verdicts go when their time is over. Verdicts
// stay until the activity store has them.
func (n *node) forget(ctx context.Context) error {
	if n.cfg.RawKeep == 0 && n.cfg.VerdictsKeep == 0 {
		return nil
	}
	tick := time.NewTicker(forgetInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !n.attached.Load() {
			continue
		}
		if n.cfg.RawKeep > 0 {
			n.forgetSome(ctx, "raw requests", func() (int, error) {
				return sink.DropRaw(ctx, n.db.Write, time.Now().Add(-n.cfg.RawKeep).UnixMicro(), forgetRowsMax)
			})
		}
		if n.cfg.VerdictsKeep > 0 {
			n.forgetSome(ctx, "verdicts", func() (int, error) { return n.prune(ctx) })
		}
	}
}

// prune lets verdicts go whose time is over, but for those that some node has
// yet to ship.
func (n *node) prune(ctx context.Context) (int, error) {
	from, held, err := clickhouse.KeepFrom(ctx, n.db.Read, time.Now())
	if err != nil {
		return 0, err
	}
	through := int64(math.MaxInt64)
	if held {
		through = from - 1
	} else if n.shipper != nil {
		return 0, nil // nothing was shipped yet
	}
	return sink.Prune(ctx, n.db.Write, time.Now().Add(-n.cfg.VerdictsKeep).UnixMicro(), through, forgetRowsMax)
}

// forgetSome lets go until there is nothing more to let go of.
func (n *node) forgetSome(ctx context.Context, what string, some func() (int, error)) {
	for {
		count, err := some()
		if err != nil && ctx.Err() == nil {
			n.log.Warn("what has been kept long enough could not be let go; it is tried again in a minute", "what", what, "error", err)
		}
		if err != nil || count < forgetRowsMax || ctx.Err() != nil {
			return
		}
		time.Sleep(forgetPause)
	}
}
