package event

import (
	"fmt"
	"strconv"
	"strings"
)

// ID names one event for ever: the stream that a journal obtained from the
// primary store, the record's sequence in that journal, and the number of the
// report inside the record (0 for the first or only one).
//
// As text: "STREAM-SEQ" when N is 0, else "STREAM-SEQ.N", for example "3-1842"
// and "3-1842.7". The zero ID is no event; its text is "".
type ID struct {
	Stream uint32
	Seq    uint64
	N      uint16
}

// IsZero reports whether id names no event.
func (id ID) IsZero() bool { return id == ID{} }

// Less orders events of equal time: by stream, then sequence, then number.
func (id ID) Less(o ID) bool {
	if id.Stream != o.Stream {
		return id.Stream < o.Stream
	}
	if id.Seq != o.Seq {
		return id.Seq < o.Seq
	}
	return id.N < o.N
}

// Append appends the text of id to dst.
func (id ID) Append(dst []byte) []byte {
	if id.IsZero() {
		return dst
	}
	dst = strconv.AppendUint(dst, uint64(id.Stream), 10)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, id.Seq, 10)
	if id.N > 0 {
		dst = append(dst, '.')
		dst = strconv.AppendUint(dst, uint64(id.N), 10)
	}
	return dst
}

func (id ID) String() string { return string(id.Append(nil)) }

// ParseID reads the text form of an ID.
func ParseID(s string) (ID, error) {
	bad := fmt.Errorf("event id %q: want STREAM-SEQ or STREAM-SEQ.N, for example 1-42", s)
	stream, rest, ok := strings.Cut(s, "-")
	if !ok {
		return ID{}, bad
	}
	seq, n, hasN := strings.Cut(rest, ".")
	a, err1 := strconv.ParseUint(stream, 10, 32)
	b, err2 := strconv.ParseUint(seq, 10, 63)
	if err1 != nil || err2 != nil || a == 0 {
		return ID{}, bad
	}
	id := ID{Stream: uint32(a), Seq: b}
	if hasN {
		c, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return ID{}, bad
		}
		id.N = uint16(c)
	}
	return id, nil
}

// Rank is the order in which events claim a call: by the time they were
// received, then by stream, sequence and number. The greater rank wins.
type Rank struct {
	At int64 // microseconds since the Unix epoch
	ID ID
}

// Less reports whether r is older than o.
func (r Rank) Less(o Rank) bool {
	if r.At != o.At {
		return r.At < o.At
	}
	return r.ID.Less(o.ID)
}
