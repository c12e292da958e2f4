package wasm

import (
	"crypto/sha256"
	"fmt"
)

// Cached reports whether the disk cache has the native code of a module whole,
// so that Load does not compile. Without a CacheDir it never has.
func (e *Engine) Cached(code []byte) (bool, error) {
	if e.disk == nil {
		return false, nil
	}
	sum := digest(sha256.Sum256(code))
	defer e.lock(sum)()
	ok, err := e.disk.whole(e.disk.note(sum))
	if err != nil {
		return false, fmt.Errorf("look into the mapper cache: %w", err)
	}
	return ok, nil
}
