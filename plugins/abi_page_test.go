//go:build !race

package plugins

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/mapper/admission"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// dumps gives the hex dumps of a page, each a run of indented lines
// "0010  7c 00 …  09 00 …  text".
func dumps(t *testing.T, page string) (all [][]byte) {
	t.Helper()
	line := regexp.MustCompile(`^    ([0-9a-f]{4})  ((?:[0-9a-f]{2} {1,2})+)`)
	for text := range strings.Lines(page) {
		m := line.FindStringSubmatch(strings.TrimRight(text, "\n") + " ")
		if m == nil {
			continue
		}
		p, err := hex.DecodeString(strings.Join(strings.Fields(m[2]), ""))
		if err != nil {
			t.Fatal(err)
		}
		if m[1] == "0000" {
			all = append(all, nil)
		}
		if at := fmt.Sprintf("%04x", len(all[len(all)-1])); at != m[1] {
			t.Fatalf("line at %s, but %s bytes stand before it", m[1], at)
		}
		all[len(all)-1] = append(all[len(all)-1], p...)
	}
	return all
}

// What ABI.md shows as bytes is what the host writes and reads.
func TestABIPage(t *testing.T) {
	page := string(read(t, "ABI.md"))
	all := dumps(t, page)
	if len(all) != 2 {
		t.Fatalf("%d dumps, want an input and an output", len(all))
	}

	want := make([]byte, abi.BufferBytesMin)
	e := abi.Begin(want, 0, 1767225600000)
	e.Pair(abi.KindRequest, "method", "POST")
	e.Pair(abi.KindRequest, "peer", "192.0.2.1")
	e.Pair(abi.KindRequest, "content_type", "application/json")
	e.Pair(abi.KindQuery, "click", "k1")
	e.Pair(abi.KindJSON, "pay", "5")
	n, _ := e.End([]byte(`{"pay":5}`))
	if string(all[0]) != string(want[:n]) {
		t.Errorf("input\n%s\nwant\n%s", hex.Dump(all[0]), hex.Dump(want[:n]))
	}

	var got []string
	r := abi.Read(all[1])
	for f, ok := r.Next(); ok; f, ok = r.Next() {
		got = append(got, fmt.Sprintf("%s %s%s", abi.FieldName(f.ID), f.Key, f.Value))
	}
	if fmt.Sprint(got) != "[ref_id k1 payout 5 extension buyera]" || r.Err() != nil {
		t.Errorf("output %q, %v", got, r.Err())
	}
	word := regexp.MustCompile(`result  0x([0-9a-f]{16})`).FindStringSubmatch(page)
	if word == nil {
		t.Fatal("no result word")
	}
	bits, err := strconv.ParseUint(word[1], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	if ptr, n, ok := abi.Result(bits).Place(); !ok || ptr != 0x4000 || int(n) != len(all[1]) {
		t.Errorf("result %#x: %#x, %d", bits, ptr, n)
	}
	if magic := binary.LittleEndian.Uint32(all[0]); magic != abi.Magic {
		t.Errorf("magic %#x", magic)
	}
}

// The page names every export, field and limit by its value.
func TestABIPageNames(t *testing.T) {
	page := string(read(t, "ABI.md"))
	for _, name := range []string{abi.ExportMemory, abi.ExportBuffer, abi.ExportMap, abi.ExportInit, abi.ExportInitialize, abi.ExportRawBody} {
		if !strings.Contains(page, "| `"+name+"` |") {
			t.Errorf("export %s is not in the table", name)
		}
	}
	for id := abi.FieldRefID; id <= abi.FieldKind; id++ {
		if !strings.Contains(page, fmt.Sprintf("| %d | `%s` |", id, abi.FieldName(id))) {
			t.Errorf("field %d, %s, is not in the table", id, abi.FieldName(id))
		}
	}
	l := rewrite.Default()
	for _, limit := range []string{"16,384", "256 bytes", "1,024", "256 reports", "at most 64 in a report",
		fmt.Sprintf("| %d million;", l.FuelInit/1_000_000), fmt.Sprintf("at most %d million units", admission.FuelMaxStandard/1_000_000),
		fmt.Sprintf("(%d million in the tier", admission.FuelMaxLarge/1_000_000), fmt.Sprintf("| depth | %d calls", l.DepthMax),
		fmt.Sprintf("%d pages of 64 KiB at the start, %d at most", l.MemoryPagesInitialMax, l.MemoryPagesMax),
		fmt.Sprintf("| module | %d MiB |", l.ModuleBytesMax>>20)} {
		if !strings.Contains(page, limit) {
			t.Errorf("limit %q is not named", limit)
		}
	}
}
