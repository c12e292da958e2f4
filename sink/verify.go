package sink

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"math/bits"

	"github.com/tallyhook/tallyhook/event"
)

// Findings is what Verify found, one Check per invariant in the order of
// their ids.
type Findings struct {
	Checks []Check `json:"checks"`
}

// Check is one invariant. Each ends at its own first fault.
type Check struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	OK      bool   `json:"ok"`
	Checked int64  `json:"checked"` // rows looked at
	Fault   string `json:"fault"`   // names the offending row, "" when OK
}

// First gives the first check that failed, nil when all hold.
func (f *Findings) First() *Check {
	for i := range f.Checks {
		if !f.Checks[i].OK {
			return &f.Checks[i]
		}
	}
	return nil
}

// invariants are the promises of the ledger, in the order in which they are
// checked: a later one may lean on an earlier one.
var invariants = []struct {
	id, title string
	check     func(*verifier) (fault string, err error)
}{
	{"I1", "the lines of every posting move what its deltas say, and a call's money stands on the accounts that its state names", (*verifier).lines},
	{"I2", "debits equal credits in every currency", (*verifier).currencies},
	{"I3", "every balance is the sum of its transfers", (*verifier).balances},
	{"I4", "every call's value and share are the sums of its postings, and the event that booked it said so", (*verifier).calls},
	{"I5", "every share is what the payout rule makes of the value", (*verifier).shares},
	{"I6", "every event has one outcome, every posting one cause", (*verifier).outcomes},
	{"I7", "changes and postings are numbered without a gap and follow the journal", (*verifier).order},
	{"I9", "what is parked or held waits for a reason and not for ever, and what became of a call is told once", (*verifier).waiting},
}

// Verify checks every invariant of the ledger in db on one snapshot: a node
// may go on posting meanwhile. Memory is bounded by the number of accounts,
// rules and streams. progress, when not nil, hears from time to time how many
// rows of about how many a step has looked at. The error is the database's; a
// broken invariant is a finding.
func Verify(ctx context.Context, db *sql.DB, progress func(step string, done, total int64)) (*Findings, error) {
	f := new(Findings)
	err := readOnly(ctx, db, func(tx *sql.Tx) error {
		if onPostgres(db) {
			if _, err := tx.ExecContext(ctx, verifySettings); err != nil {
				return err
			}
		}
		for _, inv := range invariants {
			v := &verifier{ctx: ctx, tx: tx, step: inv.id, progress: progress}
			fault, err := inv.check(v)
			if err != nil {
				return fmt.Errorf("%s: %w", inv.id, err)
			}
			v.report()
			f.Checks = append(f.Checks, Check{ID: inv.id, Title: inv.title, OK: fault == "", Checked: v.checked, Fault: fault})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("verify ledger: %w", err)
	}
	return f, nil
}

// verifySettings are for this transaction alone: a walk through a whole table
// takes as long as it takes, and sorts what it reads.
const verifySettings = `SELECT set_config('statement_timeout', '0', true), set_config('work_mem', '64MB', true)`

// verifier is one check under way.
type verifier struct {
	ctx      context.Context
	tx       *sql.Tx
	step     string
	progress func(step string, done, total int64)

	checked, total int64
}

// progressRows is how many rows lie between two reports of progress.
const progressRows = 8192

// expect adds the rows of a table to the total that progress is told.
func (v *verifier) expect(table string) error {
	if v.progress == nil {
		return nil
	}
	var n int64
	if err := v.tx.QueryRowContext(v.ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		return err
	}
	v.total += n
	return nil
}

func (v *verifier) report() {
	if v.progress != nil {
		v.progress(v.step, v.checked, max(v.checked, v.total))
	}
}

// each calls look for every row of a query until it names a fault.
func (v *verifier) each(query string, look func(scan func(...any) error) (fault string, err error), args ...any) (string, error) {
	rows, err := v.tx.QueryContext(v.ctx, query, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		if v.checked++; v.checked%progressRows == 0 {
			v.report()
		}
		if fault, err := look(rows.Scan); err != nil || fault != "" {
			return fault, err
		}
	}
	return "", rows.Err()
}

// none runs a query that asks for faults only: its first row, if there is one,
// is a fault in words. What it looks at is not counted as checked.
func (v *verifier) none(query string, args ...any) (fault string, err error) {
	err = v.tx.QueryRowContext(v.ctx, query, args...).Scan(&fault)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return fault, err
}

// firstOf runs checks in order and stops at the first fault or error.
func firstOf(checks ...func() (string, error)) (string, error) {
	for _, check := range checks {
		if fault, err := check(); err != nil || fault != "" {
			return fault, err
		}
	}
	return "", nil
}

// pruned reports whether the beginning of the verdict log was dropped by
// retention: then a verdict that is not there proves nothing.
func (v *verifier) pruned() (bool, error) {
	var first int64
	err := v.tx.QueryRowContext(v.ctx, `SELECT coalesce(min(change_seq), 0) FROM verdict`).Scan(&first)
	return first > 1, err
}

// wide is a signed 128-bit sum: it holds more amounts than a table can.
type wide struct{ hi, lo uint64 }

func (w *wide) add(n int64) {
	var carry uint64
	w.lo, carry = bits.Add64(w.lo, uint64(n), 0)
	w.hi, _ = bits.Add64(w.hi, uint64(n>>63), carry)
}

// String renders w as money.
func (w wide) String() string {
	b := new(big.Int).SetInt64(int64(w.hi))
	b.Lsh(b, 64).Add(b, new(big.Int).SetUint64(w.lo))
	if b.IsInt64() {
		return event.Amount(b.Int64()).String()
	}
	return b.String() + " millionths"
}
