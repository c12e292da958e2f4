package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

// Snapshot is what a node needs of the objects to take requests in, as of one
// moment: the sources, deleted ones too, with the digests of their tokens and
// secrets, the access keys, and which mappers' versions may have to run. A node keeps its last one on its own disk
// (SaveSnapshot) and starts from it while the store is away. It does not change,
// so it is safe for concurrent use.
type Snapshot struct {
	StoreID string
	Version int64 // Objects.Version
	TakenAt time.Time

	seal    *Seal       // opens secrets
	sources []sourceRow // without the sealed tokens; secrets stay sealed
	keys    map[[32]byte]Key
	mappers []LiveMapper
}

// Snapshot reads the objects as of one moment.
func (o *Objects) Snapshot(ctx context.Context) (*Snapshot, error) {
	s := &Snapshot{StoreID: o.DB.ID, TakenAt: o.now().UTC(), seal: o.Seal, keys: map[[32]byte]Key{}}
	err := o.DB.snapshot(ctx, func(tx *sql.Tx) (err error) {
		if s.Version, err = version(ctx, tx); err != nil {
			return err
		}
		if s.sources, err = readSources(ctx, tx, `TRUE`); err != nil {
			return err
		}
		if s.mappers, err = readLiveMappers(ctx, tx); err != nil {
			return err
		}
		return s.readKeys(ctx, tx)
	})
	if err != nil {
		return nil, fmt.Errorf("read the sources, mappers and keys: %w", err)
	}
	return s, nil
}

func (s *Snapshot) readKeys(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT `+keyColumns+`, hash FROM access_key`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var hash []byte
		k, err := scanKey(rows, &hash)
		if err != nil {
			return err
		}
		digest, err := digestOf(hash)
		if err != nil {
			return fmt.Errorf("key %q: %w", k.Name, err)
		}
		s.keys[digest] = k
	}
	return rows.Err()
}

// digestOf reads the bytes of a digest.
func digestOf(b []byte) (digest [32]byte, err error) {
	if len(b) != len(digest) {
		return digest, fmt.Errorf("a digest of %d bytes: want %d", len(b), len(digest))
	}
	return [32]byte(b), nil
}

// Directory compiles every source, deleted ones too. From prev, which may be
// nil, it carries the counters over and takes a source whole, the same pointer,
// when nothing about it has changed. Secrets that have ended by now are left
// out, sealed ones are opened. It fails when a source does not compile, naming
// all that do not; ErrWrongKey when a secret was sealed with another key.
func (s *Snapshot) Directory(now time.Time, prev *source.Directory) (*source.Directory, error) {
	list := make([]*source.Source, 0, len(s.sources))
	var bad []error
	for i := range s.sources {
		src, err := s.sources[i].compile(s.seal, now.UnixMicro())
		if err != nil {
			bad = append(bad, err)
			continue
		}
		if prev != nil {
			src = carryOver(src, prev.ByID(src.Spec.ID))
		}
		list = append(list, src)
	}
	if err := errors.Join(bad...); err != nil {
		return nil, err
	}
	return source.NewDirectory(list, s.Version), nil
}

// carryOver gives old itself when it equals src, else src with old's counters.
func carryOver(src, old *source.Source) *source.Source {
	if old == nil {
		return src
	}
	if old.TokenHash == src.TokenHash && old.Deleted == src.Deleted &&
		slices.Equal(old.Secrets, src.Secrets) && reflect.DeepEqual(old.Signing, src.Signing) && reflect.DeepEqual(old.Spec, src.Spec) {
		return old
	}
	src.Seen = old.Seen
	return src
}

// KeyByHash finds an access key as Objects.KeyByHash does.
func (s *Snapshot) KeyByHash(hash [32]byte) (k Key, ok bool) {
	k, ok = s.keys[hash]
	return k, ok
}

// NextExpiry is when the next secret that lives now ends, and with it the
// Directory that holds it. ok is false when none will.
func (s *Snapshot) NextExpiry(now time.Time) (at time.Time, ok bool) {
	for i := range s.sources {
		for _, secret := range s.sources[i].secrets {
			until := time.UnixMicro(secret.until).UTC()
			if secret.until != 0 && until.After(now) && (!ok || until.Before(at)) {
				at, ok = until, true
			}
		}
	}
	return at, ok
}
