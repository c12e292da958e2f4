package sink

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"modernc.org/sqlite"
)

const queryResultPages = 16_384 // of 4 KiB each, of the answer as SQLite holds it

// querySQLite runs one statement on a connection that is then thrown away.
func (a *Activity) querySQLite(ctx context.Context, text string, rowsMax int) (*Table, error) {
	text, explains, err := checkQuery(text)
	if err != nil {
		return nil, err
	}
	conn, err := a.DB.Conn(ctx)
	if err != nil {
		return nil, err
	}
	q := &query{ctx: ctx, conn: conn, text: text, rowsMax: rowsMax}
	err = q.run(explains)
	// The connection has other limits and views now: nobody may use it again.
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
	if fault := (*sqlite.Error)(nil); errors.As(err, &fault) && ctx.Err() == nil {
		return nil, invalid("query: %s", fault.Error())
	}
	return q.table, err
}

// query is one statement under way on a connection of its own.
type query struct {
	ctx     context.Context
	conn    *sql.Conn
	text    string
	rowsMax int
	table   *Table
}

// run gathers the answer in a temporary table and reads that: the driver
// interrupts only a statement's first step, so the work has to be one step.
func (q *query) run(explains bool) error {
	if err := q.prepare(); err != nil {
		return err
	}
	if explains {
		if err := q.exec("PRAGMA query_only = 1"); err != nil {
			return err
		}
		return q.read(q.text, nil)
	}
	columns, err := q.columns()
	if err != nil {
		return err
	}
	if err := q.exec(fmt.Sprintf("CREATE TEMP TABLE query_result AS SELECT * FROM (\n%s\n) LIMIT %d", q.text, q.rowsMax+1)); err != nil {
		return err
	}
	return q.read("SELECT * FROM temp.query_result ORDER BY rowid", columns)
}

// prepare narrows what the connection may do: views stand before the tables
// that hold secrets, and nothing can be attached.
func (q *query) prepare() error {
	for id, most := range map[int]int{limitLength: queryValueBytes, limitAttached: 0, limitWorkers: 0} {
		if _, err := sqlite.Limit(q.conn, id, most); err != nil {
			return err
		}
	}
	// The store's read handle opens the file itself for reading only; this
	// switch would forbid temporary tables too.
	setup := []string{"PRAGMA query_only = 0", fmt.Sprintf("PRAGMA temp.max_page_count = %d", queryResultPages)}
	rows, err := q.conn.QueryContext(q.ctx, `SELECT name FROM main.sqlite_schema WHERE type = 'table'`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		columns, known := visible[name]
		quoted := `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		switch {
		case strings.HasPrefix(name, "sqlite_"):
		case !known:
			setup = append(setup, "CREATE TEMP VIEW "+quoted+" AS SELECT 'not for queries' AS hidden WHERE 0")
		case columns != "":
			setup = append(setup, "CREATE TEMP VIEW "+quoted+" AS SELECT "+columns+" FROM main."+quoted)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	return q.exec(setup...)
}

// Numbers of SQLite's run-time limits.
const (
	limitLength   = 0
	limitAttached = 7
	limitWorkers  = 11
)

func (q *query) exec(statements ...string) error {
	for _, s := range statements {
		if _, err := q.conn.ExecContext(q.ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// columns compiles the statement by itself, so that errors speak of the text
// as it was typed, and gives the names that its columns have there.
func (q *query) columns() (names []string, err error) {
	err = q.conn.Raw(func(c any) error {
		info, err := c.(interface {
			ColumnInfo(string) ([]sqlite.ColumnInfo, error)
		}).ColumnInfo(q.text)
		for _, i := range info {
			names = append(names, i.Name)
		}
		return err
	})
	return names, err
}

// read fills the table; names, if given, stand for the statement's own.
func (q *query) read(text string, names []string) error {
	rows, err := q.conn.QueryContext(q.ctx, text)
	if err != nil {
		return err
	}
	defer rows.Close()
	if names == nil {
		if names, err = rows.Columns(); err != nil {
			return err
		}
	}
	q.table = &Table{Columns: names, Rows: [][]any{}}
	for rows.Next() {
		row := make([]any, len(names))
		into := make([]any, len(names))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i, v := range row {
			row[i] = plainValue(v)
		}
		if !q.table.add(row, q.rowsMax) {
			return nil
		}
	}
	return rows.Err()
}

// plainValue makes a value one that JSON can hold.
func plainValue(v any) any {
	switch v := v.(type) {
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return fmt.Sprint(v)
		}
	case bool, time.Time: // the driver's reading of a declared type
		return fmt.Sprint(v)
	}
	return v
}
