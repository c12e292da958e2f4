package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/tallyhook/tallyhook/sink"
)

const queryPath = "/api/v1/query"

type queryCmd struct {
	SQL   string `arg:"" name:"sql" help:"One statement that only reads; - reads it from standard input."`
	Limit int    `default:"1000" help:"Rows at most, up to 10000."`
	JSON  bool   `help:"Print each row as a JSON object on a line of its own."`
}

// Help names what a statement can ask.
func (queryCmd) Help() string {
	return `Ask the view activity (a row per event, its newest state) or the tables verdict (every state of an event), call, call_state (what is booked on a call), posting, transfer, account, balance, parked, source, campaign, publisher, buyer, rule and audit. Columns that end in _micros, such as payout_micros, are millionths of the currency's major unit, times are microseconds since 1970 or RFC 3339 text.

Begin with: tallyhook query "SELECT * FROM activity LIMIT 5"`
}

// queryTable is the answer: columns may share a name, so rows are lists.
type queryTable struct {
	Columns   []string            `json:"columns"`
	Rows      [][]json.RawMessage `json:"rows"`
	Truncated bool                `json:"truncated"`
}

func (q queryCmd) Run(a *app) error {
	statement := q.SQL
	if statement == "-" {
		_, text, err := readSmall("-", sink.QueryTextBytes)
		if err != nil {
			return err
		}
		statement = string(text)
	}
	return a.withClient(func(c *client) error {
		var t queryTable
		if err := c.send(a.ctx, http.MethodPost, queryPath, map[string]any{"sql": statement, "limit": q.Limit}, &t); err != nil {
			return err
		}
		if err := a.printQuery(&t, q.JSON); err != nil {
			return err
		}
		switch {
		case t.Truncated:
			fmt.Fprintf(a.errOut, "there is more than these %d rows: narrow the statement, or raise --limit\n", len(t.Rows))
		case len(t.Rows) == 0:
			fmt.Fprintln(a.errOut, "no rows")
		}
		return nil
	})
}

func (a *app) printQuery(t *queryTable, asJSON bool) error {
	if asJSON {
		rows := make([]json.RawMessage, len(t.Rows))
		for i, values := range t.Rows {
			rows[i] = objectOf(t.Columns, values)
		}
		return a.printRows(rows)
	}
	cols := make([]column, len(t.Columns))
	for i, name := range t.Columns {
		cols[i] = column{head: printable(name), path: fmt.Sprint(i), right: numeric(t.Rows, i)}
	}
	rows := make([]map[string]any, len(t.Rows))
	for i, values := range t.Rows {
		rows[i] = make(map[string]any, len(values))
		for k, raw := range values {
			var v any
			if err := decodeNumbers(raw, &v); err != nil {
				return err
			}
			rows[i][fmt.Sprint(k)] = v
		}
	}
	return newTable(a.out, cols).add(rows)
}

// objectOf writes a row as an object in the order of the columns.
func objectOf(names []string, values []json.RawMessage) json.RawMessage {
	b := []byte{'{'}
	for i, v := range values {
		name, err := json.Marshal(names[i])
		if err != nil {
			panic("bug: a column's name does not encode: " + err.Error())
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, name...), ':'), v...)
	}
	return append(b, '}')
}

// numeric tells whether a column holds numbers and nothing else.
func numeric(rows [][]json.RawMessage, i int) bool {
	some := false
	for _, values := range rows {
		switch c := values[i][0]; {
		case c == '-' || (c >= '0' && c <= '9'):
			some = true
		case c != 'n': // null
			return false
		}
	}
	return some
}
