package vectors

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// FileEnd is how the name of a case's file ends.
const FileEnd = ".txtar"

// ReadDir reads every NAME.txtar of a folder, in the order of their names.
// Other files are left alone; a folder without cases is an error.
func ReadDir(dir string) ([]Case, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read vectors: %w", err)
	}
	var cases []Case
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), FileEnd)
		if !ok || e.IsDir() {
			continue
		}
		if len(cases) == CasesMax {
			return nil, fmt.Errorf("%s: more than %d cases; leave out those that show nothing new", dir, CasesMax)
		}
		c, err := readFile(filepath.Join(dir, e.Name()), name)
		if err != nil {
			return nil, err
		}
		cases = append(cases, c)
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("%s: no NAME%s in it; write one, or make some of captured postbacks: tallyhook mapper vectors --help", dir, FileEnd)
	}
	return cases, nil
}

func readFile(path, name string) (Case, error) {
	f, err := os.Open(path)
	if err != nil {
		return Case{}, fmt.Errorf("read vector: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, ArchiveBytesMax+1))
	if err != nil {
		return Case{}, fmt.Errorf("read vector: %w", err)
	}
	c, err := ParseFile(name, text)
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// WriteDir writes one file per case into dir, which is made when it is not
// there. A file that is there already is an error; what was written before it
// stays.
func WriteDir(dir string, cases []Case) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write vectors: %w", err)
	}
	for i := range cases {
		path := filepath.Join(dir, cases[i].Name+FileEnd)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return fmt.Errorf("write vector: %w", err)
		}
		_, err = f.Write(cases[i].File())
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return fmt.Errorf("write vector: %w", err)
		}
	}
	return nil
}
