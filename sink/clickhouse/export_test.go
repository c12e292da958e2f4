package clickhouse

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Drop drops a table or view.
func Drop(ctx context.Context, s *Server, name string) error {
	return s.exec(ctx, "drop", "DROP TABLE "+name+" SYNC")
}

// DropDay loses a day of both log tables.
func DropDay(ctx context.Context, s *Server, day string) error {
	for _, table := range logTables {
		if err := s.exec(ctx, "drop", "ALTER TABLE "+table+" DROP PARTITION '"+day+"'"); err != nil {
			return err
		}
	}
	return nil
}

// The shipping lock, for tests of it alone.
type Lock = lock

func TryLock(ctx context.Context, pool *pgxpool.Pool) (*Lock, bool, error) { return tryLock(ctx, pool) }
func KeepLock(ctx context.Context, l *Lock) error                          { return l.keep(ctx) }
func ReleaseLock(l *Lock) error                                            { return l.release() }

// HoldsDigits tells whether a run of digits in text, with what people write
// between them, holds digits.
func HoldsDigits(text, digits string) bool {
	for at := 0; at < len(text); {
		from, to := phoneRun(text, at)
		if strings.Contains(digitsOf(text[from:to]), digits) {
			return true
		}
		at = to
	}
	return false
}

// Hide hides a caller in one row and gives its texts.
func Hide(caller, report, detail, callID string, hide func(string) string) []string {
	h := callerHider{hide: hide}
	r := row{caller: caller, report: report, detail: detail, callID: callID}
	h.row(&r)
	return []string{r.caller, r.report, r.detail, r.callID}
}

// Exec runs any statement.
func Exec(ctx context.Context, s *Server, text string) error { return s.exec(ctx, "test", text) }

// CheckQuery is what a Query does first.
func CheckQuery(text string) (string, error) { return checkQuery(text) }

// SentColumns are the columns of an insert, with their types.
func SentColumns() string {
	var list []string
	for _, c := range newBlock().columns {
		list = append(list, c.name+" "+c.typ)
	}
	return strings.Join(list, ", ")
}

// Term is a term for tests of the fence.
type Term struct{ *term }

var ErrReplaced = errReplaced

func BeginTerm(ctx context.Context, write *sql.DB) (Term, error) {
	t, err := beginTerm(ctx, write, "node", time.Now())
	return Term{t}, err
}

func (t Term) Plan(to int64) error      { return t.plan(context.Background(), to, time.Now()) }
func (t Term) Done() error              { return t.done(context.Background(), time.Now()) }
func (t Term) Check(read *sql.DB) error { return t.check(context.Background(), read) }
func (t Term) Range() string            { return fmt.Sprint(t.through, t.rangeTo, t.batch) }
