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
	cmd := exec.CommandContext(t.Context(), "bash", "-eu", "-c", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"+script.String())
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
	for _, want := range []string{`"value":"60.00"`, "The books hold", `booked +2`} {
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
