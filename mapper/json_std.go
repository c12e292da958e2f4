//go:build stdjson

package mapper

import (
	"encoding/json"
	"io"
)

// newDecoder reads JSON with the standard library alone.
func newDecoder(r io.Reader) tokens {
	d := json.NewDecoder(r)
	d.UseNumber()
	return d
}
