package match

import "slices"

// beyondMax is how many ranges are kept that do not join yet. There is one per
// missing Put; if more are missing, the farthest ranges are forgotten and have
// to be put again.
const beyondMax = 64

// span is the changes after from up to through.
type span struct{ from, through int64 }

// ranges is which changes an index has: all up to through, and beyond that the
// spans that do not join it, in order and apart from each other.
type ranges struct {
	through int64
	beyond  []span
}

// add takes in one more span, whatever it overlaps.
func (r *ranges) add(s span) {
	if s.through <= max(s.from, r.through) {
		return
	}
	at, _ := slices.BinarySearchFunc(r.beyond, s.from, func(b span, from int64) int {
		if b.from < from {
			return -1
		}
		return 1
	})
	r.beyond = slices.Insert(r.beyond, at, s)
	joined := r.beyond[:0]
	for _, b := range r.beyond {
		last := len(joined) - 1
		switch {
		case b.from <= r.through:
			r.through = max(r.through, b.through)
		case last >= 0 && b.from <= joined[last].through:
			joined[last].through = max(joined[last].through, b.through)
		case last+1 < beyondMax:
			joined = append(joined, b)
		}
	}
	r.beyond = joined
}
