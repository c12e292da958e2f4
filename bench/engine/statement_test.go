//go:build linux

package engine

import (
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	f := func(text, first, name, data, rest string) {
		t.Helper()
		s := cut([]byte(text))
		if string(s.text) != first || s.name != name || string(s.data) != data || string(s.rest) != rest {
			t.Errorf("%q: %q, format %q, data %q, rest %q; want %q, %q, %q, %q", text, s.text, s.name, s.data, s.rest, first, name, data, rest)
		}
	}
	f("", "", "", "", "")
	f("SELECT 1", "SELECT 1", "", "", "")
	f("SELECT 1;", "SELECT 1", "", "", "")
	f("SELECT 1; -- done\n /* really */ ;", "SELECT 1", "", "", "")
	f("SELECT 1; SELECT 2", "SELECT 1", "", "", "SELECT 2")
	f("SELECT ';', \"a;\", `b;`, 'it''s;', '\\';' -- ;\n, 2 /* ; */", "SELECT ';', \"a;\", `b;`, 'it''s;', '\\';' -- ;\n, 2 /* ; */", "", "", "")
	f("SELECT 1 FORMAT JSON", "SELECT 1 FORMAT JSON", "", "", "")
	f("INSERT INTO t FORMAT Native\n\n;\x00", "INSERT INTO t FORMAT Native", "Native", "\n;\x00", "")
	f("insert into t (a, b) settings c = 1 format CSV\r\n1,2\n", "insert into t (a, b) settings c = 1 format CSV", "CSV", "1,2\n", "")
	f("INSERT INTO t (format, a) VALUES (1, 'x FORMAT CSV')", "INSERT INTO t (format, a) VALUES (1, 'x FORMAT CSV')", "", "", "")
	f("INSERT INTO my_format CSV", "INSERT INTO my_format CSV", "", "", "")
	f("INSERT INTO t VALUES (1); DROP TABLE t", "INSERT INTO t VALUES (1)", "", "", "DROP TABLE t")
	f("SELECT 'open", "SELECT 'open", "", "", "")
	f("SELECT /* open", "SELECT /* open", "", "", "")
}

func TestFromFileStandsBeforeSettingsAndFormat(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := string(cut([]byte(text)).fromFile("/a'b")); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	f("INSERT INTO t FORMAT Native\nx", `INSERT INTO t  FROM INFILE '/a\'b' COMPRESSION 'none' FORMAT Native`)
	f("INSERT INTO t (a) SETTINGS b = 1 FORMAT CSV\nx", `INSERT INTO t (a)  FROM INFILE '/a\'b' COMPRESSION 'none' SETTINGS b = 1 FORMAT CSV`)
}

func TestWithoutSync(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := string(withoutSync([]byte(text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	f("DROP TABLE t SYNC", "DROP TABLE t")
	f("drop database if exists d no delay\n", "drop database if exists d")
	f("DROP TABLE sync", "DROP TABLE sync")
	f("SELECT 1 AS SYNC", "SELECT 1 AS SYNC")
}

func FuzzCut(f *testing.F) {
	for _, seed := range []string{"SELECT 1; SELECT 2", "INSERT INTO t (a) SETTINGS b = 'c' FORMAT Native\n\x00;\n\n", "SELECT 'a\\", "/*", "--"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := cut(text)
		if !strings.HasPrefix(string(text), string(s.text)) || !strings.HasSuffix(string(text), string(s.data)) || !strings.HasSuffix(string(text), string(s.rest)) {
			t.Fatalf("%q is not made of its parts %q, %q, %q", text, s.text, s.data, s.rest)
		}
		if s.settings > s.format || s.format > len(s.text) {
			t.Fatalf("%q: settings at %d, format at %d, of %d", text, s.settings, s.format, len(s.text))
		}
		s.fromFile("/f")
	})
}
