//go:build !stdjson

package mapper

import (
	"io"

	json "github.com/goccy/go-json"
)

// newDecoder is the only place that calls goccy/go-json. Build with the tag
// stdjson to have encoding/json in its stead.
func newDecoder(r io.Reader) tokens {
	d := json.NewDecoder(r)
	d.UseNumber()
	return d
}
