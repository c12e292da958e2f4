package mapper

import (
	"testing"
	"time"
)

func TestReadDuration(t *testing.T) {
	f := func(notation, text string, want int32) {
		t.Helper()
		if got, ok := readDuration(text, notation); !ok || got != want {
			t.Errorf("%q as %q: %d %v, want %d", text, notation, got, ok, want)
		}
	}
	bad := func(notation, text string) {
		t.Helper()
		if got, ok := readDuration(text, notation); ok {
			t.Errorf("%q as %q: %d, want it refused", text, notation, got)
		}
	}
	f("", "90", 90)
	f("seconds", " 90 ", 90)
	f("", "90.0", 90)
	f("", "0", 0)
	f("", "604800", 604800)
	for _, s := range []string{"-1", "90.5", "90.", ".0", "1:30", "9e1", "1,000", "604801", "99999999999999999999", "+90", "0x5A", "NaN", "90s", "٩٠"} {
		bad("", s)
	}
	f("ms", "90000", 90)
	f("ms", "89500", 90)
	f("ms", "89499", 89)
	f("ms", "499", 0)
	f("ms", "604800000.000", 604800)
	bad("ms", "604800500")
	bad("ms", "-90000")
	bad("ms", "1:30")
	f("mm:ss", "1:30", 90)
	f("mm:ss", "01:30", 90)
	f("mm:ss", "90:00", 5400)
	f("mm:ss", "1:01:30", 3690)
	f("mm:ss", "168:00:00", 604800)
	for _, s := range []string{"90", "1:5", "1:60", "1:005", ":30", "1:", "1:60:00", "1:5:00", "1:1:1:00", "-1:30", "168:00:01", "10081:00", "a:30"} {
		bad("mm:ss", s)
	}
}

func TestReadTime(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	f := func(text string, zone *time.Location, want string) {
		t.Helper()
		got, ok := readTime(text, zone)
		if at := time.UnixMicro(got).UTC().Format(time.RFC3339Nano); !ok || at != want {
			t.Errorf("%q: %s %v, want %s", text, at, ok, want)
		}
	}
	f("2026-01-02T03:04:05Z", nil, "2026-01-02T03:04:05Z")
	f(" 2026-01-02T03:04:05.5Z ", nil, "2026-01-02T03:04:05.5Z")
	f("2026-01-02T03:04:05.123456789Z", nil, "2026-01-02T03:04:05.123456Z")
	f("2026-01-02T03:04:05+02:00", nil, "2026-01-02T01:04:05Z")
	f("2026-01-02 03:04:05-05:30", nil, "2026-01-02T08:34:05Z")
	f("2024-02-29T00:00:00Z", nil, "2024-02-29T00:00:00Z")
	f("2000-01-01T00:00:00.25Z", nil, "2000-01-01T00:00:00.25Z")
	f("2026-01-02 03:04:05", newYork, "2026-01-02T08:04:05Z")
	f("2026-07-02T03:04:05", newYork, "2026-07-02T07:04:05Z")
	f("1767323045", nil, "2026-01-02T03:04:05Z")
	f("1767323045678", nil, "2026-01-02T03:04:05.678Z")
	for _, s := range []string{"2026-01-02 03:04:05", "2026-01-02", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
		"2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00+2:00",
		"2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.1234567890Z", "2026-01-01T00:00:00Zx",
		"176732304", "17673230456", "1767323045.5", "-1767323045", "01/02/2026", "now",
		// Beyond what may be meant, some of it beyond what RFC 3339 can say again.
		"1960-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00", "2100-01-01T00:00:00Z", "0946684799", "9999999999", "9999999999999"} {
		if got, ok := readTime(s, nil); ok {
			t.Errorf("%q: %v, want it refused", s, time.UnixMicro(got).UTC())
		}
	}
}

// What time.Parse reads of RFC 3339, readTime reads the same.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-01-02T03:04:05Z", "2026-01-02T03:04:05.999999999+23:59", "0000-01-01T00:00:00Z", "2024-02-29T00:00:00-00:01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := readTime(s, nil)
		want, err := time.Parse(time.RFC3339, s)
		if err == nil && ok && got != want.UnixMicro() {
			t.Errorf("%q: %d, time.Parse has %d", s, got, want.UnixMicro())
		}
		if len(s) == len("2006-01-02T15:04:05Z") && err == nil && !ok && want.Year() >= 2000 && want.Year() < 2100 {
			t.Errorf("%q: refused, time.Parse reads it", s)
		}
	})
}
