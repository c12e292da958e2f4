//go:build !linux && !darwin

package journal

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func dataSync(f *osFile) error { return f.File.Sync() }

// lockFile refuses: two writers in one folder would destroy it, and there is
// no lock here that ends with its process.
func lockFile(*os.File) error {
	return fmt.Errorf("journal: file locks on %s are %w; run the node on linux or darwin", runtime.GOOS, errors.ErrUnsupported)
}

func freeBytes(string) (int64, error) { return 0, errors.ErrUnsupported }

func noSpace(error) bool { return false }
