//go:build unix

package journal

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkAppend appends records of 600 bytes on the disk that holds the
// package, each caller as soon as its last record was synced.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		b.Run(itoa(callers)+"_callers", func(b *testing.B) {
			j, err := Open(Config{Dir: b.TempDir(), StoreID: "bench", NewStream: func() (uint32, error) { return 1, nil }, BallastBytes: -1})
			must(b, err)
			defer j.Close()
			rec := make([]byte, 600)
			for j.Status().Bytes <= firstSegmentBytes { // past the small first segment, its successor ready
				_, err := j.AppendAll([][]byte{make([]byte, 500_000)})
				must(b, err)
			}
			for !j.keeper.has() {
				_, err := j.Append(rec)
				must(b, err)
			}
			before, cpu := j.Status(), cpuTime(b)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := j.Append(rec); err != nil {
							left.Store(0)
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/record")
			after := j.Status()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(after.Records-before.Records)/float64(after.Syncs-before.Syncs), "records/sync")
		})
	}
}

// cpuTime is what this process has used, the callers included.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
