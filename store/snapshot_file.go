package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A snapshot's file, readable by its owner only, is
//
//	head    "tallyhook objects 1\n"
//	store   36 bytes and "\n"   the store's id
//	body    …                   JSON of snapshotBody, sealed (Seal) for the place snapshot|ID|objects
//
// What the body holds goes by the schema's version, which it names: a build
// reads what itself and builds before it wrote.
//
// Sealing keeps partners' settings from who finds the disk, and tells bytes
// that were damaged, or written by somebody else, from what a node wrote.
const (
	snapshotHead = "tallyhook objects 1\n"
	storeIDBytes = 36

	// SnapshotBytesMax bounds the file: 100,000 sources take about 60 MB.
	SnapshotBytesMax = 256 << 20
)

// snapshotBody is the sealed part.
type snapshotBody struct {
	Schema  int64            `json:"schema"`
	Version int64            `json:"version"`
	TakenAt int64            `json:"taken_at"` // microseconds
	Sources []snapshotSource `json:"sources"`
	Keys    []snapshotAccess `json:"keys"`
	Mappers []snapshotMapper `json:"mappers,omitempty"`
}

type snapshotSource struct {
	ID      string           `json:"id"`
	Spec    string           `json:"spec"`
	Token   []byte           `json:"token"` // digest, as are the others
	Deleted bool             `json:"deleted,omitempty"`
	Secrets []snapshotSecret `json:"secrets,omitempty"`
}

type snapshotSecret struct {
	Hash   []byte `json:"hash"`
	Until  int64  `json:"until"`
	Sealed []byte `json:"sealed,omitempty"` // as in the store: for its place there
	KeyID  string `json:"key_id,omitempty"`
}

type snapshotAccess struct {
	Hash        []byte   `json:"hash"`
	ID          int64    `json:"id,omitempty"`
	Name        string   `json:"name"`
	Role        string   `json:"role"`
	Sources     []string `json:"sources,omitempty"`
	MayActivate bool     `json:"may_activate,omitempty"`
}

// snapshotMapper is a LiveMapper. The modules themselves are no part of the
// file: a node keeps those beside it, under their digests.
type snapshotMapper struct {
	Name     string            `json:"name"`
	Active   int               `json:"active,omitempty"`
	Previous int               `json:"previous,omitempty"`
	Shadow   int               `json:"shadow,omitempty"`
	Versions []snapshotVersion `json:"versions"`
}

type snapshotVersion struct {
	Version   int         `json:"version"`
	Digest    []byte      `json:"digest"`
	FuelLimit int64       `json:"fuel_limit"`
	State     MapperState `json:"state"`
}

// SaveSnapshot puts s into the file at path, whole or not at all: after a power
// cut it holds s or what it held before. Only one process may save to a path.
func (o *Objects) SaveSnapshot(path string, s *Snapshot) error {
	want, err := o.DB.wantedVersion()
	if err != nil {
		return err
	}
	body, err := json.Marshal(s.body(want))
	if err != nil {
		return fmt.Errorf("save the objects: %w", err)
	}
	file := append([]byte(snapshotHead), s.StoreID+"\n"...)
	file = append(file, o.Seal.Seal(body, "snapshot", s.StoreID, "objects")...)
	if len(file) > SnapshotBytesMax {
		return fmt.Errorf("save the objects: they take %d bytes: at most %d", len(file), SnapshotBytesMax)
	}
	o.saving.Lock()
	defer o.saving.Unlock()
	if err := replaceFile(path, file); err != nil {
		return fmt.Errorf("save the objects: %w", err)
	}
	return nil
}

func (s *Snapshot) body(schema int64) *snapshotBody {
	b := &snapshotBody{Schema: schema, Version: s.Version, TakenAt: s.TakenAt.UnixMicro()}
	for i := range s.sources {
		r := &s.sources[i]
		out := snapshotSource{ID: r.id, Spec: r.spec, Token: r.tokenHash[:], Deleted: r.deleted}
		for _, secret := range r.secrets {
			out.Secrets = append(out.Secrets, snapshotSecret{secret.hash[:], secret.until, secret.sealed, secret.keyID})
		}
		b.Sources = append(b.Sources, out)
	}
	for hash, k := range s.keys {
		b.Keys = append(b.Keys, snapshotAccess{hash[:], k.ID, k.Name, k.Role, k.Sources, k.MayActivate})
	}
	b.Mappers = mappersToFile(s.mappers)
	return b
}

// replaceFile writes a file anew beside the one at path and puts it in its
// place. Nobody else may do so at the same time.
func replaceFile(path string, content []byte) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // what a crash left behind
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return syncDir(filepath.Dir(path))
}

// LoadSnapshot reads what SaveSnapshot wrote; the store need not be there.
// fs.ErrNotExist when there is no such file, ErrWrongKey when it was sealed
// with another key. A file that is damaged, of a newer build, or of another
// store than DB.ID, if that is set, is refused.
func (o *Objects) LoadSnapshot(path string) (*Snapshot, error) {
	s, err := o.loadSnapshot(path)
	if err != nil {
		return nil, fmt.Errorf("objects saved in %s: %w", path, err)
	}
	return s, nil
}

func (o *Objects) loadSnapshot(path string) (*Snapshot, error) {
	file, err := readBounded(path, SnapshotBytesMax)
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(file, []byte(snapshotHead))
	if !ok || len(rest) <= storeIDBytes || rest[storeIDBytes] != '\n' {
		return nil, errors.New("it does not begin as this build writes it: damaged, or of another build; delete it, a node writes it anew once it has reached the store")
	}
	id, sealed := string(rest[:storeIDBytes]), rest[storeIDBytes+1:]
	if o.DB.ID != "" && o.DB.ID != id {
		return nil, fmt.Errorf("they are of store %q and this node belongs to store %s: give the data folder that belongs to it", id, o.DB.ID)
	}
	text, err := o.Seal.Open(sealed, "snapshot", id, "objects")
	if errors.Is(err, ErrWrongKey) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: delete it, a node writes it anew once it has reached the store", err)
	}
	var b snapshotBody
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, err
	}
	want, err := o.DB.wantedVersion()
	if err != nil {
		return nil, err
	}
	if b.Schema > want {
		return nil, newerSchema(b.Schema, want)
	}
	s, err := b.snapshot(id)
	if err != nil {
		return nil, err
	}
	s.seal = o.Seal
	return s, nil
}

// snapshot makes the Snapshot that a file tells of.
func (b *snapshotBody) snapshot(id string) (*Snapshot, error) {
	s := &Snapshot{StoreID: id, Version: b.Version, TakenAt: time.UnixMicro(b.TakenAt).UTC(), keys: map[[32]byte]Key{}}
	for _, in := range b.Sources {
		r := sourceRow{id: in.ID, spec: in.Spec, deleted: in.Deleted}
		var err error
		if r.tokenHash, err = digestOf(in.Token); err != nil {
			return nil, fmt.Errorf("source %q: %w", in.ID, err)
		}
		for _, secret := range in.Secrets {
			hash, err := digestOf(secret.Hash)
			if err != nil {
				return nil, fmt.Errorf("source %q: %w", in.ID, err)
			}
			r.secrets = append(r.secrets, secretRow{hash, secret.Until, secret.Sealed, secret.KeyID})
		}
		s.sources = append(s.sources, r)
	}
	for _, k := range b.Keys {
		hash, err := digestOf(k.Hash)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.Name, err)
		}
		s.keys[hash] = Key{ID: k.ID, Name: k.Name, Role: k.Role, Sources: k.Sources, MayActivate: k.MayActivate}
	}
	var err error
	s.mappers, err = mappersFromFile(b.Mappers)
	return s, err
}

// readBounded reads a file of at most max bytes.
func readBounded(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(content)) > max {
		err = fmt.Errorf("more than %d bytes", max)
	}
	return content, err
}
