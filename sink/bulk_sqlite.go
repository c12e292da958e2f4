package sink

import (
	"fmt"
	"strings"
)

// insert writes many rows of one shape by few statements: one of bulkRows rows
// as often as it fits, then single ones. A statement costs more to start than
// a row costs to write.
type insert struct {
	many, one string
	columns   int
}

const bulkRows = 50

// newInsert shapes INSERT INTO table (columns) VALUES … suffix.
func newInsert(table, columns, suffix string) insert {
	n := strings.Count(columns, ",") + 1
	row := "(" + strings.Repeat("?,", n-1) + "?)"
	head := "INSERT INTO " + table + " (" + columns + ") VALUES "
	return insert{columns: n,
		one:  head + row + " " + suffix,
		many: head + strings.Repeat(row+",", bulkRows-1) + row + " " + suffix}
}

// run writes rows; args appends the arguments of row i.
func (s insert) run(t *sqliteTx, rows int, args func(dst []any, i int) []any) error {
	buf := t.args[:0]
	for i := 0; i < rows; {
		n, q := 1, s.one
		if rows-i >= bulkRows {
			n, q = bulkRows, s.many
		}
		buf = buf[:0]
		for ; n > 0; n, i = n-1, i+1 {
			buf = args(buf, i)
		}
		if len(buf)%s.columns != 0 {
			panic(fmt.Sprintf("bug: %d arguments for rows of %d columns: %s", len(buf), s.columns, s.one))
		}
		if err := t.exec(q, buf...); err != nil {
			return err
		}
	}
	t.args = buf
	return nil
}

// exec runs one statement that gives no rows.
func (t *sqliteTx) exec(q string, args ...any) error {
	if _, err := t.stmt(q).ExecContext(t.ctx, args...); err != nil {
		head, _, _ := strings.Cut(q, " VALUES ")
		return fmt.Errorf("ledger write: %s: %w", head, err)
	}
	return nil
}
