package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Limits of one Query.
const (
	QueryRowsMax   = 10_000
	QueryTextBytes = 64 << 10 // of the statement
	QueryBytesMax  = 16 << 20 // of the answer
	QueryTimeMax   = 10 * time.Second

	queryValueBytes = 4 << 20 // of one value on SQLite, also on the way; of one row on Postgres
)

// Table is what a Query gives. Values are nil, bool, int64, float64,
// json.Number for decimals, string, or []byte for blobs; a number that JSON
// does not know ("Infinity") is a string.
type Table struct {
	Columns   []string `json:"columns"`
	Rows      [][]any  `json:"rows"`
	Truncated bool     `json:"truncated"` // there was more than the limits allow

	bytes int // of texts and blobs so far
}

// add takes a row in; false says that it does not fit, and the answer ends.
func (t *Table) add(row []any, rowsMax int) bool {
	for _, v := range row {
		switch v := v.(type) {
		case string:
			t.bytes += len(v)
		case json.Number:
			t.bytes += len(v)
		case []byte:
			t.bytes += len(v)
		}
	}
	if len(t.Rows) == rowsMax || t.bytes > QueryBytesMax {
		t.Truncated = true
		return false
	}
	t.Rows = append(t.Rows, row)
	return true
}

// visible are the tables that a Query may read, "" all their columns, else
// those named: keys, tokens and secrets are left out. Every other table, also
// one that a later build adds, gives nothing.
var visible = map[string]string{
	"call":       "no, call_id, ref_id, network_ids, caller, started_at, ended_at, duration, campaign, publisher, buyer, qualified, change_seq, target, convert_by, converts",
	"source":     "id, spec, deleted, created_at, updated_at",
	"access_key": "id, name, role, created_at",
	"stream":     "", "call_key": "", "call_state": "", "account": "", "balance": "", "posting": "", "transfer": "", "verdict": "",
	"parked": "", "parked_key": "", "unmapped": "", "rule": "",
	"component": "", "day_total": "", "held": "", "ruling": "", "conversion_group": "", "conversion": "", "campaign": "", "publisher": "", "buyer": "", "audit": "", "goose_db_version": "",
}

// Query runs one statement that only reads: SELECT, WITH, VALUES, or EXPLAIN of
// one. It sees the view activity and the tables of the ledger, without secrets,
// and gives at most rowsMax rows (QueryRowsMax at most). A statement that is
// refused, wrong or too slow is an ErrInvalid with the database's own words.
func (a *Activity) Query(ctx context.Context, text string, rowsMax int) (*Table, error) {
	if rowsMax < 1 || rowsMax > QueryRowsMax {
		return nil, invalid("query for %d rows: want 1 to %d", rowsMax, QueryRowsMax)
	}
	limited, cancel := context.WithTimeout(ctx, QueryTimeMax)
	defer cancel()
	ask := a.querySQLite
	if onPostgres(a.DB) {
		ask = a.queryPostgres
	}
	table, err := ask(limited, text, rowsMax)
	switch {
	case err == nil:
		return table, nil
	case errors.Is(err, ErrInvalid):
		return nil, err
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		return nil, tooSlow()
	}
	return nil, fmt.Errorf("query: %w", err)
}

func tooSlow() error {
	return invalid("query: it took longer than %s: narrow it, for example by change_seq", QueryTimeMax)
}
