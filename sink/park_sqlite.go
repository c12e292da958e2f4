package sink

import (
	"github.com/tallyhook/tallyhook/event"
)

func (t *sqliteTx) loadWaiting(keys []event.CallKey, w *work) error {
	for _, k := range keys {
		if _, known := w.waits[k]; known {
			continue
		}
		var list []*waiting
		err := t.rows(qWaitingFor, func(r scanner) error {
			p, err := w.scanWaiting(r)
			list = append(list, p)
			return err
		}, int64(k))
		if err != nil {
			return err
		}
		w.waits[k] = list
	}
	return nil
}

func (t *sqliteTx) due(at int64, limit int, scan func(scanner) error) error {
	return t.rows(qWaitingUntil, scan, at, int64(limit))
}

func (t *sqliteTx) recorded(stream uint32, from, to uint64, scan func(scanner) error) error {
	return t.rows(qRecorded, scan, int64(stream), int64(from), int64(to))
}
