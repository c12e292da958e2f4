package sink_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// calls fills the store with calls 1 to n; call i was changed as number i.
func (f *fixture) calls(n int) {
	f.t.Helper()
	f.exec(`INSERT INTO call (no, call_id, ref_id, network_ids, caller, started_at, ranks, change_seq) VALUES (1, 'c1', 'r1', '{"ringba":"RG1"}', '+15550000001', 7, $1, 1)`, []byte{})
	f.exec(fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
INSERT INTO call (no, call_id, ref_id, ranks, change_seq) SELECT i, 'c' || i, 'r' || i, c.ranks, i FROM n, call c WHERE c.no = 1`, n))
	f.exec(`INSERT INTO meta (key, value) VALUES ('call_change', $1)`, fmt.Sprint(n))
}

// touch upserts a call as the ledger does, as change number change.
func (f *fixture) touch(no, change int) {
	f.t.Helper()
	tx, err := f.db.Write.Begin()
	if err != nil {
		f.t.Fatal(err)
	}
	defer tx.Rollback()
	_, err = tx.Exec(`UPDATE call SET ref_id = $1, change_seq = $2 WHERE no = $3`, fmt.Sprint(change), change, no)
	if err == nil {
		_, err = tx.Exec(`UPDATE meta SET value = $1 WHERE key = 'call_change'`, fmt.Sprint(change))
	}
	if err != nil {
		f.t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		f.t.Fatal(err)
	}
}

func TestCallsSince(t *testing.T) {
	onEveryStore(t, func(t *testing.T, fx *fixture) {
		none := func([]event.Call) error { t.Error("an empty store yields calls"); return nil }
		if through, err := sink.CallsSince(t.Context(), fx.db.Read, 0, none); through != 0 || err != nil {
			t.Errorf("empty: through %d, %v", through, err)
		}
		fx.calls(6)
		fx.exec(`UPDATE call SET change_seq = 7 - no`)
		fx.exec(`UPDATE call SET change_seq = 3 WHERE no IN (2, 5)`) // imported at once
		f := func(from int64, want string) {
			t.Helper()
			got := ""
			through, err := sink.CallsSince(t.Context(), fx.db.Read, from, func(calls []event.Call) error {
				for _, c := range calls {
					got += fmt.Sprint(c.No)
				}
				return nil
			})
			if err != nil || through != 6 || got != want {
				t.Errorf("since %d: %s through %d, %v; want %s", from, got, through, err, want)
			}
		}
		f(0, "624531")
		f(1, "24531")
		f(2, "24531")
		f(3, "31")
		f(6, "")
		f(9, "")
		stop := errors.New("enough")
		if _, err := sink.CallsSince(t.Context(), fx.db.Read, 0, func([]event.Call) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
		var first event.Call
		if _, err := sink.CallsSince(t.Context(), fx.db.Read, 5, func(calls []event.Call) error { first = calls[0]; return nil }); err != nil ||
			first.CallID != "c1" || first.RefID != "r1" || first.Caller != "+15550000001" || first.StartedAt != 7 || len(first.NetworkIDs) != 1 || first.NetworkIDs[0].Value != "RG1" {
			t.Errorf("got %+v, %v", first, err)
		}
	})
}

// TestCallsSinceMeetsWhatMoves: calls that change while they are read are met
// where they are then.
func TestCallsSinceMeetsWhatMoves(t *testing.T) {
	const n = 25_000 // more than one query reads
	onEveryStore(t, func(t *testing.T, fx *fixture) {
		fx.calls(n)
		refs, met := map[int64]string{}, 0
		through, err := sink.CallsSince(t.Context(), fx.db.Read, 0, func(calls []event.Call) error {
			if met == 0 {
				fx.touch(n-1, n+1) // not read yet
				fx.touch(5, n+2)   // read already
				fx.touch(9, n+3)
				fx.touch(9, n+4)
			}
			met += len(calls)
			for _, c := range calls {
				refs[c.No] = c.RefID
			}
			return nil
		})
		if err != nil || through != n || len(refs) != n || met != n+2 {
			t.Errorf("%d calls, %d met, through %d, %v", len(refs), met, through, err)
		}
		for no, want := range map[int64]int{5: n + 2, 9: n + 4, n - 1: n + 1} {
			if refs[no] != fmt.Sprint(want) {
				t.Errorf("call %d is known as of %s, not %d", no, refs[no], want)
			}
		}
	})
}

// TestCallsFollowed: who asks again and again from where it was knows in the
// end what the store knows, whatever was written meanwhile.
func TestCallsFollowed(t *testing.T) {
	onEveryStore(t, func(t *testing.T, fx *fixture) {
		const calls, changes = 50, 400
		fx.calls(calls)
		refs, from := map[int64]string{}, int64(0)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var wait sync.WaitGroup
		wait.Go(func() {
			for ended := false; !ended; {
				ended = ctx.Err() != nil // then once more
				through, err := sink.CallsSince(t.Context(), fx.db.Read, from, func(calls []event.Call) error {
					for _, c := range calls {
						refs[c.No] = c.RefID
					}
					return nil
				})
				if err != nil || through < from {
					t.Errorf("from %d through %d, %v", from, through, err)
					return
				}
				from = through
			}
		})
		for i := range changes {
			fx.touch(i*i%calls+1, calls+i+1)
		}
		stop()
		wait.Wait()
		err := sink.ScanCalls(t.Context(), fx.db.Read, func(list []event.Call) error {
			for _, c := range list {
				if refs[c.No] != c.RefID {
					t.Errorf("call %d is known as of %q, the store says %q", c.No, refs[c.No], c.RefID)
				}
			}
			if len(list) != calls {
				t.Errorf("%d calls", len(list))
			}
			return nil
		})
		if err != nil || from != calls+changes {
			t.Errorf("through %d, %v", from, err)
		}
	})
}
