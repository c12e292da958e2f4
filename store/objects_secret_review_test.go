package store_test

import (
	"testing"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// A source that takes its preset's signature off asks for the secret that it was
// given afterwards, and no longer for the one of the signature.
func TestSecretOfAnUnsignedSource(t *testing.T) {
	onObjects(t, "given", func(t *testing.T, o *store.Objects, _ *clock) {
		createWith(t, o, source.Spec{ID: "wall", Preset: "pubscale"}, theSecret)
		must[store.SourceInfo](t)(o.ChangeSource(t.Context(), "ann", "wall", func(s *source.Spec) error { s.Unsigned = true; return nil }))
		if src := compiled(t, o, "wall"); src.Verifier != nil || len(src.Secrets) != 0 {
			t.Errorf("the signature's secret: %d digests", len(src.Secrets))
		}
		must[store.SourceInfo](t)(o.SetSecret(t.Context(), "ann", "wall", "shown", 0))
		if src := compiled(t, o, "wall"); len(src.Secrets) != 1 || src.Secrets[0] != source.HashToken([]byte("shown")) {
			t.Errorf("the secret that was given: %d digests", len(src.Secrets))
		}
		_, err := o.ChangeSource(t.Context(), "ann", "wall", func(s *source.Spec) error { s.Unsigned = false; return nil })
		wantKind(t, err, store.ErrInvalid) // a digest checks no signature
	})
	onObjects(t, "nothing to take off", func(t *testing.T, o *store.Objects, _ *clock) {
		createWith(t, o, source.Spec{ID: "acme"}, theSecret)
		_, err := o.ChangeSource(t.Context(), "ann", "acme", func(s *source.Spec) error { s.Unsigned = true; return nil })
		wantKind(t, err, store.ErrInvalid)
		if src := compiled(t, o, "acme"); len(src.Secrets) != 1 {
			t.Errorf("%d digests", len(src.Secrets))
		}
	})
}
