package mapper

import (
	"hash/maphash"
	"strings"
	"sync"

	"github.com/nyaruka/phonenumbers"

	"github.com/tallyhook/tallyhook/event"
)

// Limits of phone numbers. The cache takes NumbersCachedMax entries of 80
// bytes, some 5 MB, whatever is sent.
const (
	NumbersCachedMax  = 1 << 16
	NumberBytesMax    = 250 // longer is no number
	numberCachedBytes = 46  // longer is parsed each time
	e164BytesMax      = 22  // a plus, three digits of country, seventeen more as the library has it
	numberShards      = 64
	numberWays        = 4
)

// numbers turns phone numbers as people write them into E.164. What it parsed
// it remembers, the unreadable as well, in a table of fixed size: sets of four
// entries, each set with the latest used first.
type numbers struct {
	seed   maphash.Seed
	shards [numberShards]numberShard
}

type numberShard struct {
	mu   sync.Mutex
	sets [][numberWays]numberEntry // made at the first use
}

type numberEntry struct {
	hash   uint64
	region [2]byte
	rawLen uint8 // 0 is a free entry
	outLen uint8 // 0 is unreadable
	raw    [numberCachedBytes]byte
	out    [e164BytesMax]byte
}

func newNumbers() *numbers { return &numbers{seed: maphash.MakeSeed()} }

// normalise gives raw in E.164, as a view into b, or "" when it is no number
// in region. It does not allocate when the number is plain North American or
// was met before.
func (n *numbers) normalise(b *event.Batch, region, raw string) string {
	text := dialled(raw)
	if text == "" || len(text) > NumberBytesMax {
		return ""
	}
	var out [e164BytesMax]byte
	if northAmerican(&out, region, text) {
		return event.View(b.Copy(out[:12]))
	}
	if len(text) > numberCachedBytes || len(region) != 2 {
		return parseNumber(region, text)
	}
	h := maphash.String(n.seed, text) + uint64(region[0])<<8 + uint64(region[1])
	size, found := n.lookup(h, region, text, &out)
	if !found {
		size = copy(out[:], parseNumber(region, text))
		n.store(h, region, text, out[:size])
	}
	if size == 0 {
		return ""
	}
	return event.View(b.Copy(out[:size]))
}

func (n *numbers) set(h uint64) (*numberShard, int) {
	s := &n.shards[h%numberShards]
	return s, int(h / numberShards % (NumbersCachedMax / numberShards / numberWays))
}

// lookup copies what raw was found to be, and makes it the latest of its set.
func (n *numbers) lookup(h uint64, region, raw string, out *[e164BytesMax]byte) (size int, found bool) {
	s, i := n.set(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sets == nil {
		return 0, false
	}
	set := &s.sets[i]
	for way := range set {
		e := &set[way]
		if e.hash != h || int(e.rawLen) != len(raw) || string(e.region[:]) != region || string(e.raw[:e.rawLen]) != raw {
			continue
		}
		*out, size = e.out, int(e.outLen)
		if way > 0 {
			latest := *e
			copy(set[1:way+1], set[:way])
			set[0] = latest
		}
		return size, true
	}
	return 0, false
}

// store puts raw first in its set; the last of the set is forgotten.
func (n *numbers) store(h uint64, region, raw string, out []byte) {
	s, i := n.set(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sets == nil {
		s.sets = make([][numberWays]numberEntry, NumbersCachedMax/numberShards/numberWays)
	}
	set := &s.sets[i]
	copy(set[1:], set[:numberWays-1])
	e := &set[0]
	*e = numberEntry{hash: h, rawLen: uint8(len(raw)), outLen: uint8(len(out))}
	copy(e.region[:], region)
	copy(e.raw[:], raw)
	copy(e.out[:], out)
}

// dialled gives the part of a caller that is dialled: the user of a SIP
// address, else all of it without blanks around it. One blank before a digit
// is kept: it may have been a plus that nobody escaped.
func dialled(raw string) string {
	text := strings.TrimSpace(raw)
	for i := 0; i+4 <= len(text); i++ {
		if strings.EqualFold(text[i:i+3], "sip") && (text[i+3] == ':' || text[i+3] == 's' && strings.HasPrefix(text[i+4:], ":")) {
			_, text, _ = strings.Cut(text[i:], ":")
			if end := strings.IndexAny(text, "@;>"); end >= 0 {
				text = text[:end]
			}
			return strings.TrimSpace(text)
		}
	}
	if len(raw) > 1 && raw[0] == ' ' && '0' <= raw[1] && raw[1] <= '9' {
		return raw[:len(text)+1]
	}
	return text
}

// northAmerican writes +1 and ten digits to out when text is a number of that
// plan beyond doubt: written with the country code, or without in a region
// where that is how one dials. It agrees with parseNumber and takes a
// thousandth of its time.
func northAmerican(out *[e164BytesMax]byte, region, text string) bool {
	n, plus := 2, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case '0' <= c && c <= '9':
			if n == 13 {
				return false
			}
			out[n] = c
			n++
		case c == '+' && i == 0:
			plus = true
		case c == ' ', c == '-', c == '.', c == '(', c == ')':
		default:
			return false
		}
	}
	home := region == "US" || region == "CA"
	switch {
	case n == 13 && out[2] == '1' && (plus || home):
		copy(out[2:], out[3:13])
	case n == 12 && home && !plus && text[0] != ' ': // after a blank it may be another country's, with its code
	default:
		return false
	}
	out[0], out[1] = '+', '1'
	return out[2] >= '2'
}

// parseNumber asks libphonenumber. A number of the wrong length, or one that
// can only be dialled within its area, is none.
func parseNumber(region, text string) string {
	text = strings.Clone(text) // whatever the library keeps must outlive the batch
	if rest, ok := strings.CutPrefix(text, " "); ok {
		if n, err := phonenumbers.Parse("+"+rest, region); err == nil && phonenumbers.IsValidNumber(n) {
			return phonenumbers.Format(n, phonenumbers.E164)
		}
		text = rest
	}
	n, err := phonenumbers.Parse(text, region)
	if err != nil || phonenumbers.IsPossibleNumberWithReason(n) != phonenumbers.IS_POSSIBLE {
		return ""
	}
	return phonenumbers.Format(n, phonenumbers.E164)
}
