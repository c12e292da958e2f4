package admission

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A child does not write into the cache folder itself but into a new folder in
// there, which has the same form. So a killed child leaves nothing that could
// be taken for whole, and a refused module leaves nothing at all. The engine
// takes a folder of that name for a compile that is under way and removes it
// when it is an hour old: so much for a node that was killed meanwhile.
const stagePattern = "build-admission-"

// sums is the part of a cache folder that vouches for the others.
const sums = "sums"

// stage makes the folder for one child.
func stage(cacheDir string) (string, error) {
	if cacheDir != "" {
		if err := os.MkdirAll(cacheDir, 0o700); err != nil {
			return "", fmt.Errorf("make the cache folder: %w", err)
		}
		abs, err := filepath.Abs(cacheDir)
		if err != nil {
			return "", fmt.Errorf("find the cache folder: %w", err)
		}
		cacheDir = abs
	}
	folder, err := os.MkdirTemp(cacheDir, stagePattern)
	if err != nil {
		return "", fmt.Errorf("make a folder to compile in: %w", err)
	}
	return folder, nil
}

// publish moves what a child left in folder to the same places under cacheDir:
// what vouches for a file comes after it, so that no crash between the two
// leaves a promise that nobody kept.
func publish(folder, cacheDir string) error {
	var code, notes []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(folder, path)
		if strings.HasPrefix(rel, sums+string(filepath.Separator)) {
			notes = append(notes, rel)
		} else {
			code = append(code, rel)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("keep the compiled module: %w", err)
	}
	for _, rel := range append(code, notes...) {
		to := filepath.Join(cacheDir, rel)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return fmt.Errorf("keep the compiled module: %w", err)
		}
		if err := os.Rename(filepath.Join(folder, rel), to); err != nil {
			return fmt.Errorf("keep the compiled module: %w", err)
		}
	}
	return nil
}
