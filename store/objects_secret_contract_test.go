package store_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
	"github.com/tallyhook/tallyhook/store"
)

const theSecret = store.Secret("pub-scale canary secret")

func signed(id, algorithm, encoding string) source.Spec {
	s := signature.Spec{Algorithm: algorithm, Input: "body", SecretEncoding: encoding, Signature: signature.Place{In: "header:x-signature"}}
	if algorithm == "secret" {
		s = signature.Spec{Algorithm: algorithm, Signature: signature.Place{In: encoding}}
	}
	return source.Spec{ID: id, Signature: &s}
}

func createWith(t *testing.T, o *store.Objects, spec source.Spec, given store.Secret) store.SourceInfo {
	t.Helper()
	return must[store.SourceInfo](t)(o.CreateSourceWithSecret(t.Context(), "ann", spec, given))
}

// compiled gives a source of the directory in force, which must be what the API
// compiles too.
func compiled(t *testing.T, o *store.Objects, id string) *source.Source {
	t.Helper()
	src := directory(t, o, nil).ByID(id)
	one := must[*source.Source](t)(o.CompiledSource(t.Context(), id))
	if !reflect.DeepEqual(one.Signing, src.Signing) || !reflect.DeepEqual(one.Secrets, src.Secrets) || one.TokenHash != src.TokenHash {
		t.Errorf("the source alone is %+v: in the directory it is %+v", one.Signing, src.Signing)
	}
	return src
}

// signs wants exactly these secrets to be live for signatures.
func signs(t *testing.T, o *store.Objects, id, current, previous string, until time.Time) {
	t.Helper()
	src := compiled(t, o, id)
	if src.Signing == nil || src.Secrets != nil {
		t.Fatalf("signing %v, %d digests", src.Signing != nil, len(src.Secrets))
	}
	if s := src.Signing; string(s.Current) != current || string(s.Previous) != previous || !s.PreviousUntil.Equal(until) {
		t.Errorf("current %q, previous %q until %v: want %q, %q, %v", s.Current, s.Previous, s.PreviousUntil, current, previous, until)
	}
}

func TestSigningSecrets(t *testing.T) {
	onObjects(t, "given, set anew, both live, the old one ends", func(t *testing.T, o *store.Objects, c *clock) {
		info := createWith(t, o, signed("acme", "hmac-sha256", ""), theSecret)
		if !info.Secret || info.AwaitsSecret {
			t.Errorf("info %+v", info)
		}
		signs(t, o, "acme", string(theSecret), "", time.Time{})
		info = must[store.SourceInfo](t)(o.SetSecret(t.Context(), "ann", "acme", "second", time.Hour))
		until := c.at.Add(time.Hour)
		if !info.SecretsUntil.Equal(until) {
			t.Errorf("until %v: want %v", info.SecretsUntil, until)
		}
		signs(t, o, "acme", "second", string(theSecret), until)
		if at, ok := nextExpiry(t, o, c); !ok || !at.Equal(until) {
			t.Errorf("next expiry %v, %v", at, ok)
		}
		_, err := o.SetSecret(t.Context(), "ann", "acme", "second", time.Hour)
		wantKind(t, err, store.ErrInvalid)
		// Back to the one before, which then is no other one.
		must[store.SourceInfo](t)(o.SetSecret(t.Context(), "ann", "acme", theSecret, time.Hour))
		signs(t, o, "acme", string(theSecret), "second", until)
		c.advance(time.Hour)
		signs(t, o, "acme", string(theSecret), "", time.Time{})
		must[store.SourceInfo](t)(o.SetSecret(t.Context(), "ann", "acme", "third", -1))
		signs(t, o, "acme", "third", "", time.Time{})
		if info = must[store.SourceInfo](t)(o.DropSecrets(t.Context(), "ann", "acme")); info.Secret || !info.AwaitsSecret {
			t.Errorf("info %+v", info)
		}
		signs(t, o, "acme", "", "", time.Time{})
	})

	onObjects(t, "generated in the form that the signature wants", func(t *testing.T, o *store.Objects, _ *clock) {
		for i, spec := range []source.Spec{
			signed("", "hmac-sha256", ""), signed("", "hmac-sha1", "hex"), signed("", "hmac-sha256", "base64"), signed("", "hmac-sha256", "whsec"),
			signed("", "secret", "bearer"), signed("", "secret", "basic"),
		} {
			spec.ID = fmt.Sprint("s", i)
			info := create(t, o, spec)
			if !info.AwaitsSecret {
				t.Errorf("%s takes unsigned requests", spec.ID)
			}
			info, secret, err := o.RotateSecret(t.Context(), "ann", spec.ID, 0)
			if err != nil || len(secret) < 43 || info.AwaitsSecret {
				t.Fatalf("secret of %d bytes, %v", len(secret), err)
			}
			signs(t, o, spec.ID, secret, "", time.Time{})
			if err := compiled(t, o, spec.ID).Verifier.CheckSecret([]byte(secret)); err != nil {
				t.Error(err)
			}
		}
		_, secret, err := o.CreateSource(t.Context(), "ann", signed("made", "hmac-sha256", "hex"), true)
		if err != nil || len(secret) != 64 {
			t.Fatalf("secret of %d bytes, %v", len(secret), err)
		}
		signs(t, o, "made", secret, "", time.Time{})
	})

	onObjects(t, "a form that does not fit is refused and not told", func(t *testing.T, o *store.Objects, _ *clock) {
		f := func(err error, given store.Secret, want string) {
			t.Helper()
			wantKind(t, err, store.ErrInvalid)
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), string(given)) {
				t.Errorf("error %v: want one with %q and without the secret", err, want)
			}
		}
		for i, c := range []struct {
			spec source.Spec
			text store.Secret
			want string
		}{
			{signed("", "hmac-sha256", "hex"), "not-hexadecimal", "hex"},
			{signed("", "hmac-sha256", "whsec"), "not*base*64", "whsec"},
			{signed("", "secret", "basic"), "password-alone", "USER:PASSWORD"},
			{signed("", "hmac-sha256", ""), " blank-before", "blank"},
			{signed("", "hmac-sha256", ""), "line-end\n", "line end"},
			{signed("", "hmac-sha256", ""), "a\x00zero", "control"},
			{source.Spec{}, store.Secret(strings.Repeat("long", 300)), "1200 bytes"},
			{signed("", "ed25519", ""), "a-secret", "public keys"},
		} {
			c.spec.ID = fmt.Sprint("f", i)
			_, err := o.CreateSourceWithSecret(t.Context(), "ann", c.spec, c.text)
			f(err, c.text, c.want)
			create(t, o, c.spec) // what was refused has left nothing
			_, err = o.SetSecret(t.Context(), "ann", c.spec.ID, c.text, 0)
			f(err, c.text, c.want)
		}
		create(t, o, source.Spec{ID: "acme"})
		_, err := o.SetSecret(t.Context(), "ann", "acme", "", 0)
		wantKind(t, err, store.ErrInvalid)
	})

	onObjects(t, "a given secret without a signature is shown in the header", func(t *testing.T, o *store.Objects, _ *clock) {
		createWith(t, o, source.Spec{ID: "acme"}, theSecret)
		src := compiled(t, o, "acme")
		if src.Signing != nil || len(src.Secrets) != 1 || src.Secrets[0] != source.HashToken([]byte(theSecret)) {
			t.Fatalf("signing %v, digests %x", src.Signing != nil, src.Secrets)
		}
		// Since it can be read, a signature may be asked for later.
		must[store.SourceInfo](t)(o.ChangeSource(t.Context(), "ann", "acme", func(s *source.Spec) error {
			s.Signature = signed("", "hmac-sha256", "").Signature
			return nil
		}))
		signs(t, o, "acme", string(theSecret), "", time.Time{})
	})

	onObjects(t, "a digest cannot check signatures", func(t *testing.T, o *store.Objects, c *clock) {
		_, secret, err := o.CreateSource(t.Context(), "ann", source.Spec{ID: "acme"}, true)
		if err != nil {
			t.Fatal(err)
		}
		sign := func(s *source.Spec) error { s.Signature = signed("", "hmac-sha256", "").Signature; return nil }
		_, err = o.ChangeSource(t.Context(), "ann", "acme", sign)
		wantKind(t, err, store.ErrInvalid)
		if !strings.Contains(err.Error(), "set the sender's secret again") {
			t.Error(err)
		}
		n := &store.Network{Sources: []source.Spec{{ID: "acme"}}}
		sign(&n.Sources[0])
		for _, dryRun := range []bool{true, false} {
			_, err = o.Apply(t.Context(), "ann", n, dryRun)
			wantKind(t, err, store.ErrInvalid)
		}
		// The same secret, given, becomes one that can be read: not a second one.
		info := must[store.SourceInfo](t)(o.SetSecret(t.Context(), "ann", "acme", store.Secret(secret), 0))
		if !info.SecretsUntil.IsZero() {
			t.Errorf("it counts twice, until %v", info.SecretsUntil)
		}
		must[[]store.Change](t)(o.Apply(t.Context(), "ann", n, false))
		signs(t, o, "acme", secret, "", time.Time{})
		_, err = o.ChangeSource(t.Context(), "ann", "acme", func(s *source.Spec) error { s.Signature.SecretEncoding = "hex"; return nil })
		wantKind(t, err, store.ErrInvalid)
		if strings.Contains(err.Error(), secret) {
			t.Errorf("error %v holds the secret", err)
		}
	})

	onObjects(t, "optional until there is a secret", func(t *testing.T, o *store.Objects, _ *clock) {
		spec := signed("acme", "hmac-sha256", "")
		spec.SignatureOptional = true
		if info := create(t, o, spec); info.AwaitsSecret {
			t.Error("it refuses what it shall take")
		}
		signs(t, o, "acme", "", "", time.Time{})
	})
}

// handedOut gives a key of each kind as senders write it.
func handedOut(t *testing.T) (ed, ec string) {
	t.Helper()
	edKey, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must[[]byte](t)(x509.MarshalPKIXPublicKey(&ecKey.PublicKey))
	return base64.StdEncoding.EncodeToString(edKey), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestPublicKeys(t *testing.T) {
	onObjects(t, "several at once, of the signature's kind, each dropped by itself", func(t *testing.T, o *store.Objects, c *clock) {
		ed, ec := handedOut(t)
		other, _ := handedOut(t)
		if info := create(t, o, signed("acme", "ed25519", "")); !info.AwaitsSecret {
			t.Error("it takes unsigned requests")
		}
		add := func(id, text string) error {
			_, err := o.AddPublicKey(t.Context(), "ann", "acme", id, text)
			return err
		}
		if err := errors.Join(add("k1", ed), add("k2", other+"\n")); err != nil {
			t.Fatal(err)
		}
		wantKind(t, add("k1", other), store.ErrExists)
		for id, text := range map[string]string{"": ed, " k3": ed, strings.Repeat("k", store.KeyIDBytesMax+1): ed, "ec": ec, "none": "no key"} {
			wantKind(t, add(id, text), store.ErrInvalid)
		}
		info := must[store.SourceInfo](t)(o.GetSource(t.Context(), "acme"))
		if fmt.Sprint(info.PublicKeys) != "[k1 k2]" || info.Secret || info.AwaitsSecret {
			t.Errorf("info %+v", info)
		}
		src := compiled(t, o, "acme")
		if len(src.Signing.Keys) != 2 || !reflect.DeepEqual(src.Signing.Keys["k1"], must[signature.PublicKey](t)(signature.ParsePublicKey(ed))) || src.Secrets != nil {
			t.Errorf("keys %v", src.Signing.Keys)
		}
		// A rotation of secrets, which there are none of, leaves keys alone.
		_, _, err := o.RotateSecret(t.Context(), "ann", "acme", 0)
		wantKind(t, err, store.ErrInvalid)
		must[store.SourceInfo](t)(o.DropSecrets(t.Context(), "ann", "acme"))
		_, err = o.DropPublicKey(t.Context(), "ann", "acme", "k3")
		wantKind(t, err, store.ErrNotFound)
		info = must[store.SourceInfo](t)(o.DropPublicKey(t.Context(), "ann", "acme", "k1"))
		if fmt.Sprint(info.PublicKeys) != "[k2]" || len(compiled(t, o, "acme").Signing.Keys) != 1 {
			t.Errorf("info %+v", info)
		}
		for i := range signature.KeysMax - 1 {
			if err := add(fmt.Sprint("more", i), ed); err != nil {
				t.Fatal(err)
			}
		}
		wantKind(t, add("one-too-many", ed), store.ErrInvalid)
		create(t, o, signed("curve", "ecdsa-p256", ""))
		if info := must[store.SourceInfo](t)(o.AddPublicKey(t.Context(), "ann", "curve", "ec", ec)); info.AwaitsSecret {
			t.Errorf("info %+v", info)
		}
	})
}

func TestSealedSecretsAtRest(t *testing.T) {
	promise(t, "neither database, audit nor disk hold them, and they come back", func(t *testing.T, url string) {
		o, c := openObjects(t, url)
		ed, _ := handedOut(t)
		createWith(t, o, signed("acme", "hmac-sha256", ""), theSecret)
		must[store.SourceInfo](t)(o.SetSecret(t.Context(), "ann", "acme", theSecret+"2", time.Hour))
		create(t, o, signed("keyed", "ed25519", ""))
		must[store.SourceInfo](t)(o.AddPublicKey(t.Context(), "ann", "keyed", "k1", ed))
		createWith(t, o, source.Spec{ID: "shown"}, theSecret)

		rows := must[[]store.AuditRow](t)(func() ([]store.AuditRow, error) { l, _, err := o.ListAudit(t.Context(), "", 0); return l, err }())
		var actions []string
		for _, r := range rows {
			actions = append(actions, r.Action)
		}
		if fmt.Sprint(actions) != "[create add_key create set_secret create]" {
			t.Errorf("audit %v", actions)
		}
		if strings.Contains(fmt.Sprintf("%+v", rows), string(theSecret)) {
			t.Error("the audit holds the secret")
		}
		var stored bytes.Buffer
		secrets, err := o.DB.Read.Query(`SELECT hash, sealed FROM source_secret`)
		if err != nil {
			t.Fatal(err)
		}
		defer secrets.Close()
		for secrets.Next() {
			var hash, sealed []byte
			if err := secrets.Scan(&hash, &sealed); err != nil {
				t.Fatal(err)
			}
			if plain := source.HashToken([]byte(theSecret)); sealed == nil || bytes.Equal(hash, plain[:]) {
				t.Error("a given secret is kept as something that can be guessed")
			}
			stored.Write(sealed)
		}
		path := saved(t, o)
		stored.Write(must[[]byte](t)(os.ReadFile(path)))
		for _, leak := range []string{string(theSecret), ed} {
			if bytes.Contains(stored.Bytes(), []byte(leak)) {
				t.Errorf("%q lies open", leak)
			}
		}

		// A node starts from its disk while the store is away.
		s := must[*store.Snapshot](t)(away(t, url, sealKey).LoadSnapshot(path))
		d := must[*source.Directory](t)(s.Directory(c.at, nil))
		sameDirectory(t, d, directory(t, o, nil))
		if got := d.ByID("acme").Signing; string(got.Current) != string(theSecret)+"2" || string(got.Previous) != string(theSecret) {
			t.Errorf("signing %q, %q", got.Current, got.Previous)
		}

		// Deleted ones are gone.
		if err := o.DeleteSource(t.Context(), "ann", "acme"); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := o.DB.Read.QueryRow(`SELECT count(*) FROM source_secret WHERE source = 'acme'`).Scan(&left); err != nil || left != 0 {
			t.Errorf("%d secrets of a deleted source, %v", left, err)
		}
	})

	promise(t, "a wrong key and moved bytes are met", func(t *testing.T, url string) {
		o, c := openObjects(t, url)
		createWith(t, o, signed("acme", "hmac-sha256", ""), theSecret)
		createWith(t, o, signed("other", "hmac-sha256", ""), "another secret")
		wrong := &store.Objects{DB: o.DB, Seal: must[*store.Seal](t)(store.NewSeal([]byte("another key of thirty-two bytes!"))), Now: c.now}
		_, err := wrong.Directory(t.Context(), nil)
		wantKind(t, err, store.ErrWrongKey)
		if _, err := o.DB.Write.Exec(`UPDATE source_secret SET sealed = (SELECT sealed FROM source_secret WHERE source = 'other') WHERE source = 'acme'`); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Directory(t.Context(), nil); err == nil || !strings.Contains(err.Error(), `"acme"`) || strings.Contains(err.Error(), "another secret") {
			t.Errorf("error %v: want one that names the source", err)
		}
	})
}

func TestDirectoryNoticesSecrets(t *testing.T) {
	onObjects(t, "an unchanged one is the same pointer, a changed one is not", func(t *testing.T, o *store.Objects, c *clock) {
		ed, _ := handedOut(t)
		createWith(t, o, signed("acme", "hmac-sha256", ""), theSecret)
		create(t, o, signed("keyed", "ed25519", ""))
		last := directory(t, o, nil)
		f := func(what, id string, changed bool) {
			t.Helper()
			next := directory(t, o, last)
			if (next.ByID(id) != last.ByID(id)) != changed {
				t.Errorf("%s: changed %v", what, !changed)
			}
			last = next
		}
		f("nothing", "acme", false)
		must[store.SourceInfo](t)(o.SetSecret(t.Context(), "ann", "acme", "second", time.Hour))
		f("a set secret", "acme", true)
		f("nothing", "acme", false)
		c.advance(time.Hour)
		f("the end of the one before", "acme", true)
		must[store.SourceInfo](t)(o.DropSecrets(t.Context(), "ann", "acme"))
		f("dropped secrets", "acme", true)
		must[store.SourceInfo](t)(o.AddPublicKey(t.Context(), "ann", "keyed", "k1", ed))
		f("an added key", "keyed", true)
		f("nothing", "keyed", false)
		must[store.SourceInfo](t)(o.DropPublicKey(t.Context(), "ann", "keyed", "k1"))
		f("a dropped key", "keyed", true)
	})

	promise(t, "digests from before the migration stay good", func(t *testing.T, url string) {
		version := int64(7)
		if strings.HasPrefix(url, "postgres") {
			version = 6
		}
		atVersion(t, url, version)
		hash := source.HashToken([]byte("old secret"))
		o, _ := func() (*store.Objects, *clock) {
			edit(t, url, fmt.Sprintf(`INSERT INTO source (id, spec, token_hash, token_sealed, created_at, updated_at) VALUES ('acme', '{"id":"acme"}', %[1]s, %[1]s, 1, 1)`, blob(url, hash[:])))
			edit(t, url, fmt.Sprintf(`INSERT INTO source_secret (source, hash, until) VALUES ('acme', %s, 0)`, blob(url, hash[:])))
			return openObjects(t, url)
		}()
		if src := directory(t, o, nil).ByID("acme"); len(src.Secrets) != 1 || src.Secrets[0] != hash || src.Signing != nil {
			t.Errorf("source %+v", src)
		}
	})
}

// blob writes bytes as a literal of the database at url.
func blob(url string, p []byte) string {
	if strings.HasPrefix(url, "postgres") {
		return fmt.Sprintf(`'\x%x'::bytea`, p)
	}
	return fmt.Sprintf(`x'%x'`, p)
}
