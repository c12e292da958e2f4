package store

import (
	"context"
	"database/sql"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

// Limits of a rotation.
const (
	SecretKeepDefault = 24 * time.Hour // how long the secret before lives on
	SecretKeepMax     = 31 * 24 * time.Hour
	SecretsLiveMax    = 2 // the current one and the one before
	KeyIDBytesMax     = 128
)

// RotateSecret gives a source a new secret, told this once, and keeps the one
// before good for keep: zero is SecretKeepDefault, a negative one ends it at
// once. A still older one ends now. A source without a secret asks for this
// one from now on.
func (o *Objects) RotateSecret(ctx context.Context, actor, id string, keep time.Duration) (info SourceInfo, secret string, err error) {
	return o.replaceSecret(ctx, actor, "rotate_secret", id, "", keep)
}

// SetSecret is RotateSecret with a secret that the sender has made. ErrInvalid,
// without the secret, when the source's signature wants one of another form.
func (o *Objects) SetSecret(ctx context.Context, actor, id string, given Secret, keep time.Duration) (SourceInfo, error) {
	if given == "" {
		return SourceInfo{}, invalid("secret of 0 bytes: want 1 to %d", signature.SecretBytesMax)
	}
	info, _, err := o.replaceSecret(ctx, actor, "set_secret", id, given, keep)
	return info, err
}

// replaceSecret makes a secret when none is given.
func (o *Objects) replaceSecret(ctx context.Context, actor, action, id string, given Secret, keep time.Duration) (info SourceInfo, secret string, err error) {
	if keep == 0 {
		keep = SecretKeepDefault
	}
	if keep > SecretKeepMax {
		return info, "", invalid("keep %s: at most %s", keep, SecretKeepMax)
	}
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		row, err := liveSource(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := o.endSecrets(ctx, tx, row, given, keep); err != nil {
			return err
		}
		if secret, err = o.addSecret(ctx, tx, row, given); err != nil {
			return err
		}
		info, err = o.touched(ctx, tx, actor, action, id, nil)
		return err
	})
	if err != nil {
		return SourceInfo{}, "", err
	}
	return info, secret, nil
}

// endSecrets makes room for another secret of row's source: the current one
// lives on for keep, what is older ends. What is kept of given itself as a
// digest only goes too: it becomes one that can be read.
func (o *Objects) endSecrets(ctx context.Context, tx *sql.Tx, row *sourceRow, given Secret, keep time.Duration) error {
	for i := range row.secrets {
		s := &row.secrets[i]
		if s.keyID != "" {
			continue
		}
		if s.until == 0 && given != "" && s.hash == secretDigest(o.Seal, string(given)) {
			return invalid("source %q: that is its secret already: nothing was changed", row.id)
		}
		var err error
		if s.until != 0 || keep < 0 || s.hash == hashSecret(string(given)).hash {
			_, err = tx.ExecContext(ctx, `DELETE FROM source_secret WHERE source = $1 AND hash = $2`, row.id, s.hash[:])
		} else {
			_, err = tx.ExecContext(ctx, `UPDATE source_secret SET until = $1 WHERE source = $2 AND hash = $3`, o.now().Add(keep).UnixMicro(), row.id, s.hash[:])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addSecret adds the current secret of row's source: the given one, or one that
// it makes and gives. It is sealed when it was given or when requests are
// signed with it; else its digest will do. A given one stays readable for a
// signature that is yet to be found out, but not where none is wanted.
func (o *Objects) addSecret(ctx context.Context, tx *sql.Tx, row *sourceRow, given Secret) (secret string, err error) {
	src, err := row.compileSpec()
	if err != nil {
		return "", asInvalid(err)
	}
	if given != "" {
		if err := checkGiven(src, string(given)); err != nil {
			return "", err
		}
		if src.Spec.Unsigned { // it is shown, and a sealed one is that of the signature that is not asked for
			return "", insertSecret(ctx, tx, row.id, hashSecret(string(given)))
		}
		return "", insertSecret(ctx, tx, row.id, sealSecret(o.Seal, row.id, string(given)))
	}
	if secret, err = makeSecret(src); err != nil {
		return "", err
	}
	made := hashSecret(secret)
	if src.Verifier != nil {
		made = sealSecret(o.Seal, row.id, secret)
	}
	return secret, insertSecret(ctx, tx, row.id, made)
}

func insertSecret(ctx context.Context, tx *sql.Tx, id string, s *secretRow) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO source_secret (source, hash, until, sealed, key_id) VALUES ($1, $2, $3, $4, $5)`,
		id, s.hash[:], s.until, s.sealed, s.keyID)
	return err
}

// DropSecrets ends all secrets of a source. Its public keys stay.
func (o *Objects) DropSecrets(ctx context.Context, actor, id string) (info SourceInfo, err error) {
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		if _, err := liveSource(ctx, tx, id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM source_secret WHERE source = $1 AND key_id = ''`, id); err != nil {
			return err
		}
		info, err = o.touched(ctx, tx, actor, "drop_secrets", id, nil)
		return err
	})
	return info, err
}

// AddPublicKey lets a source take what was signed with the private half of a
// key, beside its other keys. text is what the sender hands out
// (signature.ParsePublicKey); keyID is the name that its requests give it, or
// any. ErrExists when it has a key of that id, ErrInvalid when the key is not of
// the kind that its signature is checked with.
func (o *Objects) AddPublicKey(ctx context.Context, actor, id, keyID, text string) (info SourceInfo, err error) {
	if keyID == "" || len(keyID) > KeyIDBytesMax || !printable(keyID) {
		return info, invalid("key id %q: want 1 to %d bytes of printable text without blanks around it", cut(keyID), KeyIDBytesMax)
	}
	text = strings.TrimSpace(text)
	key, err := signature.ParsePublicKey(text)
	if err != nil { // which would quote what may be a secret in the wrong place
		return info, invalid("key %q: want PEM, base64 or hex of an Ed25519 or P-256 public key", keyID)
	}
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		row, err := liveSource(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := row.takesKey(keyID, key); err != nil {
			return err
		}
		if err := insertSecret(ctx, tx, id, sealKey(o.Seal, id, keyID, text)); err != nil {
			return err
		}
		info, err = o.touched(ctx, tx, actor, "add_key", id, []FieldDiff{{Field: "public_keys", New: keyID}})
		return err
	})
	return info, err
}

// DropPublicKey takes one public key from a source: what was signed with its
// private half is refused from now on. ErrNotFound when it has none of that id.
func (o *Objects) DropPublicKey(ctx context.Context, actor, id, keyID string) (info SourceInfo, err error) {
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		row, err := liveSource(ctx, tx, id)
		if err != nil {
			return err
		}
		if have := row.keyIDs(); !slices.Contains(have, keyID) {
			return notFound("source %q has no public key %q%s", id, cut(keyID), didYouMean(keyID, have))
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM source_secret WHERE source = $1 AND key_id = $2`, id, keyID); err != nil {
			return err
		}
		info, err = o.touched(ctx, tx, actor, "drop_key", id, []FieldDiff{{Field: "public_keys", Old: keyID}})
		return err
	})
	return info, err
}

// CompiledSource gives one live source as a node has it, with its secrets
// opened, or ErrNotFound.
func (o *Objects) CompiledSource(ctx context.Context, id string) (src *source.Source, err error) {
	err = o.DB.snapshot(ctx, func(tx *sql.Tx) error {
		row, err := liveSource(ctx, tx, id)
		if err != nil {
			return err
		}
		src, err = row.compile(o.Seal, o.now().UnixMicro())
		return err
	})
	return src, err
}

// secretsFit objects to a changed signature of row's source that its current
// secret cannot check.
func (o *Objects) secretsFit(row *sourceRow, next *source.Source) error {
	old, err := row.compileSpec()
	if next.Verifier == nil || err == nil && reflect.DeepEqual(old.Spec.Signature, next.Spec.Signature) || !checksOf(next.Spec.Signature).secret {
		return nil
	}
	for i := range row.secrets {
		s := &row.secrets[i]
		if s.keyID != "" || s.until != 0 {
			continue
		}
		if s.sealed == nil {
			return invalid("source %q: only a digest of its secret is kept, which cannot check a signature: set the sender's secret again (\"tallyhook source secret %s --set @FILE\", or POST /api/v1/sources/%s/secrets), then change the signature",
				row.id, row.id, row.id)
		}
		text, err := s.open(o.Seal, row.id)
		if err != nil {
			return err
		}
		if err := checkGiven(next, string(text)); err != nil {
			return invalid("source %q: its secret does not fit the changed signature: %s; drop the secret, change the signature, then set the sender's", row.id, err)
		}
	}
	return nil
}

// touched ends a change of a source that does not touch its spec.
func (o *Objects) touched(ctx context.Context, tx *sql.Tx, actor, action, id string, diff []FieldDiff) (SourceInfo, error) {
	_, err := tx.ExecContext(ctx, `UPDATE source SET updated_at = $1 WHERE id = $2`, o.now().UnixMicro(), id)
	if err != nil {
		return SourceInfo{}, err
	}
	if err := o.audited(ctx, tx, actor, action, "source/"+id, diff); err != nil {
		return SourceInfo{}, err
	}
	return o.infoAfter(ctx, tx, id)
}
