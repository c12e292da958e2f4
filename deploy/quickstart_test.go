package deploy

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/bench/services"
)

var quickstartBlock = regexp.MustCompile("(?s)```sh quickstart\n(.*?)```")

// patient makes a sleep of whole seconds last until both nodes have nothing left
// to decide and to ship: for a person, who looks again, a second is enough.
const patient = `
sleep() {
  command sleep "$1"
  case $1 in 0.*) return ;; esac
  for _ in $(seq 300); do
    if settled "$A_ADMIN" && settled "$B_ADMIN"; then return; fi
    command sleep 0.2
  done
  echo "a node is not done after a minute" >&2
  return 1
}
settled() {
  status=$(curl -fsS -H "Authorization: Bearer $(cat "$RUN"/a/admin.key)" "http://$1/api/v1/status") || return 1
  grep -q '"lag_records":0,' <<<"$status" && grep -q '"lag_rows":0,' <<<"$status"
}
`

// TestQuickStart plays the quick start of docs/operations.md, word by word, on
// real servers: two nodes, a killed one, books that hold, a query.
func TestQuickStart(t *testing.T) {
	doc, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, block := range quickstartBlock.FindAllStringSubmatch(string(doc), -1) {
		script.WriteString(block[1])
	}
	run := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "bash", "-eu", "-c", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"+patient+script.String())
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "RUN="+run, "A="+freeAddr(t), "A_ADMIN="+freeAddr(t), "B="+freeAddr(t), "B_ADMIN="+freeAddr(t),
		"POSTGRES_URL="+services.Postgres(t), "REDIS_URL="+services.Redis(t).URL, "CLICKHOUSE_URL="+services.ClickHouse(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		logs, _ := filepath.Glob(filepath.Join(run, "*.log"))
		for _, name := range logs {
			text, _ := os.ReadFile(name)
			t.Logf("%s\n%s", filepath.Base(name), text)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`network:revenue .*60\.00`, "The books hold", `booked +2`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("it does not print %s:\n%s", want, out)
		}
	}
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
