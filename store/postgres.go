package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// Connections to Postgres. One node takes at most PoolConnsMax + ReadPoolConnsMax
// + 1 (Listen) of them; pool_max_conns in the URL replaces both numbers.
const (
	PoolConnsMax     = 6
	ReadPoolConnsMax = 8

	connectTimeout = 5 * time.Second
	pingTimeout    = 2 * time.Second
	// deadPeerTimeout is how long sent bytes may stay without an answer from the
	// other machine before the connection is given up, on either side: the
	// server then frees what a vanished node has locked.
	deadPeerTimeout = 10 * time.Second
)

// What each session is told, whatever the URL says. Times are milliseconds.
//
// Behind PgBouncer in transaction mode these have to stand in its
// ignore_startup_parameters and be set for the role (ALTER ROLE … SET) instead,
// the URL needs default_query_exec_mode=exec, and migrations and Listen, which
// hold a session, want the server's own address.
var (
	everySession = map[string]string{
		"tcp_user_timeout": strconv.FormatInt(deadPeerTimeout.Milliseconds(), 10),
	}
	// A commit must survive a power cut of the server. A node that stops amid a
	// transaction frees its locks.
	writeSession = map[string]string{
		"synchronous_commit":                  "on",
		"default_transaction_read_only":       "off",
		"idle_in_transaction_session_timeout": "10000",
	}
	readSession = map[string]string{
		"default_transaction_read_only":       "on",
		"statement_timeout":                   "30000",
		"idle_in_transaction_session_timeout": "60000",
	}
)

func dialPostgres(url string, readOnly bool) (*DB, error) {
	read, err := postgresConfig(url, readSession, ReadPoolConnsMax)
	if err != nil {
		return nil, err
	}
	db := &DB{where: "postgres://" + hosts(read), readOnly: readOnly}
	if db.readPool, err = pgxpool.NewWithConfig(context.Background(), read); err != nil {
		return nil, fmt.Errorf("open store %s: %w", db.where, err)
	}
	db.Read = db.openPool(db.readPool)
	if readOnly {
		db.Pool, db.Write = db.readPool, db.Read
		return db, nil
	}
	write, err := postgresConfig(url, writeSession, PoolConnsMax)
	if err == nil {
		db.Pool, err = pgxpool.NewWithConfig(context.Background(), write)
	}
	if err != nil {
		db.readPool.Close()
		return nil, fmt.Errorf("open store %s: %w", db.where, err)
	}
	db.Write = db.openPool(db.Pool)
	return db, nil
}

// postgresConfig reads url. Its errors quote nothing of it: what a parser
// cannot read, it cannot redact either.
func postgresConfig(url string, session map[string]string, connsMax int32) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("store postgres://…: this URL cannot be read: want postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…, with %XX for special characters of the password")
	}
	if !strings.Contains(url, "pool_max_conns=") {
		config.MaxConns = connsMax
	}
	config.PingTimeout = pingTimeout
	c := config.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	c.DialFunc = (&net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: deadPeerTimeout / 2, Interval: deadPeerTimeout / 4, Count: 2},
		Control:         giveUpDeadPeer,
	}).DialContext
	// A standby reads what is not yet or no longer so, and cannot write.
	if c.ValidateConnect != nil || strings.Contains(hosts(config), ",") {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "tallyhook"
	}
	for _, settings := range []map[string]string{everySession, session} {
		for name, value := range settings {
			c.RuntimeParams[name] = value
		}
	}
	return config, nil
}

// hosts lists the servers of a URL, HOST:PORT,…
func hosts(config *pgxpool.Config) string {
	c := config.ConnConfig
	list := []string{net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))}
	for _, f := range c.Fallbacks {
		if h := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port))); !slices.Contains(list, h) {
			list = append(list, h)
		}
	}
	return strings.Join(list, ",")
}

// openPool gives database/sql's view of a pool, which keeps the idle
// connections itself.
func (db *DB) openPool(pool *pgxpool.Pool) *sql.DB {
	view := sql.OpenDB(connector{stdlib.GetPoolConnector(pool), db})
	view.SetMaxIdleConns(0)
	return view
}

// connector explains why there is no connection.
type connector struct {
	driver.Connector
	db *DB
}

// Connect is that of the pool's connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	return conn, c.db.Explain(err)
}

// postgresTables counts the tables of the schema in use, and those of goose
// among them.
func postgresTables(ctx context.Context, tx *sql.Tx) (tables, ours int, err error) {
	err = tx.QueryRowContext(ctx, `SELECT count(*), count(*) FILTER (WHERE relname = $1) FROM pg_catalog.pg_class
		WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')`, goose.DefaultTablename).Scan(&tables, &ours)
	return tables, ours, err
}

// mayMigrate tells who may not change the schema what to do. A node usually
// runs as a role that may not (AppRole).
func (db *DB) mayMigrate(ctx context.Context, have, newest int64) error {
	var may bool
	err := db.Write.QueryRowContext(ctx, `SELECT coalesce(
		(SELECT pg_has_role(relowner, 'USAGE') FROM pg_catalog.pg_class WHERE oid = to_regclass($1)),
		has_schema_privilege(current_schema(), 'CREATE'), false)`, goose.DefaultTablename).Scan(&may)
	switch {
	case err != nil:
		return err
	case may:
		return nil
	case have < 0:
		return errors.New("no tables are there for this role, and it may not make them: run tallyhook store migrate as the owner, then tallyhook store grant for this role")
	}
	return fmt.Errorf("its schema has version %d, this build wants %d and this role may not change it: run tallyhook store migrate as the owner", have, newest)
}

// notGranted tells a role that may not read the store what to do.
func notGranted(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "42501" {
		return fmt.Errorf("%w: run tallyhook store grant for this role as the owner", err)
	}
	return err
}
