package journal

import (
	"errors"
	"fmt"
	"os"
)

// The ballast is a file of zeros that is deleted when the disk is full. What
// it gives back is for the ledger and the rest of the node, so that the
// backlog can drain; the journal leaves that much free itself while the file
// is gone (see short), and makes it again when there is plenty.

func ballastSize(fs FS, name string) int64 {
	f, err := fs.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return 0
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return 0
	}
	return n
}

// keepBallast drops the ballast when the disk is full and makes it when it is
// not there, or has another size, and there is room for a segment besides.
func (j *Journal) keepBallast() error {
	k, want := &j.keeper, j.cfg.BallastBytes
	free := j.free()
	if k.ballast > 0 && (k.ballast != want || free < j.cfg.FreeBytesMin) {
		return j.dropBallast()
	}
	if k.ballast == want || j.full.Load() != nil || free < want+j.cfg.SegmentBytes+j.cfg.FreeBytesMin {
		return nil
	}
	name := j.path(ballastName)
	f, err := j.cfg.FS.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err == nil {
		err = errors.Join(zero(f, 0, want, j.quit), f.Close())
	}
	if err == nil {
		k.ballast = want
		return nil
	}
	if rerr := j.cfg.FS.Remove(name); rerr != nil || noSpace(err) {
		return rerr
	}
	return fmt.Errorf("make ballast: %w", err)
}

// dropBallast deletes the ballast, if there is one.
func (j *Journal) dropBallast() error {
	if j.keeper.ballast == 0 {
		return nil
	}
	j.cfg.Log.Warn("journal: ballast given up", "bytes", j.keeper.ballast, "free_bytes", j.free())
	j.keeper.ballast = 0
	if err := j.cfg.FS.Remove(j.path(ballastName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("drop ballast: %w", err)
	}
	return nil
}
