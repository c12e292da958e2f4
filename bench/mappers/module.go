package mappers

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// A module, as far as it is taken apart here:
//
//	magic, version │ section: id u8, size │ …
//	6 globals: count, then type u8, mutable u8, first value, end
//	7 exports: count, then name length, name, kind u8, index
const (
	headBytes     = 8
	globalSection = 6
	exportSection = 7

	kindMemory = 2
	kindGlobal = 3
)

type section struct {
	id   byte
	body []byte
}

// startUpFuel is what host functions take from while a module starts. It is a
// power of 128, so that it is written alike with a sign and without.
const startUpFuel = 1 << 28

var errModule = errors.New("not a module as its linker writes it: build the examples again with plugins/build")

func sectionsOf(code []byte) (list []section, err error) {
	if len(code) < headBytes {
		return nil, errModule
	}
	for rest := code[headBytes:]; len(rest) > 0; {
		id := rest[0]
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return nil, errModule
		}
		list = append(list, section{id, rest[1+n : 1+n+int(size)]})
		rest = rest[1+n+int(size):]
	}
	return list, nil
}

func joined(head []byte, list []section) []byte {
	out := slices.Clone(head)
	for _, s := range list {
		out = binary.AppendUvarint(append(out, s.id), uint64(len(s.body)))
		out = append(out, s.body...)
	}
	return out
}

// add appends entries to a section that is a vector, and says how many it had.
func (s *section) add(entries ...[]byte) (had uint64, err error) {
	had, n := binary.Uvarint(s.body)
	if n <= 0 {
		return 0, errModule
	}
	body := binary.AppendUvarint(nil, had+uint64(len(entries)))
	s.body = bytes.Join(append([][]byte{append(body, s.body[n:]...)}, entries...), nil)
	return had, nil
}

func export(name string, kind byte, index uint64) []byte {
	return binary.AppendUvarint(append(append([]byte{byte(len(name))}, name...), kind), index)
}

// Variant gives a module that does the same as code and is another one, to a
// cache too: its memory has one more name.
func Variant(code []byte, number int) ([]byte, error) {
	list, err := sectionsOf(code)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(s section) bool { return s.id == exportSection })
	if i < 0 {
		return nil, errModule
	}
	if _, err := list[i].add(export(fmt.Sprintf("bench_%d", number), kindMemory, 0)); err != nil {
		return nil, err
	}
	return joined(code[:headBytes], list), nil
}

// uncounted gives code with the counters that a rewritten module has, and
// nothing that counts: what it costs beside a rewritten one is the counting. The
// example modules import no globals, so the counters' indexes follow those that
// are there.
func uncounted(code []byte) ([]byte, error) {
	list, err := sectionsOf(code)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(list, func(s section) bool { return s.id == globalSection })
	exports := slices.IndexFunc(list, func(s section) bool { return s.id == exportSection })
	if exports < 0 {
		return nil, errModule
	}
	if at < 0 { // exports come right after globals
		list = slices.Insert(list, exports, section{globalSection, []byte{0}})
		at, exports = exports, exports+1
	}
	const i32, i64, mutable, i32Const, i64Const, end = 0x7f, 0x7e, 1, 0x41, 0x42, 0x0b
	fuel := binary.AppendUvarint([]byte{i64, mutable, i64Const}, startUpFuel)
	first, err := list[at].add(append(fuel, end), []byte{i32, mutable, i32Const, 1, end})
	if err != nil {
		return nil, err
	}
	if _, err := list[exports].add(export(rewrite.FuelExport, kindGlobal, first), export(rewrite.DepthExport, kindGlobal, first+1)); err != nil {
		return nil, err
	}
	return joined(code[:headBytes], list), nil
}
