package sink

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tallyhook/tallyhook/event"
)

// copyRows builds the input of COPY … FROM STDIN BINARY:
//
//	"PGCOPY\n\377\r\n\0"  flags u32  extension u32
//	row:  columns i16, then per column: length i32 (-1 is NULL), bytes
//	end:  -1 i16
//
// in network byte order. It is how Postgres takes many rows at the least cost
// on both sides; the columns here are bigint, text and bytea only.
// Format: PostgreSQL manual, COPY, "Binary Format".
type copyRows struct {
	b    []byte
	rows int
}

var copyHead = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")

func (c *copyRows) reset() { c.b, c.rows = append(c.b[:0], copyHead...), 0 }

func (c *copyRows) row(columns int) {
	c.b = binary.BigEndian.AppendUint16(c.b, uint16(columns))
	c.rows++
}

func (c *copyRows) null() { c.b = append(c.b, 0xff, 0xff, 0xff, 0xff) }

func (c *copyRows) int(v int64) {
	c.b = binary.BigEndian.AppendUint64(append(c.b, 0, 0, 0, 8), uint64(v))
}

func (c *copyRows) bytes(p []byte) {
	c.b = append(binary.BigEndian.AppendUint32(c.b, uint32(len(p))), p...)
}

// text appends a text; what Postgres does not take as one is replaced, so that
// no sender's byte can keep a batch from being written.
func (c *copyRows) text(s string) {
	s = storable(s)
	c.b = append(binary.BigEndian.AppendUint32(c.b, uint32(len(s))), s...)
}

// some appends NULL for what is absent.
func (c *copyRows) some(s string) {
	if s == "" {
		c.null()
		return
	}
	c.text(s)
}

func (c *copyRows) someInt(v int64, ok bool) {
	if !ok {
		c.null()
		return
	}
	c.int(v)
}

// textBytes appends a text that is NULL when it is nil.
func (c *copyRows) textBytes(p []byte) {
	if p == nil {
		c.null()
		return
	}
	c.text(event.View(p))
}

// storable gives s as Postgres can keep it: UTF-8 without NUL.
func storable(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// send copies the rows into a table, given with its columns.
func (c *copyRows) send(ctx context.Context, conn *pgconn.PgConn, into string) error {
	if c.rows == 0 {
		return nil
	}
	c.b = append(c.b, 0xff, 0xff)
	tag, err := conn.CopyFrom(ctx, bytes.NewReader(c.b), "COPY "+into+" FROM STDIN (FORMAT BINARY)")
	if err != nil {
		table, _, _ := strings.Cut(into, " ")
		return fmt.Errorf("ledger write: %d rows into %s: %w", c.rows, table, err)
	}
	if tag.RowsAffected() != int64(c.rows) {
		return fmt.Errorf("ledger write: COPY %s took %d of %d rows", into, tag.RowsAffected(), c.rows)
	}
	return nil
}
