package tallyhook

import "encoding/binary"

// Pair is a pair of a request that a test makes up.
type Pair struct {
	Kind        Kind
	Name, Value string
}

// Encode gives an input as the host writes it, for tests of a mapper with plain
// go test. Neither names nor values may be over 65,535 bytes.
func Encode(pairs []Pair, body string) []byte {
	in := make([]byte, headerBytes)
	binary.LittleEndian.PutUint32(in, magic)
	binary.LittleEndian.PutUint16(in[6:], uint16(len(pairs)))
	for _, p := range pairs {
		in = append(in, byte(p.Kind), 0)
		in = binary.LittleEndian.AppendUint16(in, uint16(len(p.Name)))
		in = binary.LittleEndian.AppendUint16(in, uint16(len(p.Value)))
		in = append(append(in, p.Name...), p.Value...)
	}
	binary.LittleEndian.PutUint32(in[16:], uint32(len(in)))
	binary.LittleEndian.PutUint32(in[20:], uint32(len(body)))
	binary.LittleEndian.PutUint16(in[24:], headerBytes)
	in = append(in, body...)
	binary.LittleEndian.PutUint32(in[28:], uint32(len(in)))
	return in
}
