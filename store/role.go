package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
)

// history lists the tables in which a node adds rows and never touches one.
var history = []string{"posting", "transfer", "audit", "rule", "conversion_group"}

// AppRole gives an existing Postgres role what a node needs and takes from it
// everything else in this schema: it reads and adds everywhere, changes and
// deletes where nodes do, but never in what was posted or audited, and cannot
// change the schema. Migrations give it the same on the tables that they make.
// It is for the owner to call. ErrNotFound when there is no such role;
// ErrInvalid when it is one whom privileges do not bind, or on SQLite.
func (db *DB) AppRole(ctx context.Context, role string) error {
	if !db.Postgres() {
		return invalid("role %q: an SQLite store has no roles, who may write the file may do everything", role)
	}
	err := inTx(ctx, db.Write, nil, func(tx *sql.Tx) error {
		if err := bound(ctx, tx, role); err != nil {
			return err
		}
		return grant(ctx, tx, role)
	})
	if err != nil {
		return fmt.Errorf("grant role %q what a node needs: %w", role, outage(err))
	}
	return nil
}

// bound objects to a role that is not there or that owns the tables in effect,
// and to who is connected if that is not the owner.
func bound(ctx context.Context, tx *sql.Tx, role string) error {
	var owner, free bool
	err := tx.QueryRowContext(ctx, `SELECT pg_has_role(c.relowner, 'USAGE'), r.rolsuper OR pg_has_role(r.oid, c.relowner, 'MEMBER')
		FROM pg_catalog.pg_class c, pg_catalog.pg_roles r WHERE c.oid = to_regclass($1) AND r.rolname = $2`,
		goose.DefaultTablename, role).Scan(&owner, &free)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return notFound("there is no such role, or the store has no tables yet: CREATE ROLE … LOGIN PASSWORD … makes the one, tallyhook store migrate the other")
	case err != nil:
		return err
	case !owner: // Postgres would only warn that it grants nothing
		return invalid("who is connected does not own the tables: give the URL of the owner")
	case free:
		return invalid("it is a superuser or owns the tables, so privileges do not bind it: make another role for the nodes")
	}
	return nil
}

// grant makes the rights of role what they should be, all at once.
func grant(ctx context.Context, tx *sql.Tx, role string) error {
	var schema string
	if err := tx.QueryRowContext(ctx, `SELECT current_schema()`).Scan(&schema); err != nil {
		return err
	}
	tables, err := texts(ctx, tx, `SELECT relname FROM pg_catalog.pg_class
		WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') ORDER BY relname`)
	if err != nil {
		return err
	}
	in, to := pgx.Identifier{schema}.Sanitize(), pgx.Identifier{role}.Sanitize()
	statements := []string{
		`REVOKE ALL ON ALL TABLES IN SCHEMA ` + in + ` FROM ` + to,
		`REVOKE CREATE ON SCHEMA ` + in + ` FROM ` + to,
		`GRANT USAGE ON SCHEMA ` + in + ` TO ` + to,
		`GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA ` + in + ` TO ` + to,
		`GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA ` + in + ` TO ` + to,
		// Until regrant has seen a new table.
		`ALTER DEFAULT PRIVILEGES IN SCHEMA ` + in + ` GRANT SELECT, INSERT ON TABLES TO ` + to,
		`ALTER DEFAULT PRIVILEGES IN SCHEMA ` + in + ` GRANT USAGE, SELECT ON SEQUENCES TO ` + to,
	}
	for _, table := range tables {
		name := pgx.Identifier{schema, table}.Sanitize()
		switch {
		case table == goose.DefaultTablename:
			statements = append(statements, `REVOKE INSERT ON `+name+` FROM `+to)
		case !slices.Contains(history, table):
			statements = append(statements, `GRANT UPDATE, DELETE ON `+name+` TO `+to)
		}
	}
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// regrant gives every role that AppRole was called for its rights on what a
// migration has made. Such a role is one that may add to the streams.
func (db *DB) regrant(ctx context.Context) error {
	return inTx(ctx, db.Write, nil, func(tx *sql.Tx) error {
		roles, err := texts(ctx, tx, `SELECT DISTINCT r.rolname FROM pg_catalog.pg_class c, aclexplode(c.relacl) a, pg_catalog.pg_roles r
			WHERE c.oid = to_regclass('stream') AND a.privilege_type = 'INSERT' AND a.grantee = r.oid AND r.oid <> c.relowner ORDER BY 1`)
		if err != nil {
			return err
		}
		for _, role := range roles {
			if err := grant(ctx, tx, role); err != nil {
				return fmt.Errorf("grant role %q what a node needs: %w", role, err)
			}
		}
		return nil
	})
}
