package clickhouse

import (
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// KeepDaysDefault is how long ClickHouse keeps an event, counted from its
// receipt.
const KeepDaysDefault = 400

// logTables are the tables that hold verdicts.
var logTables = []string{tableLog, tableInterim}

const (
	tableLog     = "activity_log"
	tableInterim = "activity_interim"
)

// migration is one file. ClickHouse has no transactions around DDL, so every
// statement bears being run again after a crash in its midst.
type migration struct {
	version    int
	name       string
	statements []string
}

// Migrate brings the schema up to this build's, sets how many days events are
// kept (0 is for ever), and gives the origin: the id of this database, made
// with it. store is the id of the primary store: a database that holds another
// one's activity is refused, for their event ids would collide. One process
// calls it at a time.
func (s *Server) Migrate(ctx context.Context, store string, keepDays int) (origin string, err error) {
	if keepDays < 0 {
		return "", fmt.Errorf("keep activity for %d days: want 0, for ever, or more", keepDays)
	}
	if err := s.migrate(ctx, migrations()); err != nil {
		return "", err
	}
	if origin, err = s.claim(ctx, store); err != nil {
		return "", err
	}
	for _, table := range logTables {
		if err := s.keep(ctx, table, keepDays); err != nil {
			return "", err
		}
	}
	return origin, nil
}

func (s *Server) migrate(ctx context.Context, list []migration) error {
	const doing = "migrate the schema"
	err := s.exec(ctx, doing, `CREATE TABLE IF NOT EXISTS schema_versions (version UInt32, name String, applied_at DateTime64(6, 'UTC')) ENGINE = MergeTree ORDER BY version`)
	if err != nil {
		return err
	}
	var have uint32
	if err := s.row(ctx, doing, `SELECT max(version) FROM schema_versions`, &have); err != nil {
		return err
	}
	if newest := list[len(list)-1].version; int(have) > newest {
		return fmt.Errorf("clickhouse %s: its schema has version %d and this build knows up to %d: it belongs to a newer build, use that one", s.host, have, newest)
	}
	for _, m := range list {
		if m.version <= int(have) {
			continue
		}
		for _, text := range m.statements {
			if err := s.exec(ctx, doing+" to "+m.name, text); err != nil {
				return err
			}
		}
		done := fmt.Sprintf(`INSERT INTO schema_versions SELECT %d, '%s', now64(6, 'UTC')`, m.version, m.name)
		if err := s.exec(ctx, doing+" to "+m.name, done); err != nil {
			return err
		}
	}
	return nil
}

// migrations reads the embedded files in order of their numbers.
func migrations() []migration {
	files, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil || len(files) == 0 {
		panic(fmt.Sprintf("bug: no migrations are embedded: %v", err))
	}
	slices.Sort(files)
	list := make([]migration, 0, len(files))
	for _, file := range files {
		text, err := fs.ReadFile(migrationFiles, file)
		if err != nil {
			panic("bug: " + err.Error())
		}
		name := strings.TrimSuffix(path.Base(file), ".sql")
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			panic("bug: a migration without a number: " + file)
		}
		list = append(list, migration{version: version, name: name, statements: statements(string(text))})
	}
	return list
}

// statements splits a file where a line ends in a semicolon.
func statements(text string) (list []string) {
	for _, part := range strings.Split(text, ";\n") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// claim makes the database that of store, or finds that it is already.
func (s *Server) claim(ctx context.Context, store string) (origin string, err error) {
	const doing = "find out whose activity it holds"
	var rows uint64
	var owner string
	read := func() error {
		return s.row(ctx, doing, `SELECT count(), argMin(store, made_at), argMin(origin, made_at) FROM activity_origin`, &rows, &owner, &origin)
	}
	if err := read(); err != nil {
		return "", err
	}
	if rows == 0 {
		text := fmt.Sprintf(`INSERT INTO activity_origin SELECT %s, '%s', fromUnixTimestamp64Micro(toInt64(%d), 'UTC')`, quote(store), rand.Text(), time.Now().UnixMicro())
		if err := s.exec(ctx, doing, text); err != nil {
			return "", err
		}
		if err := read(); err != nil {
			return "", err
		}
	}
	if owner != store {
		return "", fmt.Errorf("clickhouse %s: the database holds the activity of store %s, and this is store %s: give every store a database of its own", s.host, owner, store)
	}
	return origin, nil
}

// keep sets how many days a table keeps its rows, if it is not so already.
func (s *Server) keep(ctx context.Context, table string, days int) error {
	const doing = "set how long activity is kept"
	var create string
	if err := s.row(ctx, doing, `SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = `+quote(table), &create); err != nil {
		return err
	}
	is := strings.Contains(create, " TTL ")
	switch {
	case days == 0 && is:
		return s.exec(ctx, doing, "ALTER TABLE "+table+" REMOVE TTL")
	case days > 0 && !strings.Contains(create, fmt.Sprintf("toIntervalDay(%d)", days)):
		return s.exec(ctx, doing, fmt.Sprintf("ALTER TABLE %s MODIFY TTL toDateTime(received_at) + toIntervalDay(%d)", table, days))
	}
	return nil
}

var quoting = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

// quote makes text a literal of ClickHouse's SQL.
func quote(text string) string { return "'" + quoting.Replace(text) + "'" }
