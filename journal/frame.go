package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Sizes of the format, see the head of the package.
const (
	frameBytes  = 28       // what stands before a record's payload
	pageBytes   = 4096     // the header and each mark have a page of their own, so that no torn page takes two
	dataStart   = 3 * 4096 // where the first frame stands
	headerBytes = 60
	markBytes   = 28
	magic       = "TALLYJNL"
	version     = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is one record as it stands in a segment. payload is a view.
type frame struct {
	seq     uint64
	at      int64  // received_at
	back    uint32 // bytes from the start of its group to this frame
	payload []byte
}

// appendFrame appends a frame whose seq, back and crc are filled in by seal.
func appendFrame(dst []byte, at int64, payload []byte) []byte {
	var h [frameBytes]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(h[16:], uint64(at))
	dst = append(dst, h[:]...)
	return append(dst, payload...)
}

// seal completes a group of appended frames in place: sequences from first
// on, distances to the start of the group, checksums. It returns the number of
// frames and the received_at of the last one.
func seal(group []byte, seed uint32, first uint64) (n int, at int64) {
	for off := 0; off < len(group); n++ {
		p := group[off:]
		end := frameBytes + int(binary.LittleEndian.Uint32(p))
		binary.LittleEndian.PutUint64(p[8:], first+uint64(n))
		binary.LittleEndian.PutUint32(p[24:], uint32(off))
		binary.LittleEndian.PutUint32(p[4:], frameSum(p[:end], seed))
		at = int64(binary.LittleEndian.Uint64(p[16:]))
		off += end
	}
	return n, at
}

// frameSum is the checksum over everything in a frame but the checksum.
func frameSum(p []byte, seed uint32) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli, p[:4]), castagnoli, p[8:])
}

// frameLen gives the whole length of the frame whose head is p, 0 when p
// cannot be the head of a frame that ends within bytesMax.
func frameLen(p []byte, bytesMax int64) int {
	n := int64(binary.LittleEndian.Uint32(p))
	if n == 0 || n > min(bytesMax-frameBytes, payloadBytesMax) {
		return 0
	}
	return frameBytes + int(n)
}

// decodeFrame reads the frame that p starts with. ok is false when p is not a
// whole valid frame of the segment that seed belongs to.
func decodeFrame(p []byte, seed uint32) (f frame, n int, ok bool) {
	if len(p) < frameBytes {
		return frame{}, 0, false
	}
	n = frameLen(p, int64(len(p)))
	if n == 0 || binary.LittleEndian.Uint32(p[4:]) != frameSum(p[:n], seed) {
		return frame{}, 0, false
	}
	return frame{
		seq:     binary.LittleEndian.Uint64(p[8:]),
		at:      int64(binary.LittleEndian.Uint64(p[16:])),
		back:    binary.LittleEndian.Uint32(p[24:]),
		payload: p[frameBytes:n:n],
	}, n, true
}

// header is the first page of a segment.
type header struct {
	stream   uint32
	first    uint64 // sequence of the segment's first record
	previous uint64 // first of the segment before, 0 for none
	floor    int64  // received_at of the last record before this segment
	size     int64  // of the file, in bytes
	salt     uint64
}

// appendHeader appends h and returns its checksum too, the seed of all others.
func appendHeader(dst []byte, h header) ([]byte, uint32) {
	at := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = binary.LittleEndian.AppendUint32(dst, h.stream)
	dst = binary.LittleEndian.AppendUint64(dst, h.first)
	dst = binary.LittleEndian.AppendUint64(dst, h.previous)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.floor))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.size))
	dst = binary.LittleEndian.AppendUint64(dst, h.salt)
	seed := crc32.Checksum(dst[at:], castagnoli)
	return binary.LittleEndian.AppendUint32(dst, seed), seed
}

// decodeHeader reads what appendHeader wrote. The error says what is wrong
// with it, without naming the file.
func decodeHeader(p []byte) (h header, seed uint32, err error) {
	if len(p) < headerBytes || string(p[:8]) != magic {
		return h, 0, fmt.Errorf("the segment header does not begin with %s", magic)
	}
	seed = binary.LittleEndian.Uint32(p[56:])
	if seed != crc32.Checksum(p[:56], castagnoli) {
		return h, 0, fmt.Errorf("the segment header's checksum is wrong")
	}
	if v := binary.LittleEndian.Uint32(p[8:]); v != version {
		return h, 0, fmt.Errorf("the segment has format version %d, this build reads %d; use the build that wrote it", v, version)
	}
	return header{
		stream:   binary.LittleEndian.Uint32(p[12:]),
		first:    binary.LittleEndian.Uint64(p[16:]),
		previous: binary.LittleEndian.Uint64(p[24:]),
		floor:    int64(binary.LittleEndian.Uint64(p[32:])),
		size:     int64(binary.LittleEndian.Uint64(p[40:])),
		salt:     binary.LittleEndian.Uint64(p[48:]),
	}, seed, nil
}

// mark says how far a segment is known to be synced.
type mark struct {
	seq  uint64 // of the last synced record
	end  int64  // offset after its frame
	next uint64 // first sequence of the segment that follows, 0 while this one is live
}

func appendMark(dst []byte, m mark, seed uint32) []byte {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, m.seq)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.end))
	dst = binary.LittleEndian.AppendUint64(dst, m.next)
	return binary.LittleEndian.AppendUint32(dst, crc32.Update(seed, castagnoli, dst[at:]))
}

// decodeMark reads what appendMark wrote; a page that never held a mark, or
// holds a torn one, is no mark.
func decodeMark(p []byte, seed uint32) (m mark, ok bool) {
	if len(p) < markBytes || binary.LittleEndian.Uint32(p[24:]) != crc32.Update(seed, castagnoli, p[:24]) {
		return mark{}, false
	}
	return mark{
		seq:  binary.LittleEndian.Uint64(p),
		end:  int64(binary.LittleEndian.Uint64(p[8:])),
		next: binary.LittleEndian.Uint64(p[16:]),
	}, true
}
