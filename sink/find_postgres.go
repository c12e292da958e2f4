package sink

import (
	"time"

	"github.com/tallyhook/tallyhook/event"
)

func (t *postgresTx) loadCalls(nos []int64, w *work) error {
	var missing []int64
	for _, no := range nos {
		if _, known := w.calls[no]; !known && no != 0 {
			missing = append(missing, no)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return t.each(w.scanCall, pgCalls, missing)
}

func (t *postgresTx) loadCallsByID(ids []string, w *work) error {
	if len(ids) == 0 {
		return nil
	}
	return t.each(w.scanCall, pgCallsByID, ids)
}

func (t *postgresTx) loadNames(names []callName, w *work) error {
	var missing []callName
	var hashes, ats []int64
	for _, n := range names {
		if _, known := w.named[n]; known {
			continue
		}
		w.named[n] = nil
		missing, hashes, ats = append(missing, n), append(hashes, int64(n.key)), append(ats, n.at)
	}
	if len(missing) == 0 {
		return nil
	}
	return t.each(func(r scanner) error {
		var i, no int64
		if err := r.Scan(&i, &no); err != nil {
			return err
		}
		w.named[missing[i-1]] = append(w.named[missing[i-1]], no)
		return nil
	}, pgNames, hashes, ats)
}

func (t *postgresTx) loadIdentities(want []wantedIdentity, w *work) error {
	var strong, weak [][]byte
	var hours []int64
	holders := make(weakHolders, len(want))
	for i := range want {
		k := &want[i]
		if w.ids[k.key] != nil {
			continue
		}
		if k.key[0] == classStrong {
			strong = append(strong, k.key[1:])
			continue
		}
		holders.want(*k)
		for hour := k.from / hourMicros; hour <= k.to/hourMicros; hour++ {
			hours, weak = append(hours, hour), append(weak, k.key[1:])
		}
	}
	if len(strong) > 0 {
		if err := t.each(w.scanStrong, pgStrong, strong); err != nil {
			return err
		}
	}
	if len(weak) == 0 {
		return nil
	}
	err := t.each(func(r scanner) error {
		var key []byte
		var status string
		i := new(identity)
		if err := r.Scan(&key, &i.id.Stream, &i.id.Seq, &i.id.N, &i.receivedAt, &i.call, &status); err != nil {
			return err
		}
		return holders.hear(key, i, status == event.Unmatched.String() || status == event.Failed.String())
	}, pgWeak, hours, weak)
	holders.into(w)
	return err
}

const hourMicros = int64(time.Hour / time.Microsecond)

func (t *postgresTx) loadWaiting(keys []event.CallKey, w *work) error {
	var missing []int64
	for _, k := range keys {
		if _, known := w.waits[k]; !known {
			w.waits[k] = nil
			missing = append(missing, int64(k))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return t.each(func(r scanner) error {
		var hash int64
		p, err := w.scanWaiting(prefixed{r, []any{&hash}})
		if err == nil {
			w.waits[event.CallKey(hash)] = append(w.waits[event.CallKey(hash)], p)
		}
		return err
	}, pgWaitingFor, missing)
}

// prefixed scans columns before those that the caller knows of.
type prefixed struct {
	scanner
	first []any
}

func (p prefixed) Scan(dst ...any) error { return p.scanner.Scan(append(p.first, dst...)...) }

func (t *postgresTx) due(at int64, limit int, scan func(scanner) error) error {
	return t.each(scan, pgWaitingUntil, at, int64(limit))
}

func (t *postgresTx) recorded(stream uint32, from, to uint64, scan func(scanner) error) error {
	return t.each(scan, pgRecorded, int64(stream), int64(from), int64(to))
}

// changedMax is how many changes of calls by other nodes are read at once.
const changedMax = 20_000

func (t *postgresTx) changedCalls(from, to int64, dst []recentCall) ([]recentCall, bool, error) {
	if to-from > changedMax {
		return dst, false, nil
	}
	var keys []event.CallKey
	err := t.each(func(r scanner) error {
		var c event.Call
		var networks string
		var change int64
		err := r.Scan(&c.No, &c.CallID, &c.RefID, &networks, &c.Caller, &change)
		if err == nil && networks != "" {
			c.NetworkIDs, err = parseNetworks(networks)
		}
		keys = c.AppendKeys(keys[:0])
		for _, k := range keys {
			dst = append(dst, recentCall{change, k, c.No})
		}
		return err
	}, pgChanged, from)
	return dst, err == nil, err
}
