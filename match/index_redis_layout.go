package match

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// Sizes of tables, as powers of two. A size is four times the one before, so
// buckets hold between a quarter and the whole of bucketNamesMost on average,
// far from the 128 beyond which Redis gives up the compact form.
const (
	tableBitsMin    = 14 // 16,384 buckets, 2 MB when each holds a name
	tableBitsMax    = 24
	tableBitsStep   = 2
	tablesMost      = 8
	bucketNamesMost = 24
)

// bitsFor is the size of a table for so many names.
func bitsFor(names float64) int {
	per := names / bucketNamesMost
	if per <= 1<<tableBitsMin {
		return tableBitsMin
	}
	n := bits.Len64(uint64(per))
	return min(n+n%2, tableBitsMax)
}

// redisTable is one table of the index.
type redisTable struct {
	id           string // as in the state
	raw          [4]byte
	bits         int
	opened, ends int64 // seconds since the Unix epoch
}

// bucket is where a spread name belongs.
func (t *redisTable) bucket(h uint64) uint32 { return uint32(h >> (64 - t.bits)) }

// redisLayout is where names lie; it stays the same for days.
type redisLayout struct {
	gen    string
	seed   uint64
	text   string // tables as in the state
	tables []redisTable
}

func (l *redisLayout) same(o *redisLayout) bool {
	return o != nil && l.gen == o.gen && l.text == o.text
}

// live is the tables that may hold calls which are kept: the newest, and those
// that took names in until later than gone, in seconds.
func (l *redisLayout) live(gone int64) []redisTable {
	n := 1
	for n < len(l.tables) && l.tables[n-1].opened > gone {
		n++
	}
	return l.tables[:n]
}

// redisState is what Find reads of the state.
type redisState struct {
	redisLayout
	through int64
	whole   int64 // microseconds; 0 while the index is incomplete
}

// complete says that all calls since the horizon are there.
func (s *redisState) complete(horizon int64) bool {
	return s.whole != 0 && s.whole < (horizon+1)*sliceMicros
}

var stateFields = []string{"gen", "tables", "through", "whole"}

// parseState reads the values of stateFields; nil when there is no index.
func parseState(values []any) (*redisState, error) {
	var text [4]string
	for i := range min(len(values), len(text)) {
		text[i], _ = values[i].(string) // nil is absent
	}
	if text[0] == "" || text[1] == "" {
		return nil, nil
	}
	bad := func(field int) (*redisState, error) {
		return nil, fmt.Errorf("state of the call index on Redis: %s %.40q cannot be read; delete the keys under its prefix, it is then rebuilt",
			stateFields[field], text[field])
	}
	s := &redisState{redisLayout: redisLayout{gen: text[0], text: text[1]}}
	var err error
	if s.seed, err = strconv.ParseUint(s.gen, 16, 64); err != nil {
		return bad(0)
	}
	for t := range strings.FieldsSeq(s.text) {
		table, ok := parseTable(t)
		if !ok {
			return bad(1)
		}
		s.tables = append(s.tables, table)
	}
	if s.through, err = strconv.ParseInt(text[2], 10, 64); err != nil {
		return bad(2)
	}
	if text[3] != "" {
		if s.whole, err = strconv.ParseInt(text[3], 10, 64); err != nil {
			return bad(3)
		}
	}
	return s, nil
}

func parseTable(text string) (t redisTable, ok bool) {
	part := strings.Split(text, ":")
	if len(part) != 4 || len(part[0]) != 2*len(t.raw) {
		return t, false
	}
	t.id = part[0]
	_, err := hex.Decode(t.raw[:], []byte(t.id))
	if err != nil {
		return t, false
	}
	if t.bits, err = strconv.Atoi(part[1]); err != nil || t.bits < tableBitsMin || t.bits > tableBitsMax {
		return t, false
	}
	if t.opened, err = strconv.ParseInt(part[2], 10, 64); err != nil {
		return t, false
	}
	t.ends, err = strconv.ParseInt(part[3], 10, 64)
	return t, err == nil
}

// appendBucket appends the key of a bucket.
func (x *RedisIndex) appendBucket(dst []byte, t *redisTable, bucket uint32) []byte {
	dst = append(append(dst, x.prefix...), 'n')
	dst = append(dst, t.raw[:]...)
	return append(dst, byte(bucket>>16), byte(bucket>>8), byte(bucket))
}

// appendName appends the part of a spread name that stands in members.
func appendName(dst []byte, h uint64) []byte {
	return append(dst, byte(h>>40), byte(h>>32), byte(h>>24), byte(h>>16), byte(h>>8), byte(h))
}

func appendMember(dst []byte, h uint64, v packed) []byte {
	slice, no := ^uint64(v.slice()), ^uint64(v.no())
	dst = append(appendName(dst, h), byte(slice>>16), byte(slice>>8), byte(slice), byte(no>>32))
	return binary.BigEndian.AppendUint32(dst, uint32(no))
}

// splitMember gives call and slice of a member; false for what is none.
func splitMember(m string) (no, slice int64, ok bool) {
	if len(m) != memberBytes {
		return 0, 0, false
	}
	var u uint64
	for i := nameSize; i < memberBytes; i++ {
		u = u<<8 | uint64(m[i])
	}
	u = ^u
	no, slice = int64(u&callNoMax), int64(u>>40&(1<<24-1))
	return no, slice, no > 0
}

// callName is one name of one call on its way into the index.
type callName struct {
	key event.CallKey
	v   packed
}

// appendNames appends the names of those calls that are kept at all. A call
// without a start, or with one in the future, counts from today's slice.
func (x *RedisIndex) appendNames(dst []callName, calls []event.Call) []callName {
	oldest, today := x.horizon(expirySlack), x.now().UnixMicro()/sliceMicros
	var room [8]event.CallKey
	for i := range calls {
		c := &calls[i]
		if c.No <= 0 || c.No > callNoMax {
			panic(fmt.Sprintf("bug: call number %d in the call index: want 1 to %d", c.No, callNoMax))
		}
		slice := c.StartedAt / sliceMicros
		if c.StartedAt == 0 || slice > today {
			slice = today
		}
		if slice < oldest {
			continue
		}
		for _, key := range c.AppendKeys(room[:0]) {
			dst = append(dst, callName{key, packName(c.No, slice)})
		}
	}
	return dst
}
