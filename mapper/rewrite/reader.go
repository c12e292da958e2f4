package rewrite

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// reader walks the binary format from at to end. Its first fault is final:
// from then on every read gives zero at once, so that callers check only
// before they loop or allocate.
type reader struct {
	code     []byte // the whole module: offsets are those of the file
	at, end  int
	section  string // being read, for people
	function int    // being read, -1 outside the code section
	name     string // of that function, when it is exported
	fault    *Refusal
}

// place names what is being read as the subject of a sentence.
func (r *reader) place() string {
	switch {
	case r.function < 0:
		return "the " + r.section
	case r.name != "":
		return fmt.Sprintf("function %d (%q)", r.function, r.name)
	}
	return fmt.Sprintf("function %d", r.function)
}

func (r *reader) ok() bool { return r.fault == nil }

func (r *reader) left() int { return r.end - r.at }

func (r *reader) byte() byte {
	if r.at >= r.end {
		r.malformed("it ends too early")
		return 0
	}
	b := r.code[r.at]
	r.at++
	return b
}

// skip passes over n bytes and gives a view of them, nil if there are fewer.
func (r *reader) skip(n int) []byte {
	if n < 0 || n > r.left() {
		r.malformed("it ends too early")
		return nil
	}
	r.at += n
	return r.code[r.at-n : r.at : r.at]
}

// u32 reads an unsigned LEB128 number: at most five bytes, no bit beyond the 32nd.
func (r *reader) u32() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		if shift == 28 && b > 0x0f {
			break
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	r.malformed("a number is longer than 32 bits")
	return 0
}

// signed reads a signed LEB128 number of 32, 33 or 64 bits. The unused bits of
// a last byte must repeat the sign.
func (r *reader) signed(bits int) int64 {
	var v int64
	for shift := 0; shift < bits; shift += 7 {
		b := r.byte()
		used := bits - shift
		if used < 7 {
			if spare := int8(b<<1) >> used; b >= 0x80 || spare != 0 && spare != -1 {
				break
			}
		}
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			if b&0x40 != 0 && shift+7 < 64 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
	r.malformed(fmt.Sprintf("a number is longer than %d bits", bits))
	return 0
}

// count reads the length of a vector whose items take itemBytes at least, so
// that a short file cannot announce a long loop or a large allocation.
func (r *reader) count(itemBytes int) int {
	n := r.u32()
	if r.ok() && int64(n)*int64(itemBytes) > int64(r.left()) {
		r.malformed(fmt.Sprintf("it announces %d items in %d bytes", n, r.left()))
		return 0
	}
	return int(n)
}

// text reads a name: UTF-8, at most limit bytes.
func (r *reader) text(limit int) string {
	n := r.count(1)
	if !r.atMost(RefuseNameBytes, n, limit, "bytes in one name", "use shorter names") {
		return ""
	}
	name := r.skip(n)
	if !utf8.Valid(name) {
		r.malformed("a name is not UTF-8")
	}
	return string(name)
}

func appendU32(dst []byte, v uint32) []byte { return binary.AppendUvarint(dst, uint64(v)) }

// appendSigned writes a signed LEB128 number in as few bytes as it takes.
func appendSigned(dst []byte, v int64) []byte {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(dst, b)
		}
		dst = append(dst, b|0x80)
	}
}
