package clickhouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"

	driver "github.com/ClickHouse/clickhouse-go/v2"
)

// nameTables are the tables of names: where they come from, and into what
// columns they go. Every query gives the id first.
var nameTables = []struct {
	table, query string
	columns      []string
	read         func(id, text string) []string // values behind the id
}{
	{"source_names", `SELECT id, spec FROM source ORDER BY id`, []string{"id", "name", "buyer", "preset"}, sourceName},
	{"buyer_names", `SELECT id, name FROM buyer ORDER BY id`, []string{"id", "name"}, justName},
	{"publisher_names", `SELECT id, name FROM publisher ORDER BY id`, []string{"id", "name"}, justName},
	{"campaign_names", `SELECT id, name FROM campaign ORDER BY id`, []string{"id", "name"}, justName},
}

func justName(id, name string) []string {
	if name == "" {
		name = id
	}
	return []string{name}
}

// sourceName reads what a source's text says; the rest of it, which may hold
// secrets of a mapper's, is not for ClickHouse.
func sourceName(id, spec string) []string {
	var s struct{ Name, Buyer, Preset string }
	if json.Unmarshal([]byte(spec), &s) != nil || s.Name == "" {
		s.Name = id
	}
	return []string{s.Name, s.Buyer, s.Preset}
}

// shipNames sends all names when an object has changed since they were sent
// last. A version is sent whole, so sending it twice changes nothing.
func (s *Shipper) shipNames(ctx context.Context, t *term) error {
	version, err := objectsVersion(ctx, s.cfg.Read)
	if err != nil || version == t.names {
		return err
	}
	for _, n := range nameTables {
		columns, rows, err := readNames(ctx, s.cfg.Read, n.query, n.read)
		if err != nil {
			return fmt.Errorf("read names for %s: %w", n.table, err)
		}
		if rows == 0 {
			continue
		}
		if err := s.server.insertNames(ctx, n.table, n.columns, columns, rows, version); err != nil {
			return err
		}
	}
	return t.named(ctx, version)
}

// objectsVersion rises with every change of an object; 0 is a store without any.
func objectsVersion(ctx context.Context, read *sql.DB) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeMax)
	defer cancel()
	var text string
	err := read.QueryRowContext(ctx, `SELECT coalesce((SELECT value FROM meta WHERE key = 'objects_version'), '0')`).Scan(&text)
	if err != nil {
		return 0, fmt.Errorf("read the objects' version: %w", err)
	}
	version, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the objects' version: %w", err)
	}
	return version, nil
}

// readNames gives columns of texts, the id first.
func readNames(ctx context.Context, read *sql.DB, query string, values func(id, text string) []string) (columns [][]string, count int, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeMax)
	defer cancel()
	rows, err := read.QueryContext(ctx, query)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for ; rows.Next(); count++ {
		var id, text string
		if err := rows.Scan(&id, &text); err != nil {
			return nil, 0, err
		}
		line := append([]string{id}, values(id, text)...)
		if columns == nil {
			columns = make([][]string, len(line))
		}
		for i, v := range line {
			columns[i] = append(columns[i], cleanText(v, textBytesMax))
		}
	}
	return columns, count, rows.Err()
}

func (s *Server) insertNames(ctx context.Context, table string, names []string, columns [][]string, rows int, version int64) error {
	doing := "insert into " + table
	ctx, cancel := context.WithTimeout(ctx, insertTimeMax)
	defer cancel()
	list := ""
	types := make([]driver.ColumnNameAndType, 0, len(names)+1)
	for _, name := range names {
		list += name + ", "
		types = append(types, driver.ColumnNameAndType{Name: name, Type: "String"})
	}
	types = append(types, driver.ColumnNameAndType{Name: "version", Type: "UInt64"})
	ctx = driver.Context(ctx, driver.WithColumnNamesAndTypes(types), driver.WithSettings(driver.Settings{"async_insert": 0}))
	batch, err := s.conn.PrepareBatch(ctx, "INSERT INTO "+table+" ("+list+"version)")
	if err != nil {
		return s.fault(doing, err)
	}
	versions := make([]uint64, rows)
	for i := range versions {
		versions[i] = uint64(version)
	}
	for i := range types {
		var values any = versions
		if i < len(columns) {
			values = columns[i]
		}
		if err := batch.Column(i).Append(values); err != nil {
			_ = batch.Abort()
			return s.fault(doing, err)
		}
	}
	return s.fault(doing, batch.Send())
}
