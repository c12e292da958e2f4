package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is printed of a source as a file is that source, and names neither what
// its preset fills in nor what nobody else may know.
func TestSourceAsFile(t *testing.T) {
	s := startStand(t)
	url := s.tallyhook("source", "create", "Wall", "--preset", "pubscale", "--currency", "dollars", "--window", "48h", "--strict",
		"--field", "payout=data.amount", "--allow-ip", "10.0.0.1", "--secret="+canaryKey).ends(0).
		says("DOLLARS is no ISO code: taken as a currency of your own").field("url")
	s.tallyhook("source", "show", "wall").ends(0).says("DOLLARS is no ISO code")
	s.tallyhook("source", "show", "default").ends(0).lacks("ISO code")
	file := s.tallyhook("source", "show", "wall", "--yaml").ends(0)
	want := `sources:
  - id: wall
    name: Wall
    preset: pubscale
    fields:
      payout:
      - data.amount
    limits:
      profile: strict
    match:
      window: 48h
    currency: DOLLARS
    allow_ips:
    - 10.0.0.1
`
	if file.out != want {
		t.Errorf("as a file:\n%swant\n%s", file.out, want)
	}
	file.lacks(url[strings.LastIndex(url, "/")+1:])
	s.tallyhook("apply", "-f", callsFile(t, "wall.yaml", file.out), "--dry-run").ends(0).says("Everything is as the file says.")
	s.tallyhook("source", "show", "wall", "--yaml", "--json").ends(exitUsage)

	// A file that names less strips the rest, and says so; what the preset fills
	// in is not counted.
	less := callsFile(t, "less.yaml", "sources:\n- {id: wall, name: Wall, preset: pubscale, currency: USD, allow_ips: [10.0.0.1], daily_max: 100}\n")
	s.tallyhook("apply", "-f", less, "--dry-run").ends(0).says(`5 settings of source wall are removed because the file does not name them; "tallyhook source show wall --yaml" prints what is there`, "daily_max                 100")
	s.tallyhook("apply", "-f", less).ends(0).says("5 settings of source wall were removed", "the signature is weak").lacks("closed")
	s.tallyhook("apply", "-f", less).ends(0).lacks("removed")
	s.tallyhook("apply", "-f", callsFile(t, "bare.yaml", "sources: [{id: wall, name: Wall, currency: USD, allow_ips: [10.0.0.1]}]"), "--dry-run").ends(0).
		says("2 settings of source wall are removed") // preset and daily_max
}

func TestApplyTellsWhatIsClosed(t *testing.T) {
	s := startStand(t)
	file := callsFile(t, "new.yaml", "sources: [{id: wall, preset: pubscale}]")
	s.tallyhook("apply", "-f", file, "--dry-run").ends(0).lacks("closed")
	s.tallyhook("apply", "-f", file).ends(0).says("source  wall", "closed  every request is refused until", "tallyhook source secret wall --set @FILE", "weak    the signature is weak")
	f := func(text, want string) {
		t.Helper()
		s.tallyhook("apply", "-f", callsFile(t, "bad.yaml", text)).ends(exitFailed).complains("bad.yaml: "+want).lacks("JSON", "the body")
	}
	f("signature: {}", `unknown key "signature": it belongs to a source`)
	f("buyers: 5", "buyers is a number: want a list")
	f("[]", "the file is a array")
	f("campaigns: [{id: c, conversion: {timeout: 3}}]", `campaign "c": conversion.timeout is the number 3: want a duration such as 3s or 10m`)
	s.tallyhook("apply", "-f", callsFile(t, "c.yaml", "campaigns: [{id: c, assignments: [], conversion: {trigger: x, revenue: 25.00}}]"), "--dry-run").ends(0).says("+ campaign c")
}

func TestVerifyRequestOfOtherThings(t *testing.T) {
	s := startStand(t)
	s.tallyhook("source", "create", "Wall", "--preset", "pubscale").ends(0)
	s.tallyhook("source", "verify-request", "wall", callsFile(t, "put", "PUT /v1/postbacks/x HTTP/1.1\n\n")).ends(exitFailed).
		says("PUT is not taken: the source takes GET").complains("answered 405")
	for _, text := range []string{"hello", "", "\n", "hello world", "{}"} {
		s.tallyhook("source", "verify-request", "wall", callsFile(t, "text", text)).ends(exitUsage).complains("does not begin like an HTTP request")
	}
	s.tallyhook("source", "verify-request", "wall", callsFile(t, "query", "?user_id=u")).ends(exitFailed).complains("answered 401")
}

func TestSourceCreateRefuses(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		tallyhook(t, append([]string{"source", "create", "Wall"}, args...)...).ends(exitUsage).complains(want).lacks("secretvalue")
	}
	f("write --secret=@FILE or --secret=VALUE", "--secret", "secretvalue")
	f(`unexpected argument "of"`, "of", "fame")
	f("--identity is empty", "--identity=")
	f("--dedupe-window -5m0s: want a time above zero", "--dedupe-window=-5m")
	f("--park-for -1s", "--park-for=-1s")
	f("--tolerance -1s", "--tolerance=-1s")
	f("--window -1s", "--window=-1s")
}

// A live node is not gone round when another address was tried.
func TestFolderOfALiveNode(t *testing.T) {
	s := startStand(t)
	elsewhere := freeAddress(t)
	tallyhook(t, "source", "list", "--data", s.data, "--admin", elsewhere).ends(exitFailed).
		complains("no node answers at "+elsewhere, "runs one on the folder "+s.data, "--admin or TALLYHOOK_ADMIN")
	s.stop()
	tallyhook(t, "source", "list", "--data", s.data, "--admin", elsewhere).ends(0).complains("working on")
	lock := filepath.Join(s.data, journalFolder, "lock")
	for _, text := range []string{"1\n", "0\n", "-1\n", "999999999\n", "who\n", ""} { // process 1 runs, and has no lock here
		if err := os.WriteFile(lock, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		tallyhook(t, "source", "list", "--data", s.data, "--admin", elsewhere).ends(0)
	}
}

// lacks demands that neither output nor complaint holds any of parts.
func (o told) lacks(parts ...string) told {
	o.t.Helper()
	for _, p := range parts {
		if strings.Contains(o.out+o.err, p) {
			o.t.Errorf("it says %q:\n%s%s", p, o.out, o.err)
		}
	}
	return o
}
