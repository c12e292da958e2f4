package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// meta is the file that tells whose journal a folder holds:
//
//	tallyhook journal 1
//	stream 3
//	store "b3c4…"
//	created 2026-11-21T01:52:51.123456Z
//	crc32c 1a2b3c4d
//
// The store is quoted as in Go; the checksum covers the lines before it. The
// file is made last, after the first segment: a folder with meta but without
// segments has lost them, one without meta never acknowledged anything.
type meta struct {
	stream  uint32
	store   string
	created time.Time
}

// Names of files in a journal folder.
const (
	metaName    = "meta"
	lockName    = "lock"
	ballastName = "ballast"
	spareName   = "spare.tmp"
	metaBytes   = 64 << 10 // more than any meta has
)

func appendMeta(dst []byte, m meta) []byte {
	at := len(dst)
	dst = fmt.Appendf(dst, "tallyhook journal %d\nstream %d\nstore %q\ncreated %s\n",
		version, m.stream, m.store, m.created.UTC().Format(time.RFC3339Nano))
	return fmt.Appendf(dst, "crc32c %08x\n", crc32.Checksum(dst[at:], castagnoli))
}

// decodeMeta reads what appendMeta wrote.
func decodeMeta(p []byte) (m meta, err error) {
	var v int
	var created string
	var sum uint32
	if _, err := fmt.Sscanf(string(p), "tallyhook journal %d\nstream %d\nstore %q\ncreated %s\ncrc32c %x\n",
		&v, &m.stream, &m.store, &created, &sum); err != nil {
		return m, errors.New("it is not the description of a journal")
	}
	if v != version {
		return m, fmt.Errorf("the journal has format version %d, this build reads %d; use the build that wrote it", v, version)
	}
	m.created, err = time.Parse(time.RFC3339Nano, created)
	if body := strings.LastIndex(string(p), "crc32c "); err != nil || sum != crc32.Checksum(p[:body], castagnoli) {
		return m, errors.New("its checksum is wrong")
	}
	return m, nil
}

// readMeta reads the meta of a folder; the error wraps os.ErrNotExist when
// there is none.
func readMeta(fs FS, dir string) (m meta, err error) {
	name := filepath.Join(dir, metaName)
	f, err := fs.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return m, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return m, err
	}
	p := make([]byte, min(n, metaBytes))
	if err := readFull(f, name, p, 0); err != nil {
		return m, err
	}
	if m, err = decodeMeta(p); err != nil {
		return m, &Damage{File: name, Why: err.Error()}
	}
	return m, nil
}

// create makes a new journal in an empty folder: the first segment, which is
// small so that a node is ready at once, then meta.
func create(cfg *Config) (m meta, err error) {
	if err := checkUnused(cfg.FS, cfg.Dir); err != nil {
		return m, err
	}
	m = meta{store: cfg.StoreID, created: cfg.Now()}
	if err := cfg.FS.SyncDir(filepath.Dir(cfg.Dir)); err != nil {
		return m, err
	}
	if m.stream, err = cfg.NewStream(); err != nil {
		return m, fmt.Errorf("obtain a stream number: %w", err)
	}
	if m.stream == 0 {
		panic("bug: NewStream gave stream 0")
	}
	size := min(cfg.SegmentBytes, firstSegmentBytes)
	if free, err := cfg.FS.FreeBytes(cfg.Dir); err == nil && free-size < cfg.FreeBytesMin {
		return m, fmt.Errorf("%w: the disk of %s has %d bytes left, FreeBytesMin is %d; free some space", ErrFull, cfg.Dir, free, cfg.FreeBytesMin)
	}
	spare := filepath.Join(cfg.Dir, spareName)
	f, err := cfg.FS.OpenFile(spare, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return m, err
	}
	err = zero(f, 0, size, nil)
	if err == nil {
		_, err = place(cfg.FS, cfg.Dir, f, header{stream: m.stream, first: 1, size: size})
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return m, err
	}
	return m, writeMeta(cfg.FS, cfg.Dir, m)
}

func writeMeta(fs FS, dir string, m meta) error {
	name := filepath.Join(dir, metaName)
	f, err := fs.OpenFile(name+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	err = writeFull(f, appendMeta(nil, m), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(name+".tmp", name); err != nil {
		return err
	}
	return fs.SyncDir(dir)
}

// checkUnused refuses a folder without meta that holds records all the same:
// a new journal in it would number its records anew. What a crash leaves of
// the making of a journal is one segment without a record.
func checkUnused(fs FS, dir string) error {
	firsts, err := listSegments(fs, dir)
	if err != nil || len(firsts) == 0 {
		return err
	}
	lost := fmt.Errorf("journal folder %s holds segments but no file %q; restore that file, or move the folder away to start a new journal",
		dir, metaName)
	if len(firsts) > 1 || firsts[0] != 1 {
		return lost
	}
	name := segmentPath(dir, 1)
	f, err := fs.OpenFile(name, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	seg, err := readHeader(f, name)
	if err != nil {
		return err
	}
	t, err := judgeTail(newScanner(f, &seg, seg.size))
	if err != nil {
		return err
	}
	if t.last > 0 || t.loose > 0 {
		return lost
	}
	return nil
}
