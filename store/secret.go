package store

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
)

// Secret is text that is not printed, logged or exported by accident: fmt, JSON,
// text encodings and slog give "***". string(s) gives the text; so do a map key
// in JSON, fmt's %p, and an unexported field that fmt cannot ask.
type Secret string

const hidden = "***"

// String gives "***".
func (Secret) String() string { return hidden }

// GoString gives "***".
func (Secret) GoString() string { return hidden }

// Format gives "***", for verbs too that would not ask for String.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, hidden) }

// MarshalJSON gives "***".
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalText gives "***".
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue gives "***".
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// secretBytes is how many random bytes a token, secret or key holds.
const secretBytes = 32

// newSecret makes a text of secretBytes random bytes that fits into a URL.
func newSecret() string {
	b := make([]byte, secretBytes)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}
