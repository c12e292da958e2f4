package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tallyhook/tallyhook/store"
)

// A pushed module as it lies under mappers/modules, little endian:
//
//	code length u32 | config length u32 | vectors length u32 | code | config | vectors
//
// Its name is the digest of code and config, so damage shows.
const moduleHeadBytes = 12

func (m *mappers) modulePath(digest string) string {
	return filepath.Join(m.node.opt.Data, mappersFolder, "modules", digest)
}

// moduleBytes is how large a module is, 0 when it is not here yet.
func (m *mappers) moduleBytes(digest string) int {
	info, err := os.Stat(m.modulePath(digest))
	if err != nil {
		return 0
	}
	return int(info.Size())
}

// module gives a pushed module, from this node's disk or from the store. What
// came from the store stays on disk, for a start without it.
func (m *mappers) module(ctx context.Context, digest string) (store.MapperUpload, error) {
	path := m.modulePath(digest)
	file, err := os.ReadFile(path)
	if err == nil {
		if up, ok := splitModule(file); ok && store.MapperDigest(up.Code, up.Config) == digest {
			return up, nil
		}
		m.node.log.Warn("a module on this disk is damaged and is read from the store again", "file", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return store.MapperUpload{}, err
	}
	up, err := m.node.objects.MapperUploadOf(ctx, digest)
	if err != nil {
		return up, err
	}
	if err := replaceFile(path, joinModule(up)); err != nil {
		m.node.log.Warn("a module could not be kept on this disk: a start without the store will not have it", "file", path, "error", err)
	}
	return up, nil
}

func joinModule(up store.MapperUpload) []byte {
	head := make([]byte, 0, moduleHeadBytes)
	for _, part := range [][]byte{up.Code, up.Config, up.Vectors} {
		head = binary.LittleEndian.AppendUint32(head, uint32(len(part)))
	}
	return bytes.Join([][]byte{head, up.Code, up.Config, up.Vectors}, nil)
}

func splitModule(p []byte) (up store.MapperUpload, ok bool) {
	if len(p) < moduleHeadBytes {
		return up, false
	}
	head, rest := p[:moduleHeadBytes], p[moduleHeadBytes:]
	for i, part := range []*[]byte{&up.Code, &up.Config, &up.Vectors} {
		n := binary.LittleEndian.Uint32(head[4*i:])
		if uint64(n) > uint64(len(rest)) {
			return up, false
		}
		*part, rest = rest[:n:n], rest[n:]
	}
	return up, len(rest) == 0
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// makeFolder makes a folder for our eyes only.
func makeFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}
