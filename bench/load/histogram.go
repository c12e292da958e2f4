package load

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets whose width is at most 1/64 of their
// value, from one nanosecond to centuries. The zero Histogram is empty.
//
//	value       0 … 127      128 … 255    256 … 511   …
//	bucket of   1            2            4           nanoseconds
type Histogram struct {
	counts [58 * half]int64
	n      int64
	max    time.Duration
}

const half = 64 // buckets per power of two

func bucketOf(d time.Duration) int {
	v := uint64(max(0, d))
	shift := max(0, bits.Len64(v)-7)
	return shift*half + int(v>>shift)
}

// top is the greatest value of a bucket.
func top(bucket int) time.Duration {
	shift := max(0, bucket/half-1)
	return time.Duration((uint64(bucket-shift*half)+1)<<shift - 1)
}

// Record counts d; what is negative counts as zero.
func (h *Histogram) Record(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.n++
	h.max = max(h.max, d)
}

// Merge adds the counts of o.
func (h *Histogram) Merge(o *Histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// Count is how many durations were recorded.
func (h *Histogram) Count() int64 { return h.n }

// Max is the longest one, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile gives a duration that the share q (0 to 1) of all does not exceed,
// at most 1/64 above the true one; 0 when nothing was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := int64(q*float64(h.n) + 0.999999)
	want = min(max(want, 1), h.n)
	var seen int64
	for i, c := range h.counts {
		if seen += c; seen >= want && c > 0 {
			return min(top(i), h.max)
		}
	}
	return 0
}
