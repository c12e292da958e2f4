package clickhouse_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/sink/clickhouse"
)

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	f := func(url, want string) {
		t.Helper()
		s, err := clickhouse.Open(url)
		if err == nil {
			s.Close()
			t.Errorf("%s is taken", url)
			return
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, want %q in it", url, err, want)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", url, err)
		}
	}
	f("", "want clickhouse://")
	f("mysql://u:secret@h/db", "want clickhouse://")
	f("clickhouse://", "names no host")
	f("clickhouse:///db", "names no host")
	f("http://u:secret@h:port/db", "cannot be read")
	f("clickhouse://u:sec/ret@h:9000/db", "cannot be read")
	f("clickhouse://h:9000/db?dial_timeout=soon", "cannot be read")
	f("http://h:8123/db?secure=true&password=secret", "cannot be read")
}

func TestHost(t *testing.T) {
	t.Parallel()
	f := func(url, want string) {
		t.Helper()
		s, err := clickhouse.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got := s.Host(); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
	f("clickhouse://u:secret@h:9000/db?secure=true", "h:9000/db")
	f("clickhouse://a:9000,b:9000/db", "a:9000,b:9000/db")
	f("http://u:secret@h:8123", "h:8123/default")
	f("https://u:secret@h:8443/db", "h:8443/db")
}

// Faults of a server that cannot be reached, or not with these credentials,
// name neither user nor password.
func TestFaultsShowNoSecret(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://u:secret@127.0.0.1:1/db", "clickhouse://u:secret@127.0.0.1:1/db?password=secret2", "https://u:secret@127.0.0.1:1/db"} {
		err := open(t, url).Ping(t.Context())
		var fault *clickhouse.Fault
		if !errors.As(err, &fault) || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "127.0.0.1:1/db") {
			t.Errorf("%v", err)
		}
	}
}

// Migrating twice changes nothing, and what is inserted is what the tables
// have.
func TestMigrate(t *testing.T) {
	t.Parallel()
	s := open(t, services.ClickHouse(t))
	f := func(keep int, wantTTL string) string {
		t.Helper()
		origin, err := s.Migrate(t.Context(), "store-1", keep)
		if err != nil {
			t.Fatal(err)
		}
		got := table(t, s, `SELECT extract(create_table_query, ' TTL (.*) SETTINGS') FROM system.tables WHERE database = currentDatabase() AND name LIKE 'activity_%' AND engine LIKE 'Replacing%' ORDER BY name`)
		if got != wantTTL+"\n"+wantTTL {
			t.Errorf("keep %d days: TTL is %q", keep, got)
		}
		return origin
	}
	first := f(0, "")
	if again := f(0, ""); again != first || len(first) < 20 {
		t.Errorf("origin %q, then %q", first, again)
	}
	f(400, "toDateTime(received_at) + toIntervalDay(400)")
	f(40, "toDateTime(received_at) + toIntervalDay(40)")
	f(0, "")
	if got := table(t, s, `SELECT count(), max(version) FROM schema_versions`); got != "4 | 4" {
		t.Errorf("versions: %s", got)
	}
	for _, name := range []string{"activity_log", "activity_interim"} {
		if got := table(t, s, `SELECT arrayStringConcat(groupArray(name || ' ' || type), ', ') FROM (SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = '`+name+`' ORDER BY position)`); got != clickhouse.SentColumns() {
			t.Errorf("%s has\n%s\nand is sent\n%s", name, got, clickhouse.SentColumns())
		}
	}
	if _, err := s.Migrate(t.Context(), "store-1", -1); err == nil {
		t.Error("-1 days are taken")
	}
	if err := clickhouse.Exec(t.Context(), s, `INSERT INTO schema_versions SELECT 99, 'later', now64(6)`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Migrate(t.Context(), "store-1", 0); err == nil || !strings.Contains(err.Error(), "newer build") {
		t.Errorf("a newer schema: %v", err)
	}
}

// Rows past their time go, the others stay.
func TestKeepDays(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	now := time.Now()
	w.tell(verdict{at: now.AddDate(0, 0, -100)}, verdict{at: now.AddDate(0, 0, -20)}, verdict{at: now})
	cfg := w.config()
	cfg.KeepDays = 30
	s := open(t, services.ClickHouse(t))
	sh, _ := run(t, s, cfg)
	w.shipped(sh)
	if err := clickhouse.Exec(t.Context(), s, `OPTIMIZE TABLE activity_log FINAL`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the old row", func() bool { return table(t, s, `SELECT count() FROM activity`) == "2" })
}

// Names are there soon after they were given, and follow changes.
func TestNames(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	version := func(n int) {
		w.exec(`INSERT INTO meta (key, value) VALUES ('objects_version', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, fmt.Sprint(n))
	}
	w.exec(`INSERT INTO source (id, spec, token_hash, token_sealed, created_at, updated_at) VALUES ('s1', '{"id":"s1","name":"Source One","buyer":"b1","preset":"ringba","fields":{"x":["secret-field"]}}', x'01', x'02', 1, 1), ('s2', 'not json', x'03', x'02', 1, 1)`)
	w.exec(`INSERT INTO buyer (id, name) VALUES ('b1', 'Buyer "One" ' || char(0) || 'x'), ('b2', '')`)
	w.exec(`INSERT INTO campaign (id, name) VALUES ('c1', 'Camp')`)
	version(3)
	w.tell(verdict{source: "s1"})
	s := open(t, services.ClickHouse(t))
	sh, _ := run(t, s, w.config())
	w.shipped(sh)
	f := func(query, want string) {
		t.Helper()
		if got := table(t, s, query); got != want {
			t.Errorf("%s gave %q, want %q", query, got, want)
		}
	}
	f(`SELECT id, name, buyer, preset FROM source_names FINAL ORDER BY id`, "s1 | Source One | b1 | ringba\ns2 | s2 |  | ")
	f(`SELECT id, name FROM buyer_names FINAL ORDER BY id`, "b1 | Buyer \"One\" \ufffdx\nb2 | b2")
	f(`SELECT count() FROM publisher_names`, "0")
	f(`SELECT id, name FROM campaign_names`, "c1 | Camp")
	w.exec(`UPDATE campaign SET name = 'Campaign'`)
	w.exec(`DELETE FROM buyer WHERE id = 'b2'`)
	version(4)
	eventually(t, "the new name", func() bool { return table(t, s, `SELECT name FROM campaign_names FINAL`) == "Campaign" })
	f(`SELECT count() FROM buyer_names FINAL`, "2")
	if got := w.number(`SELECT names FROM shipping`); got != 4 {
		t.Errorf("names of version %d are marked", got)
	}
}
