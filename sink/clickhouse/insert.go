package clickhouse

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
)

// column is one column of the log tables: its name and type there, and its
// values, gathered from rows.
type column struct {
	name, typ string
	add       func(*row)
	values    func() any // a slice, valid until reset
	reset     func()
}

func columnOf[T any](name, typ string, get func(*row) T) column {
	var list []T
	return column{name: name, typ: typ,
		add:    func(r *row) { list = append(list, get(r)) },
		values: func() any { return list },
		reset:  func() { clear(list); list = list[:0] },
	}
}

// block is rows turned into columns. Its memory is kept from one insert to the
// next; one goroutine uses it at a time.
type block struct {
	columns []column
	types   []driver.ColumnNameAndType
	list    string // of the columns, for INSERT
	batch   uint64
	rows    int
}

func newBlock() *block {
	b := new(block)
	const word, text = "LowCardinality(String)", "String"
	const at, atOrNull, numberOrNull = "DateTime64(6, 'UTC')", "Nullable(DateTime64(6, 'UTC'))", "Nullable(Int64)"
	b.columns = []column{
		columnOf("source", word, func(r *row) string { return r.source }),
		columnOf("received_at", at, func(r *row) time.Time { return time.UnixMicro(r.receivedAt) }),
		columnOf("stream", "UInt32", func(r *row) uint32 { return uint32(r.stream) }),
		columnOf("seq", "UInt64", func(r *row) uint64 { return uint64(r.seq) }),
		columnOf("n", "UInt16", func(r *row) uint16 { return uint16(r.n) }),
		columnOf("change_seq", "UInt64", func(r *row) uint64 { return uint64(r.changeSeq) }),
		columnOf("revision", "UInt32", func(r *row) uint32 { return uint32(r.revision) }),
		columnOf("final", "UInt8", func(r *row) uint8 { return uint8(r.final) }),
		columnOf("status", word, func(r *row) string { return r.status }),
		columnOf("reason", word, func(r *row) string { return r.reason }),
		columnOf("detail", text, func(r *row) string { return r.detail }),
		columnOf("decided_at", at, func(r *row) time.Time { return time.UnixMicro(r.decidedAt) }),
		columnOf("kind", word, func(r *row) string { return r.kind }),
		columnOf("strategy", word, func(r *row) string { return r.strategy }),
		columnOf("candidates", "UInt32", func(r *row) uint32 { return uint32(r.candidates) }),
		columnOf("call_id", text, func(r *row) string { return r.callID }),
		columnOf("call_caller", text, func(r *row) string { return r.callCaller }),
		columnOf("call_ended_at", atOrNull, func(r *row) *time.Time { return timeOf(r.callEndedAt) }),
		columnOf("call_duration", numberOrNull, func(r *row) *int64 { return numberOf(&r.callDuration) }),
		columnOf("campaign", word, func(r *row) string { return r.campaign }),
		columnOf("publisher", word, func(r *row) string { return r.publisher }),
		columnOf("buyer", word, func(r *row) string { return r.buyer }),
		columnOf("caller", text, func(r *row) string { return r.caller }),
		columnOf("duration", numberOrNull, func(r *row) *int64 { return numberOf(&r.duration) }),
		columnOf("payout_micros", numberOrNull, func(r *row) *int64 { return numberOf(&r.payout) }),
		columnOf("currency", word, func(r *row) string { return r.currency }),
		columnOf("value_micros", numberOrNull, func(r *row) *int64 { return numberOf(&r.value) }),
		columnOf("delta_micros", "Int64", func(r *row) int64 { return r.delta }),
		columnOf("share_delta_micros", "Int64", func(r *row) int64 { return r.shareDelta }),
		columnOf("mapper", word, func(r *row) string { return r.mapper }),
		columnOf("fuel", "UInt64", func(r *row) uint64 { return uint64(r.fuel) }),
		columnOf("peer", word, func(r *row) string { return r.peer }),
		columnOf("us_queue", "UInt64", func(r *row) uint64 { return uint64(r.usQueue) }),
		columnOf("us_map", "UInt64", func(r *row) uint64 { return uint64(r.usMap) }),
		columnOf("us_match", "UInt64", func(r *row) uint64 { return uint64(r.usMatch) }),
		columnOf("us_total", "UInt64", func(r *row) uint64 { return uint64(r.usTotal) }),
		columnOf("report", text, func(r *row) string { return r.report }),
		columnOf("batch", "UInt64", func(*row) uint64 { return b.batch }),
	}
	names := make([]string, len(b.columns))
	for i, c := range b.columns {
		names[i] = c.name
		b.types = append(b.types, driver.ColumnNameAndType{Name: c.name, Type: c.typ})
	}
	b.list = strings.Join(names, ", ")
	return b
}

// fill replaces what the block holds by rows, which have to stay as they are
// until they are sent.
func (b *block) fill(rows []*row, batch uint64) {
	b.batch, b.rows = batch, len(rows)
	for _, c := range b.columns {
		c.reset()
		for _, r := range rows {
			c.add(r)
		}
	}
}

func numberOf(v *sql.NullInt64) *int64 {
	if !v.Valid {
		return nil
	}
	return &v.Int64
}

func timeOf(v sql.NullInt64) *time.Time {
	if !v.Valid {
		return nil
	}
	t := time.UnixMicro(v.Int64)
	return &t
}

// insert sends the block as one INSERT into one partition of table, all or
// nothing, and returns when it is stored. The server forgets a second one with
// the same token.
func (s *Server) insert(ctx context.Context, table, token string, b *block) error {
	doing := fmt.Sprintf("insert %d rows into %s", b.rows, table)
	ctx, cancel := context.WithTimeout(ctx, insertTimeMax)
	defer cancel()
	ctx = driver.Context(ctx, driver.WithColumnNamesAndTypes(b.types), driver.WithSettings(driver.Settings{
		"insert_deduplicate":         1,
		"insert_deduplication_token": token,
		"async_insert":               0,
	}))
	batch, err := s.conn.PrepareBatch(ctx, "INSERT INTO "+table+" ("+b.list+")")
	if err != nil {
		return s.fault(doing, err)
	}
	for i, c := range b.columns {
		if err := batch.Column(i).Append(c.values()); err != nil {
			// Ended in the usual way the server could take it for an empty insert.
			_ = batch.Abort()
			return s.fault(doing, err)
		}
	}
	return s.fault(doing, batch.Send())
}
