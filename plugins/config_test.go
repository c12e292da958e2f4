//go:build !race

package plugins

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/mapper/wasm"
)

// In every language a mapper gets its configuration, may refuse it, and is told
// whether a postback is a test and when it came. The mapper takes the currency
// from its configuration, for requests that have none.
func TestConfig(t *testing.T) {
	for lang, code := range configured(t) {
		t.Run(lang, func(t *testing.T) {
			refused := func(config string) {
				t.Helper()
				g := openWith(t, lang, code, []byte(config))
				_, err := g.worker.Instance(context.Background(), g.program)
				if bad := (*wasm.BadModule)(nil); !errors.As(err, &bad) || bad.Code != wasm.BadConfigValue || !strings.Contains(bad.Text, "code 1") {
					t.Errorf("configuration %q: %v", config, err)
				}
			}
			refused("")
			refused("thirteen char")
			refused(strings.Repeat("x", 16<<10))

			g := openWith(t, lang, code, []byte(" EUR\n"))
			f := func(flags uint16, received int64, query, want string) {
				t.Helper()
				if got := g.tell(t, flags, received, query); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
			const late = 1<<40 + 1<<31 + 7 // more than 32 bits, the 32nd set
			f(0, 0, "", "currency=EUR status=live occurred_at=0")
			f(abi.FlagTest, late, "USD", fmt.Sprint("currency=USD status=test occurred_at=", int64(late)))
			f(abi.FlagTest|1<<15, 1767225600000, "", "currency=EUR status=test occurred_at=1767225600000")
			f(1<<1|1<<8, 1767225600000, "", "currency=EUR status=live occurred_at=1767225600000")
		})
	}
}

// tell maps a request and gives the fields of the report.
func (g *guest) tell(t *testing.T, flags uint16, received int64, currency string) string {
	t.Helper()
	i := g.instance(t)
	e := abi.Begin(i.Input(), flags, received)
	e.Pair(abi.KindQuery, "cur", currency)
	n, _ := e.End([]byte("a body that is longer than the configuration"))
	out, code, err := i.Map(context.Background(), n)
	if err != nil || out == nil {
		t.Fatalf("code %d, %v", code, err)
	}
	var all []string
	r := abi.Read(out)
	for f, ok := r.Next(); ok; f, ok = r.Next() {
		all = append(all, fmt.Sprintf("%s=%s", abi.FieldName(f.ID), f.Value))
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	return strings.Join(all, " ")
}

// configured builds the mapper with a configuration in every language.
func configured(t *testing.T) map[string][]byte {
	t.Helper()
	needToolchains(t)
	dir := t.TempDir()
	const source = "testdata/currency/currency"
	if out, err := exec.Command("./build", dir, source+".c", source+".rs", source+".ts").CombinedOutput(); err != nil {
		t.Fatalf("plugins/build: %v\n%s", err, out)
	}
	all := map[string][]byte{"go": buildGo(t, "testdata/currency/go")}
	for _, lang := range []string{"c", "rust", "as"} {
		all[lang] = read(t, filepath.Join(dir, "currency", "currency-"+lang+".wasm"))
	}
	return all
}
