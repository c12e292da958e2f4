package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Config says where a journal lies and how much it may take. Zero values stand
// for the defaults; where a thing can be switched off, a negative value does.
type Config struct {
	Dir       string                 // the journal's own folder; made when missing
	StoreID   string                 // of the primary store whose ledger takes the records in
	NewStream func() (uint32, error) // obtains a stream number, not 0, for a new journal

	SegmentBytes   int64 // size of a segment file; default 64 MiB
	BytesMax       int64 // for all segments together; default 16 GiB. Over 70 % warns, over 85 % trims without regard to RetainFor, over 95 % is full
	FreeBytesMin   int64 // what the disk must have left after a segment was made; default 256 MiB, negative: no matter
	BallastBytes   int64 // size of the ballast file; default 64 MiB, negative: none
	GroupBytesMax  int   // what one write gathers before appends have to wait; default 1 MiB
	BatchBytesMax  int   // for one AppendAll with 28 bytes a record; default 16 MiB; it must fit into a segment together with GroupBytesMax
	RecordBytesMax int   // for one record; default 1 MiB, at most 16 MiB and BatchBytesMax

	RetainFor time.Duration // how long committed records are kept; default 24 h, negative: no longer
	WaitMax   time.Duration // how long an append waits for room in the buffer; default 2 s
	IdleAfter time.Duration // without appends a mark is written; default 100 ms
	CheckFor  time.Duration // how often space and retention are looked at; default 1 s

	FS  FS               // default OSFS
	Now func() time.Time // stamps records; default time.Now
	Log *slog.Logger     // default none
}

// payloadBytesMax bounds a record in the format, so that a damaged length
// cannot make a reader ask for much memory.
const payloadBytesMax = 16 << 20

// complete puts the defaults in and refuses what cannot work.
func (c *Config) complete() error {
	switch {
	case c.Dir == "":
		return errors.New("no folder given; set Dir")
	case c.StoreID == "":
		return errors.New("no store id given; set StoreID")
	case c.NewStream == nil:
		return errors.New("no source of stream numbers given; set NewStream")
	}
	set(&c.SegmentBytes, 64<<20)
	set(&c.BytesMax, max(16<<30, 64*c.SegmentBytes))
	set(&c.FreeBytesMin, 256<<20)
	set(&c.BallastBytes, 64<<20)
	room := max(int(c.SegmentBytes)-dataStart, 4)
	set(&c.GroupBytesMax, min(1<<20, room/4))
	set(&c.BatchBytesMax, min(16<<20, room/2))
	set(&c.RecordBytesMax, min(1<<20, c.BatchBytesMax-frameBytes))
	set(&c.RetainFor, 24*time.Hour)
	set(&c.WaitMax, 2*time.Second)
	set(&c.IdleAfter, 100*time.Millisecond)
	set(&c.CheckFor, time.Second)
	c.FreeBytesMin, c.BallastBytes, c.RetainFor = max(c.FreeBytesMin, 0), max(c.BallastBytes, 0), max(c.RetainFor, 0)
	if c.FS == nil {
		c.FS = OSFS{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.SegmentBytes < 2*dataStart || c.SegmentBytes > 1<<31:
		return fmt.Errorf("SegmentBytes %d: want between %d and %d", c.SegmentBytes, 2*dataStart, 1<<31)
	case c.BytesMax < 4*c.SegmentBytes:
		return fmt.Errorf("BytesMax %d: want room for four segments of %d bytes at least", c.BytesMax, c.SegmentBytes)
	case c.GroupBytesMax < 1 || c.BatchBytesMax < 1 || c.RecordBytesMax < 1:
		return errors.New("GroupBytesMax, BatchBytesMax and RecordBytesMax must not be negative")
	case int64(c.GroupBytesMax)+int64(c.BatchBytesMax) > c.SegmentBytes-dataStart:
		return fmt.Errorf("GroupBytesMax %d and BatchBytesMax %d do not fit into a segment of %d bytes together",
			c.GroupBytesMax, c.BatchBytesMax, c.SegmentBytes)
	case c.RecordBytesMax > min(payloadBytesMax, c.BatchBytesMax-frameBytes):
		return fmt.Errorf("RecordBytesMax %d: want at most %d", c.RecordBytesMax, min(payloadBytesMax, c.BatchBytesMax-frameBytes))
	}
	return nil
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
