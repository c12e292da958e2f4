package sink

import (
	"context"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
)

// AnalystRole is the role as which a statement runs on Postgres: it may read
// what visible lists and nothing else. AnalystSQL makes it.
const AnalystRole = "tallyhook_analyst"

// secretColumns must be hidden from AnalystRole.
var secretColumns = []string{"call.key", "source.token_hash", "source.token_sealed", "source_secret.hash", "access_key.hash", "mapper_upload.config"}

// harmlessVolatile are the functions that a statement may call although the
// database calls them volatile.
var harmlessVolatile = []string{"random", "clock_timestamp", "timeofday", "gen_random_uuid", "bernoulli", "system"}

const (
	qBeginQuery = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`
	// What the statement may take, and how its values are written.
	qQuerySettings = `SELECT set_config(name, value, true) FROM (VALUES
  ('statement_timeout', $1), ('lock_timeout', '1s'), ('idle_in_transaction_session_timeout', $1), ('max_parallel_workers_per_gather', '0'), ('jit', 'off'),
  ('standard_conforming_strings', 'on'), ('bytea_output', 'hex'), ('datestyle', 'ISO'), ('timezone', 'UTC')) AS s (name, value)`
	// Volatile functions reach beyond the statement: they change the session (its
	// role above all), run SQL out of texts, take locks, sleep, read files.
	qVolatile  = `SELECT proname FROM pg_catalog.pg_proc WHERE provolatile = 'v' AND proname = ANY($1::text[]) AND proname <> ALL($2::text[]) ORDER BY proname LIMIT 1`
	qSetRole   = `SET LOCAL ROLE ` + AnalystRole
	qSeesNames = `SELECT coalesce(string_agg(s.name, ', ' ORDER BY s.name), '') FROM unnest($1::text[]) AS s (name)
WHERE has_column_privilege(to_regclass(split_part(s.name, '.', 1)), split_part(s.name, '.', 2), 'SELECT')`
)

// AnalystSQL is what the owner of a Postgres store runs once, so that the role
// app may run statements of people as AnalystRole: three lines.
func AnalystSQL(app string) string {
	whole, parts := []string{"activity"}, []string{}
	for _, table := range slices.Sorted(maps.Keys(visible)) {
		if columns := visible[table]; columns != "" {
			parts = append(parts, fmt.Sprintf("GRANT SELECT (%s) ON %s TO %s;", columns, table, AnalystRole))
		} else {
			whole = append(whole, table)
		}
	}
	return fmt.Sprintf("CREATE ROLE %[1]s; GRANT %[1]s TO %[2]s;\nGRANT SELECT ON %[3]s TO %[1]s;\n%[4]s",
		AnalystRole, pgx.Identifier{app}.Sanitize(), strings.Join(whole, ", "), strings.Join(parts, " "))
}

// queryPostgres runs one statement as AnalystRole, on a connection that is then
// closed: nothing that the statement did to its session outlives it, and what
// the server still sends ends with it.
func (a *Activity) queryPostgres(ctx context.Context, text string, rowsMax int) (table *Table, err error) {
	names, err := checkPostgresQuery(text)
	if err != nil {
		return nil, err
	}
	conn, err := a.DB.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.Raw(func(c any) error {
		pg := c.(*stdlib.Conn).Conn()
		if err = confine(ctx, pg, names); err == nil {
			table, err = askPostgres(ctx, pg.PgConn(), text, rowsMax)
		}
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = pg.Close(closing)
		return driver.ErrBadConn
	})
	return table, queryFault(err)
}

// confine begins a transaction that only reads, within limits, as a role that
// sees no secrets; names are those that the statement uses.
func confine(ctx context.Context, conn *pgx.Conn, names []string) error {
	if _, err := conn.Exec(ctx, qBeginQuery, pgx.QueryExecModeExec); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, qQuerySettings, pgx.QueryExecModeExec, strconv.FormatInt(QueryTimeMax.Milliseconds(), 10)); err != nil {
		return err
	}
	var function, app, sees string
	err := conn.QueryRow(ctx, qVolatile, pgx.QueryExecModeExec, names, harmlessVolatile).Scan(&function)
	switch {
	case err == nil:
		return invalid("query: %s is not for queries: it can do more than read", function)
	case !errors.Is(err, pgx.ErrNoRows):
		return err
	}
	if err := conn.QueryRow(ctx, `SELECT session_user::text`, pgx.QueryExecModeExec).Scan(&app); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, qSetRole, pgx.QueryExecModeExec); err != nil {
		if fault := (*pgconn.PgError)(nil); !errors.As(err, &fault) || fault.Code != "22023" && fault.Code != "42501" {
			return err
		}
		return invalid("query: no statement may see keys and secrets, so that it runs as the role %s, which %s cannot become here. Have the database's owner run this once, or ask ClickHouse:\n%s", AnalystRole, app, AnalystSQL(app))
	}
	if err := conn.QueryRow(ctx, qSeesNames, pgx.QueryExecModeExec, secretColumns).Scan(&sees); err != nil {
		return err
	}
	if sees != "" {
		return invalid("query: the role %s can read %s, which no statement may see: take those rights from it, also those that it has from other roles", AnalystRole, sees)
	}
	return nil
}

// askPostgres sends the statement in the extended protocol, which takes one at
// a time, and reads rows as they come until there are enough.
func askPostgres(ctx context.Context, conn *pgconn.PgConn, text string, rowsMax int) (*Table, error) {
	ctx, stop := context.WithCancel(ctx)
	conn.Frontend().SetMaxBodyLen(queryValueBytes)
	answer := conn.ExecParams(ctx, text, nil, nil, nil, nil)
	defer answer.Close()
	defer stop() // first: else Close waits for all that the server would send
	t := &Table{Columns: []string{}, Rows: [][]any{}}
	fields := answer.FieldDescriptions()
	for _, f := range fields {
		t.Columns = append(t.Columns, f.Name)
	}
	for answer.NextRow() {
		row := make([]any, len(fields))
		for i, v := range answer.Values() {
			row[i] = postgresValue(v, fields[i].DataTypeOID)
		}
		if !t.add(row, rowsMax) {
			return t, nil
		}
	}
	_, err := answer.Close()
	return t, err
}

// postgresValue reads a value in text form; it owns what it gives.
func postgresValue(p []byte, oid uint32) any {
	if p == nil {
		return nil
	}
	text := string(p)
	switch oid {
	case pgtype.BoolOID:
		return text == "t"
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
		if json.Valid(p) { // not Infinity, not NaN
			return json.Number(text)
		}
	case pgtype.ByteaOID:
		if b, err := hex.DecodeString(strings.TrimPrefix(text, `\x`)); err == nil {
			return b
		}
	case pgtype.TimestamptzOID:
		if t, err := time.Parse("2006-01-02 15:04:05.999999-07", text); err == nil {
			return t.UTC().Format("2006-01-02T15:04:05.000000Z")
		}
	}
	return text
}

// queryFault tells what a person asked wrongly from what befell the server.
func queryFault(err error) error {
	if long := (*pgproto3.ExceededMaxBodyLenErr)(nil); errors.As(err, &long) {
		return invalid("query: a row of %d bytes is longer than %d: ask for parts of its columns", long.ActualBodyLen, queryValueBytes)
	}
	fault := (*pgconn.PgError)(nil)
	if !errors.As(err, &fault) {
		return err
	}
	const canceled = "57014"
	switch {
	case fault.Code == canceled:
		return tooSlow()
	case slices.Contains([]string{"08", "53", "57", "58", "XX", "F0"}, fault.Code[:min(2, len(fault.Code))]):
		return err
	case fault.Hint != "":
		return invalid("query: %s. %s", fault.Message, fault.Hint)
	}
	return invalid("query: %s", fault.Message)
}
