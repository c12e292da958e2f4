package server

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// The ClickHouse engine as a library: the version that the tests were written
// for, and what the registry said of its archive.
const (
	enginePackage   = "@chdb/lib-linux-x64-gnu"
	engineVersion   = "26.5.3"
	engineIntegrity = "sha512-fPrLmRt5Moor9yGz4mazbrNje4t7X9KB2mTGkXFWRxRBs2iKy8yh6jx11xsa0Qr3iDFMU/yHqd+bVdYJXu3QaQ=="
	engineFile      = "libchdb.so"
	engineBytesMax  = 1 << 30   // of the library; it has 560 MB
	archiveBytesMax = 512 << 20 // of the archive; it has 167 MB
	publicRegistry  = "https://registry.npmjs.org"
)

// enginePath is where the library lies once it has been checked.
func enginePath() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir() // no HOME
	}
	cache, err = filepath.Abs(cache)
	return filepath.Join(cache, "tallyhook-services", "chdb-"+engineVersion, engineFile), err
}

func lookEngine() string {
	path, err := enginePath()
	if err != nil {
		return ""
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
}

// installEngine takes the library out of the npm package, by npm where there
// is one, since that knows the registries and proxies of its user. The library
// gets its name only when the archive's sum is right.
func installEngine(ctx context.Context) error {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return fmt.Errorf("the engine is a library for linux on amd64, this is %s on %s", runtime.GOOS, runtime.GOARCH)
	}
	path, err := enginePath()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(dir, "download-")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "fetching the ClickHouse engine, 160 MB, into %s\n", dir)
	err = fetchEngine(ctx, tmp)
	if err == nil {
		err = os.Rename(filepath.Join(tmp, engineFile), path)
	}
	return errors.Join(err, os.RemoveAll(tmp))
}

func fetchEngine(ctx context.Context, dir string) error {
	archive, err := openArchive(ctx, dir)
	if err != nil {
		return err
	}
	defer archive.Close()
	sum := sha512.New()
	if err := unpack(io.TeeReader(io.LimitReader(archive, archiveBytesMax), sum), filepath.Join(dir, engineFile)); err != nil {
		return fmt.Errorf("unpack %s %s: %w", enginePackage, engineVersion, err)
	}
	return checkIntegrity(sum)
}

func checkIntegrity(sum hash.Hash) error {
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != engineIntegrity {
		return fmt.Errorf("the archive of %s %s has the sum %s, not %s: the registry served something else", enginePackage, engineVersion, got, engineIntegrity)
	}
	return nil
}

// openArchive gives the package's .tgz, through npm or straight from the registry.
func openArchive(ctx context.Context, dir string) (io.ReadCloser, error) {
	if npm, err := exec.LookPath("npm"); err == nil {
		cmd := exec.CommandContext(ctx, npm, "pack", "--silent", enginePackage+"@"+engineVersion)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("npm pack %s@%s: %w\n%s", enginePackage, engineVersion, err, out)
		}
		found, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
		if err != nil || len(found) != 1 {
			return nil, fmt.Errorf("npm pack left %d archives in %s: %w", len(found), dir, err)
		}
		return os.Open(found[0])
	}
	name := enginePackage[strings.LastIndexByte(enginePackage, '/')+1:]
	address := fmt.Sprintf("%s/%s/-/%s-%s.tgz", registry(), enginePackage, name, engineVersion)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", address, err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("fetch %s: %s", address, res.Status), res.Body.Close())
	}
	return res.Body, nil
}

// registry is the one that npm's variables name, else the public one.
func registry() string {
	for _, name := range []string{"npm_config_registry", "NPM_CONFIG_REGISTRY"} {
		if named := os.Getenv(name); named != "" {
			return strings.TrimRight(named, "/")
		}
	}
	return publicRegistry
}

// unpack writes the library to path and reads the archive to its end, because
// its sum is over all of it.
func unpack(archive io.Reader, path string) error {
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return err
	}
	files := tar.NewReader(unzipped)
	for {
		file, err := files.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("it has no file package/%s", engineFile)
		}
		if err != nil {
			return err
		}
		if file.Name == "package/"+engineFile {
			break
		}
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(files, engineBytesMax))
	if err == nil && n == engineBytesMax {
		err = fmt.Errorf("%s has more than %d bytes", engineFile, engineBytesMax)
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, unzipped); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, archive)
	return err
}
