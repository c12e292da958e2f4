package store

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// SealKeyBytes is the length of a key.
const SealKeyBytes = 32

// Seal keeps texts of the store unreadable to who has the database but not the
// key. Sealed bytes are
//
//	version   1 byte   1: AES-256-GCM
//	key id    4 bytes  the head of a digest of the key
//	nonce    12 bytes  random; one key is good for 2^32 texts
//	text      …        encrypted, and 16 bytes of tag
//
// The place of the text, table|row|column, is authenticated with it, so that
// sealed bytes moved to another row do not open.
type Seal struct {
	aead   cipher.AEAD
	id     [4]byte
	pepper [sha256.Size]byte
}

const (
	sealVersion   = 1
	sealHeadBytes = 1 + 4
)

// NewSeal makes a Seal of a key of SealKeyBytes random bytes. It keeps no
// reference to key.
func NewSeal(key []byte) (*Seal, error) {
	if len(key) != SealKeyBytes {
		return nil, fmt.Errorf("key of %d bytes: want %d", len(key), SealKeyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	s := &Seal{aead: aead}
	digest := sha256.Sum256(append([]byte("tallyhook seal key id\x00"), key...))
	copy(s.id[:], digest[:])
	s.pepper = sha256.Sum256(append([]byte("tallyhook pepper\x00"), key...))
	return s, nil
}

// Pepper gives 32 bytes for one use, the same wherever the key is the same:
// to digest what could be guessed if its digest had no key.
func (s *Seal) Pepper(use string) []byte {
	m := hmac.New(sha256.New, s.pepper[:])
	m.Write([]byte(use))
	return m.Sum(nil)
}

// LoadSeal reads the key file at path: 64 hexadecimal digits, readable by its
// owner only. A missing file is made, with a new key, only when create is
// true; nothing else ever changes it.
func LoadSeal(path string, create bool) (*Seal, error) {
	text, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !create {
			return nil, fmt.Errorf("key file %s is missing: put the one back that this store was made with: %w", path, err)
		}
		if err := createKeyFile(path); err != nil {
			return nil, fmt.Errorf("create key file %s: %w", path, err)
		}
		text, err = readKeyFile(path)
	}
	if err != nil {
		return nil, err
	}
	text = bytes.TrimSpace(text)
	key := make([]byte, hex.DecodedLen(len(text)))
	if _, err := hex.Decode(key, text); err != nil {
		// The decoder's own error would quote a byte of the key.
		return nil, fmt.Errorf("key file %s: want %d hexadecimal digits, it holds something else", path, 2*SealKeyBytes)
	}
	s, err := NewSeal(key)
	if err != nil {
		return nil, fmt.Errorf("key file %s: want %d hexadecimal digits, have %d", path, 2*SealKeyBytes, len(text))
	}
	return s, nil
}

func readKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("key file %s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("key file %s has mode %04o, so others than its owner may use it: chmod 600 it, and make a new key if somebody may have", path, info.Mode().Perm())
	case info.Size() > 4096:
		return nil, fmt.Errorf("key file %s has %d bytes: want %d hexadecimal digits", path, info.Size(), 2*SealKeyBytes)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	return text, nil
}

// createKeyFile makes the file whole or not at all, and never over another
// one: of two nodes that start at once, both then read the same key.
func createKeyFile(path string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // its mode is 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	key := make([]byte, SealKeyBytes)
	rand.Read(key)
	_, err = fmt.Fprintf(f, "%x\n", key)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// KeyID names the key without telling it.
func (s *Seal) KeyID() string { return hex.EncodeToString(s.id[:]) }

func place(table, row, column string) []byte {
	return []byte(table + "|" + row + "|" + column)
}

// Seal encrypts text for its place in the database.
func (s *Seal) Seal(text []byte, table, row, column string) []byte {
	dst := append([]byte{sealVersion}, s.id[:]...)
	return s.aead.Seal(dst, nil, text, place(table, row, column))
}

// Open decrypts what Seal made for the same place. ErrWrongKey means that it
// was sealed with another key; any other error, that the bytes were damaged or
// belong elsewhere.
func (s *Seal) Open(sealed []byte, table, row, column string) ([]byte, error) {
	if len(sealed) < sealHeadBytes+s.aead.Overhead() || sealed[0] != sealVersion {
		return nil, fmt.Errorf("%s: %d sealed bytes are not of this build's form", place(table, row, column), len(sealed))
	}
	if id := sealed[1:sealHeadBytes]; !bytes.Equal(id, s.id[:]) {
		return nil, &fault{ErrWrongKey, fmt.Errorf("%s was sealed with key %x and this node has key %s: give the key file that this store was made with", place(table, row, column), id, s.KeyID())}
	}
	text, err := s.aead.Open(nil, nil, sealed[sealHeadBytes:], place(table, row, column))
	if err != nil {
		return nil, fmt.Errorf("%s: sealed bytes do not open: damaged, or moved from another row: %w", place(table, row, column), err)
	}
	return text, nil
}
