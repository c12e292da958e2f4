package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

func create(t *testing.T, o *store.Objects, spec source.Spec) store.SourceInfo {
	t.Helper()
	info, _, err := o.CreateSource(t.Context(), "ann", spec, false)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func directory(t *testing.T, o *store.Objects, prev *source.Directory) *source.Directory {
	t.Helper()
	return must[*source.Directory](t)(o.Directory(t.Context(), prev))
}

func byToken(d *source.Directory, token store.Secret) *source.Source {
	return d.ByToken(source.HashToken([]byte(token)))
}

func nextExpiry(t *testing.T, o *store.Objects, c *clock) (time.Time, bool) {
	t.Helper()
	return must[*store.Snapshot](t)(o.Snapshot(t.Context())).NextExpiry(c.at)
}

func TestSources(t *testing.T) {
	onObjects(t, "create, get, find by token", func(t *testing.T, o *store.Objects, c *clock) {
		info, secret, err := o.CreateSource(t.Context(), "ann", source.Spec{Name: "Acme Media, Inc.", Currency: "eur"}, false)
		if err != nil || secret != "" {
			t.Fatalf("secret %q, %v", secret, err)
		}
		if info.ID != "acme-media-inc" || info.Currency != "EUR" || info.Preset != "generic" || info.Limits.PerTokenPerMin != source.DefaultPerTokenPerMin {
			t.Errorf("info %+v lacks what the spec comes to", info)
		}
		if len(info.Token) != 43 || info.Secret || !info.SecretsUntil.IsZero() || !info.CreatedAt.Equal(c.at) || !info.UpdatedAt.Equal(c.at) {
			t.Errorf("info %+v", info)
		}
		got := must[store.SourceInfo](t)(o.GetSource(t.Context(), "acme-media-inc"))
		if got.Token != info.Token || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", info) {
			t.Errorf("got %+v: want %+v", got, info)
		}
		d := directory(t, o, nil)
		if s := byToken(d, info.Token); s == nil || s != d.ByID(info.ID) || s.Policy.Currency != "EUR" || s.Secrets != nil {
			t.Errorf("directory has %+v", s)
		}
	})

	onObjects(t, "ids are derived, unique and stay taken", func(t *testing.T, o *store.Objects, _ *clock) {
		create(t, o, source.Spec{ID: "acme"})
		_, _, err := o.CreateSource(t.Context(), "ann", source.Spec{Name: " ACME! "}, false)
		wantKind(t, err, store.ErrExists)
		if err := o.DeleteSource(t.Context(), "ann", "acme"); err != nil {
			t.Fatal(err)
		}
		_, _, err = o.CreateSource(t.Context(), "ann", source.Spec{ID: "acme"}, false)
		wantKind(t, err, store.ErrExists)
		for _, name := range []string{"", "—", "日本"} {
			_, _, err = o.CreateSource(t.Context(), "ann", source.Spec{Name: name}, false)
			wantKind(t, err, store.ErrInvalid)
		}
		if info := create(t, o, source.Spec{Name: strings.Repeat("long name ", 15)}); len(info.ID) > 63 || !strings.HasPrefix(info.ID, "long-name-long") {
			t.Errorf("id %q", info.ID)
		}
	})

	onObjects(t, "what does not compile is not kept", func(t *testing.T, o *store.Objects, _ *clock) {
		_, _, err := o.CreateSource(t.Context(), "ann", source.Spec{ID: "acme", Currency: "dollars!"}, true)
		wantKind(t, err, store.ErrInvalid)
		create(t, o, source.Spec{ID: "acme"})
		version := must[int64](t)(o.Version(t.Context()))
		for _, change := range []func(*source.Spec) error{
			func(s *source.Spec) error { s.Preset = "genric"; return nil },
			func(s *source.Spec) error { s.ID = "other"; return nil },
			func(s *source.Spec) error { s.Buyer = "x"; return errors.New("changed my mind") },
		} {
			_, err := o.ChangeSource(t.Context(), "ann", "acme", change)
			wantKind(t, err, store.ErrInvalid)
		}
		if info := must[store.SourceInfo](t)(o.GetSource(t.Context(), "acme")); info.Buyer != "" || info.Preset != "generic" {
			t.Errorf("%+v was kept", info)
		}
		if v := must[int64](t)(o.Version(t.Context())); v != version {
			t.Errorf("version rose from %d to %d", version, v)
		}
	})

	onObjects(t, "change edits what was written, not the defaults", func(t *testing.T, o *store.Objects, c *clock) {
		made := create(t, o, source.Spec{ID: "acme"})
		c.advance(time.Minute)
		info := must[store.SourceInfo](t)(o.ChangeSource(t.Context(), "bob", "acme", func(s *source.Spec) error {
			if s.Limits.PerTokenPerMin != 0 {
				t.Errorf("change sees the default %d", s.Limits.PerTokenPerMin)
			}
			s.Limits.Profile = "strict"
			return nil
		}))
		if info.Limits.PerTokenPerMin != source.StrictPerTokenPerMin || info.Token != made.Token || !info.UpdatedAt.Equal(c.at) || !info.CreatedAt.Equal(made.CreatedAt) {
			t.Errorf("info %+v", info)
		}
		version := must[int64](t)(o.Version(t.Context()))
		c.advance(time.Minute)
		info = must[store.SourceInfo](t)(o.ChangeSource(t.Context(), "bob", "acme", func(s *source.Spec) error { s.Currency = "USD"; return nil }))
		if v := must[int64](t)(o.Version(t.Context())); v != version || info.UpdatedAt.Equal(c.at) {
			t.Error("saying the default aloud counts as a change")
		}
	})

	onObjects(t, "a new token ends the old one", func(t *testing.T, o *store.Objects, _ *clock) {
		before := create(t, o, source.Spec{ID: "acme"})
		after := must[store.SourceInfo](t)(o.RotateToken(t.Context(), "ann", "acme"))
		d := directory(t, o, nil)
		if after.Token == before.Token || byToken(d, before.Token) != nil || byToken(d, after.Token) == nil {
			t.Error("the tokens did not change places")
		}
	})

	onObjects(t, "a deleted source keeps its policy and loses its token", func(t *testing.T, o *store.Objects, _ *clock) {
		info := create(t, o, source.Spec{ID: "acme", Buyer: "b1"})
		if err := o.DeleteSource(t.Context(), "ann", "acme"); err != nil {
			t.Fatal(err)
		}
		d := directory(t, o, nil)
		if s := d.ByID("acme"); s == nil || !s.Deleted || s.Policy.Buyer != "b1" || byToken(d, info.Token) != nil {
			t.Errorf("directory has %+v", s)
		}
		if list, _, err := o.ListSources(t.Context(), "", 0); err != nil || len(list) != 0 {
			t.Errorf("listed %v, %v", list, err)
		}
		for name, call := range map[string]func() error{
			"get":    func() error { _, err := o.GetSource(t.Context(), "acme"); return err },
			"change": func() error { _, err := o.ChangeSource(t.Context(), "", "acme", nil); return err },
			"token":  func() error { _, err := o.RotateToken(t.Context(), "", "acme"); return err },
			"secret": func() error { _, _, err := o.RotateSecret(t.Context(), "", "acme", 0); return err },
			"drop":   func() error { _, err := o.DropSecrets(t.Context(), "", "acme"); return err },
			"delete": func() error { return o.DeleteSource(t.Context(), "", "acme") },
		} {
			if err := call(); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})

	onObjects(t, "not found names the nearest", func(t *testing.T, o *store.Objects, _ *clock) {
		create(t, o, source.Spec{ID: "ringbuyer"})
		_, err := o.GetSource(t.Context(), "ringbyer")
		wantKind(t, err, store.ErrNotFound)
		if !strings.Contains(err.Error(), `"ringbyer"`) || !strings.Contains(err.Error(), `did you mean "ringbuyer"?`) {
			t.Error(err)
		}
	})

	onObjects(t, "pages hold every live source once, in order", func(t *testing.T, o *store.Objects, _ *clock) {
		for _, id := range []string{"e", "b", "d", "a", "c"} {
			if _, _, err := o.CreateSource(t.Context(), "ann", source.Spec{ID: id}, id != "c"); err != nil {
				t.Fatal(err)
			}
		}
		for limit := 1; limit <= 6; limit++ {
			var ids []string
			for after := ""; ; {
				page, next, err := o.ListSources(t.Context(), after, limit)
				if err != nil || len(page) > limit {
					t.Fatalf("page of %d, %v", len(page), err)
				}
				for _, s := range page {
					if ids = append(ids, s.ID); s.Secret != (s.ID != "c") {
						t.Errorf("%s: secret %v", s.ID, s.Secret)
					}
				}
				if after = next; next == "" {
					break
				}
			}
			if strings.Join(ids, "") != "abcde" {
				t.Errorf("limit %d: %v", limit, ids)
			}
		}
		for _, limit := range []int{-1, store.ListRowsMax + 1} {
			_, _, err := o.ListSources(t.Context(), "", limit)
			wantKind(t, err, store.ErrInvalid)
		}
	})
}

func TestSecrets(t *testing.T) {
	// live gives which of secrets the directory accepts, as a string of 0 and 1.
	live := func(t *testing.T, o *store.Objects, secrets ...string) string {
		t.Helper()
		s := directory(t, o, nil).ByID("acme")
		var out strings.Builder
		for _, text := range secrets {
			if slices.Contains(s.Secrets, source.HashToken([]byte(text))) {
				out.WriteByte('1')
			} else {
				out.WriteByte('0')
			}
		}
		if len(s.Secrets) > store.SecretsLiveMax {
			t.Errorf("%d live secrets", len(s.Secrets))
		}
		return out.String()
	}
	rotate := func(t *testing.T, o *store.Objects, keep time.Duration) string {
		t.Helper()
		info, secret, err := o.RotateSecret(t.Context(), "ann", "acme", keep)
		if err != nil || len(secret) != 43 || !info.Secret {
			t.Fatalf("secret of %d bytes, %+v, %v", len(secret), info, err)
		}
		return secret
	}

	onObjects(t, "rotation: two live, the old one ends", func(t *testing.T, o *store.Objects, c *clock) {
		_, one, err := o.CreateSource(t.Context(), "ann", source.Spec{ID: "acme"}, true)
		if err != nil || len(one) != 43 {
			t.Fatalf("secret of %d bytes, %v", len(one), err)
		}
		if at, ok := nextExpiry(t, o, c); ok {
			t.Fatalf("something expires at %v", at)
		}
		two := rotate(t, o, 0)
		until := c.at.Add(24 * time.Hour)
		if at, ok := nextExpiry(t, o, c); !ok || !at.Equal(until) {
			t.Errorf("next expiry %v, %v: want %v", at, ok, until)
		}
		if info := must[store.SourceInfo](t)(o.GetSource(t.Context(), "acme")); !info.SecretsUntil.Equal(until) {
			t.Errorf("secrets until %v: want %v", info.SecretsUntil, until)
		}
		if got := live(t, o, one, two); got != "11" {
			t.Errorf("live %s during the rotation", got)
		}
		c.advance(24*time.Hour - time.Microsecond)
		if got := live(t, o, one, two); got != "11" {
			t.Errorf("live %s just before the end", got)
		}
		c.advance(time.Microsecond)
		if got := live(t, o, one, two); got != "01" {
			t.Errorf("live %s at the end", got)
		}
		if _, ok := nextExpiry(t, o, c); ok {
			t.Error("an ended secret still expires")
		}
		if info := must[store.SourceInfo](t)(o.GetSource(t.Context(), "acme")); !info.Secret || !info.SecretsUntil.IsZero() {
			t.Errorf("info %+v after the end", info)
		}
	})

	onObjects(t, "a second rotation ends the oldest at once", func(t *testing.T, o *store.Objects, c *clock) {
		create(t, o, source.Spec{ID: "acme"})
		one := rotate(t, o, 0)
		two := rotate(t, o, time.Hour)
		c.advance(time.Minute)
		three := rotate(t, o, 2*time.Hour)
		if got := live(t, o, one, two, three); got != "011" {
			t.Errorf("live %s", got)
		}
		c.advance(2 * time.Hour)
		if got := live(t, o, one, two, three); got != "001" {
			t.Errorf("live %s two hours later", got)
		}
		c.advance(1000 * time.Hour)
		if got := live(t, o, three); got != "1" {
			t.Errorf("the current secret ended by itself")
		}
		four := rotate(t, o, -1)
		if got := live(t, o, one, two, three, four); got != "0001" {
			t.Errorf("live %s after a rotation that keeps none", got)
		}
		_, _, err := o.RotateSecret(t.Context(), "ann", "acme", store.SecretKeepMax+1)
		wantKind(t, err, store.ErrInvalid)
	})

	onObjects(t, "dropped", func(t *testing.T, o *store.Objects, _ *clock) {
		create(t, o, source.Spec{ID: "acme"})
		one, two := rotate(t, o, 0), rotate(t, o, 0)
		if info := must[store.SourceInfo](t)(o.DropSecrets(t.Context(), "ann", "acme")); info.Secret {
			t.Errorf("info %+v", info)
		}
		if got := live(t, o, one, two); got != "00" {
			t.Errorf("live %s", got)
		}
	})
}

func TestDirectory(t *testing.T) {
	onObjects(t, "reuses what is unchanged, carries counters over", func(t *testing.T, o *store.Objects, c *clock) {
		create(t, o, source.Spec{ID: "same", Fields: map[string][]string{"payout": {"amt"}}})
		create(t, o, source.Spec{ID: "spec"})
		create(t, o, source.Spec{ID: "token"})
		create(t, o, source.Spec{ID: "secret"})
		create(t, o, source.Spec{ID: "gone"})
		one := directory(t, o, nil)
		for i, id := range []string{"same", "spec", "token", "secret", "gone"} {
			one.ByID(id).Seen.Received.Add(int64(i + 1))
		}
		must[store.SourceInfo](t)(o.ChangeSource(t.Context(), "ann", "spec", func(s *source.Spec) error { s.Paused = true; return nil }))
		must[store.SourceInfo](t)(o.RotateToken(t.Context(), "ann", "token"))
		if _, _, err := o.RotateSecret(t.Context(), "ann", "secret", 0); err != nil {
			t.Fatal(err)
		}
		if err := o.DeleteSource(t.Context(), "ann", "gone"); err != nil {
			t.Fatal(err)
		}
		two := directory(t, o, one)
		if two.Version <= one.Version || len(two.All()) != 5 {
			t.Errorf("version %d after %d, %d sources", two.Version, one.Version, len(two.All()))
		}
		for i, id := range []string{"same", "spec", "token", "secret", "gone"} {
			a, b := one.ByID(id), two.ByID(id)
			if (a == b) != (id == "same") {
				t.Errorf("%s: same pointer %v", id, a == b)
			}
			if b.Seen.Received.Load() != int64(i+1) {
				t.Errorf("%s: received %d", id, b.Seen.Received.Load())
			}
		}
		// A secret that ends changes its source, though nothing was written.
		if _, _, err := o.RotateSecret(t.Context(), "ann", "secret", time.Hour); err != nil {
			t.Fatal(err)
		}
		three := directory(t, o, two)
		c.advance(time.Hour)
		if four := directory(t, o, three); four.ByID("secret") == three.ByID("secret") || len(four.ByID("secret").Secrets) != 1 || four.Version != three.Version {
			t.Error("the ended secret is still there")
		}
	})

	onObjects(t, "names every source that does not compile", func(t *testing.T, o *store.Objects, _ *clock) {
		create(t, o, source.Spec{ID: "fine"})
		create(t, o, source.Spec{ID: "odd-key"})
		create(t, o, source.Spec{ID: "odd-preset"})
		for id, spec := range map[string]string{"odd-key": `{"id":"odd-key","colour":1}`, "odd-preset": `{"id":"odd-preset","preset":"later"}`} {
			if _, err := o.DB.Write.Exec(`UPDATE source SET spec = $1 WHERE id = $2`, spec, id); err != nil {
				t.Fatal(err)
			}
		}
		_, err := o.Directory(t.Context(), nil)
		if err == nil || !strings.Contains(err.Error(), `"odd-key"`) || !strings.Contains(err.Error(), `"colour"`) || !strings.Contains(err.Error(), `"later"`) {
			t.Fatal(err)
		}
		// It can still be seen and mended.
		if info := must[store.SourceInfo](t)(o.GetSource(t.Context(), "odd-preset")); info.Preset != "later" {
			t.Errorf("info %+v", info)
		}
		must[store.SourceInfo](t)(o.ChangeSource(t.Context(), "ann", "odd-preset", func(s *source.Spec) error { s.Preset = ""; return nil }))
	})
}
