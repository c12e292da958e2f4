package abi

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The input, little endian, at the start of the module's buffer. Offsets count
// from there. A later version of the header may be longer: pairs begin at the
// header's size.
//
//	 0  u32  magic "THM1"          16  u32  body offset
//	 4  u16  flags                 20  u32  body length
//	 6  u16  pairs                 24  u16  header size, 32
//	 8  u64  received, ms since    26  u16  0
//	         1970                  28  u32  total length
//	32  pairs, each:  kind u8 │ 0 u8 │ name length u16 │ value length u16 │ name │ value
//	..  body, raw, to the end
const (
	atFlags      = 4
	atPairs      = 6
	atReceived   = 8
	atBody       = 16
	atBodyLength = 20
	atHeaderSize = 24
	atZero       = 26
	atTotal      = 28
)

// Encoder writes one input straight into a module's buffer. It is a value of a
// few words; it allocates nothing and keeps the buffer, which stays the
// module's, until End.
type Encoder struct {
	buf   []byte
	at    int
	pairs int
}

// Begin starts an input in buf, which may be of any length: what does not fit
// is told by Pair and End. receivedMillis counts from the Unix epoch.
func Begin(buf []byte, flags uint16, receivedMillis int64) Encoder {
	if len(buf) < HeaderBytes {
		return Encoder{}
	}
	binary.LittleEndian.PutUint32(buf, Magic)
	binary.LittleEndian.PutUint16(buf[atFlags:], flags)
	binary.LittleEndian.PutUint64(buf[atReceived:], uint64(receivedMillis))
	binary.LittleEndian.PutUint32(buf[atHeaderSize:], HeaderBytes) // and the zero after it
	return Encoder{buf: buf, at: HeaderBytes}
}

// Pair adds one pair. It reports false when the pair does not fit, be it into
// the buffer or into its lengths; nothing was written then, and a shorter one
// may still fit.
func (e *Encoder) Pair(k Kind, name, value string) bool {
	if len(name) > TextBytesMax || len(value) > TextBytesMax || e.pairs == 65535 {
		return false
	}
	n := PairBytes + len(name) + len(value)
	if len(e.buf)-e.at < n {
		return false
	}
	p := e.buf[e.at : e.at+n]
	p[0], p[1] = byte(k), 0
	binary.LittleEndian.PutUint16(p[2:], uint16(len(name)))
	binary.LittleEndian.PutUint16(p[4:], uint16(len(value)))
	copy(p[PairBytes:], name)
	copy(p[PairBytes+len(name):], value)
	e.at += n
	e.pairs++
	return true
}

// End adds the raw body, completes the header and returns the length of the
// whole input. It is not ok when the body does not fit; End may then be tried
// with a shorter one.
func (e *Encoder) End(body []byte) (n int, ok bool) {
	if len(e.buf) < HeaderBytes || len(e.buf)-e.at < len(body) {
		return 0, false
	}
	n = e.at + copy(e.buf[e.at:], body)
	binary.LittleEndian.PutUint16(e.buf[atPairs:], uint16(e.pairs))
	binary.LittleEndian.PutUint32(e.buf[atBody:], uint32(e.at))
	binary.LittleEndian.PutUint32(e.buf[atBodyLength:], uint32(len(body)))
	binary.LittleEndian.PutUint32(e.buf[atTotal:], uint32(n))
	return n, true
}

// Input is a decoded input. Its bytes are views into what Pairs was given.
type Input struct {
	Flags          uint16
	ReceivedMillis int64
	Pairs          []Pair
	Body           []byte // empty when the request had none
}

// Pair is one pair of an Input.
type Pair struct {
	Kind        Kind
	Name, Value []byte
}

var errInputShort = errors.New("decode mapper input: cut short")

// Pairs decodes a whole input, for tests and tools; a mapper does the same in
// its own language. It takes nothing that an Encoder would not write, except a
// longer header.
func Pairs(input []byte) (Input, error) {
	if len(input) < HeaderBytes {
		return Input{}, errInputShort
	}
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(input[at:])) }
	u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(input[at:])) }
	if m := u32(0); m != Magic {
		return Input{}, fmt.Errorf("decode mapper input: magic %#08x, want %#08x", m, Magic)
	}
	at, body := u16(atHeaderSize), u32(atBody)
	switch {
	case u32(atTotal) != int64(len(input)):
		return Input{}, fmt.Errorf("decode mapper input: total length %d, but there are %d bytes", u32(atTotal), len(input))
	case body+u32(atBodyLength) != int64(len(input)):
		return Input{}, fmt.Errorf("decode mapper input: body of %d bytes at %d does not end the %d bytes", u32(atBodyLength), body, len(input))
	case at < HeaderBytes || int64(at) > body:
		return Input{}, fmt.Errorf("decode mapper input: header size %d", at)
	case u16(atZero) != 0:
		return Input{}, fmt.Errorf("decode mapper input: %d where 0 has to stand", u16(atZero))
	}
	in := Input{
		Flags:          uint16(u16(atFlags)),
		ReceivedMillis: int64(binary.LittleEndian.Uint64(input[atReceived:])),
		Body:           input[body:],
	}
	rest := input[at:body]
	for range u16(atPairs) {
		p, after, err := onePair(rest)
		if err != nil {
			return Input{}, err
		}
		in.Pairs, rest = append(in.Pairs, p), after
	}
	if len(rest) != 0 {
		return Input{}, fmt.Errorf("decode mapper input: %d bytes between the pairs and the body", len(rest))
	}
	return in, nil
}

func onePair(src []byte) (p Pair, rest []byte, err error) {
	if len(src) < PairBytes {
		return p, nil, errInputShort
	}
	name, value := int(binary.LittleEndian.Uint16(src[2:])), int(binary.LittleEndian.Uint16(src[4:]))
	if len(src) < PairBytes+name+value {
		return p, nil, errInputShort
	}
	if src[0] > byte(KindJSON) || src[1] != 0 {
		return p, nil, fmt.Errorf("decode mapper input: pair of kind %d, %d", src[0], src[1])
	}
	src, p.Kind = src[PairBytes:], Kind(src[0])
	p.Name, p.Value = src[:name], src[name:name+value]
	return p, src[name+value:], nil
}
