package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tallyhook/tallyhook/store"
)

func TestSeal(t *testing.T) {
	seal := must[*store.Seal](t)(store.NewSeal(sealKey))
	other := must[*store.Seal](t)(store.NewSeal([]byte("another key, another key, anothe")))
	sealed := seal.Seal([]byte("canary"), "source", "acme", "token")

	t.Run("opens in its place", func(t *testing.T) {
		if text, err := seal.Open(sealed, "source", "acme", "token"); err != nil || string(text) != "canary" {
			t.Fatalf("%q, %v", text, err)
		}
		if bytes.Contains(sealed, []byte("canary")) {
			t.Fatal("sealed bytes hold the text")
		}
		if again := seal.Seal([]byte("canary"), "source", "acme", "token"); bytes.Equal(again, sealed) {
			t.Fatal("the same text sealed twice gives the same bytes")
		}
	})
	t.Run("nowhere else", func(t *testing.T) {
		for _, p := range [][3]string{{"keys", "acme", "token"}, {"source", "acm", "token"}, {"source", "acme", "secret"}, {"source", "acme|", "token"}} {
			if _, err := seal.Open(sealed, p[0], p[1], p[2]); err == nil {
				t.Errorf("opened at %v", p)
			}
		}
	})
	t.Run("not when damaged", func(t *testing.T) {
		for i := range sealed {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1
			if _, err := seal.Open(bad, "source", "acme", "token"); err == nil {
				t.Errorf("opened with byte %d flipped", i)
			}
			if _, err := seal.Open(sealed[:i], "source", "acme", "token"); err == nil {
				t.Errorf("opened when cut to %d bytes", i)
			}
		}
	})
	t.Run("another key is told by its id", func(t *testing.T) {
		_, err := other.Open(sealed, "source", "acme", "token")
		wantKind(t, err, store.ErrWrongKey)
		for _, part := range []string{seal.KeyID(), other.KeyID(), "source|acme|token"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %v does not name %s", err, part)
			}
		}
	})
}

func TestLoadSeal(t *testing.T) {
	write := func(text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hex := strings.Repeat("c0ffee42", 8)
	fails := func(path string, create bool, want string) {
		t.Helper()
		_, err := store.LoadSeal(path, create)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v: want one with %q and the path", err, want)
		} else if strings.Contains(err.Error(), "c0ffee") {
			t.Errorf("error %v tells the key", err)
		}
	}
	fails(write(hex, 0o640), false, "chmod 600")
	fails(write(hex, 0o604), true, "chmod 600")
	fails(write(hex[2:], 0o600), false, "want 64 hexadecimal digits, have 62")
	fails(write(hex+"aa", 0o600), true, "want 64 hexadecimal digits, have 66")
	fails(write("", 0o600), true, "have 0")
	fails(write("z"+hex[1:], 0o600), false, "something else")
	fails(write(strings.Repeat(hex, 100), 0o600), false, "6400 bytes")
	fails(t.TempDir(), true, "not a regular file")
	fails(filepath.Join(t.TempDir(), "none"), false, "is missing")
	fails(filepath.Join(t.TempDir(), "no", "such", "folder"), true, "no such file")

	t.Run("a new key is private, whole, and read the same by all", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "key")
		ids := make([]string, 8)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				s, err := store.LoadSeal(path, true)
				if err != nil {
					t.Error(err)
					return
				}
				ids[i] = s.KeyID()
			})
		}
		wg.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("keys %q: want one", ids)
			}
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 65 {
			t.Fatalf("%v, %v", info, err)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Fatalf("left behind: %v, %v", files, err)
		}
		if s, err := store.LoadSeal(path, false); err != nil || s.KeyID() != ids[0] {
			t.Fatalf("%v", err)
		}
	})
}

func TestWrongKeyIsMetAtTheStart(t *testing.T) {
	promise(t, "wrong key", func(t *testing.T, url string) {
		right, _ := openObjects(t, url)
		other := must[*store.Seal](t)(store.NewSeal([]byte("another key, another key, anothe")))
		wrong := &store.Objects{DB: right.DB, Seal: other}
		wantKind(t, wrong.Check(t.Context()), store.ErrWrongKey)
		for range 2 { // the right one stays right, the wrong one did not take its place
			if err := right.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
	promise(t, "of several keys on a new store one wins", func(t *testing.T, url string) {
		db := open(t, url)
		won := make([]bool, 6)
		var wg sync.WaitGroup
		for i := range won {
			seal := must[*store.Seal](t)(store.NewSeal(bytes.Repeat([]byte{byte(i)}, store.SealKeyBytes)))
			wg.Go(func() {
				err := (&store.Objects{DB: db, Seal: seal}).Check(context.Background())
				if won[i] = err == nil; !won[i] && !errors.Is(err, store.ErrWrongKey) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var winners int
		for _, w := range won {
			if w {
				winners++
			}
		}
		if winners != 1 {
			t.Errorf("%d keys fit one store", winners)
		}
	})
	promise(t, "damaged canary", func(t *testing.T, url string) {
		o, _ := openObjects(t, url)
		if _, err := o.DB.Write.Exec(`UPDATE meta SET value = 'no hex' WHERE key = 'seal_canary'`); err != nil {
			t.Fatal(err)
		}
		if err := o.Check(t.Context()); err == nil {
			t.Fatal("it passed")
		}
	})
}

func TestSecret(t *testing.T) {
	type holder struct {
		Name   string
		Secret store.Secret
		List   []store.Secret
		Map    map[string]store.Secret
	}
	s := store.Secret("canary")
	h := holder{Name: "n", Secret: s, List: []store.Secret{s}, Map: map[string]store.Secret{"k": s}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10.3s"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", s, h, &h)
	}
	for _, v := range []any{s, h, &h} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	for _, leak := range []string{"canary", "63616e617279", "63616E617279", "can", "99, 97"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q in\n%s", leak, &out)
		}
	}
	if !strings.Contains(out.String(), "***") || string(s) != "canary" {
		t.Error("a secret is either gone or never shown as one")
	}
}
