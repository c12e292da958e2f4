package store_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// newRole makes a role with a name that needs quotes, and gives it and the URL
// with which it connects. The role goes away with the test.
func newRole(t *testing.T, at string) (role, url string) {
	t.Helper()
	role = "Nodes of " + strings.ToLower(rand.Text())
	edit(t, at, fmt.Sprintf(`CREATE ROLE "%s" LOGIN PASSWORD 'hunter2'`, role))
	t.Cleanup(func() {
		for _, statement := range []string{`GRANT "%s" TO CURRENT_USER`, `DROP OWNED BY "%s"`, `DROP ROLE "%s"`} {
			edit(t, at, fmt.Sprintf(statement, role))
		}
	})
	return role, as(t, at, role, "hunter2", "")
}

// denied wants err to be the refusal of a privilege, or of a trigger, that
// says want.
func denied(t *testing.T, what string, err error, want string) {
	t.Helper()
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "42501" || !strings.Contains(refused.Message, want) {
		t.Errorf("%s: error %v: want %q", what, err, want)
	}
}

func TestHistoryStays(t *testing.T) {
	at := services.Postgres(t)
	role, url := newRole(t, at)
	owner := open(t, at)
	if err := owner.AppRole(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	node := open(t, url)
	for _, table := range []string{"posting", "transfer"} {
		for _, statement := range []string{`UPDATE ` + table + ` SET currency = ''`, `DELETE FROM ` + table, `TRUNCATE ` + table} {
			_, err := node.Write.Exec(statement)
			denied(t, statement+" by a node", err, "permission denied")
			_, err = owner.Write.Exec(statement)
			denied(t, statement+" by the owner", err, table+" is never changed")
		}
	}
	for _, statement := range []string{
		`UPDATE audit SET actor = ''`, `DELETE FROM audit`, `UPDATE rule SET payout = ''`, `TRUNCATE verdict`, `DROP TABLE verdict`,
		`ALTER TABLE posting DISABLE TRIGGER ALL`, `CREATE TABLE mine (id bigint)`,
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9001, true)`, `DELETE FROM goose_db_version`,
	} {
		if _, err := node.Write.Exec(statement); err == nil {
			t.Errorf("a node may %s", statement)
		}
	}

	// What was given by hand is taken again.
	edit(t, at, fmt.Sprintf(`GRANT UPDATE ON posting TO "%s"`, role))
	if _, err := node.Write.Exec(`UPDATE posting SET currency = ''`); err == nil || strings.Contains(err.Error(), "permission denied") {
		t.Errorf("with the privilege: %v", err)
	}
	if err := owner.AppRole(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	_, err := node.Write.Exec(`UPDATE posting SET currency = ''`)
	denied(t, "update after the second grant", err, "permission denied")
}

func TestNodeAsAppRole(t *testing.T) {
	at := services.Postgres(t)
	role, url := newRole(t, at)
	refuses(t, store.Open, url, "tallyhook store migrate as the owner")

	atVersion(t, at, 1)
	err := refuses(t, store.Open, url, "tallyhook store grant")
	if strings.Contains(err.Error(), role) {
		t.Errorf("error %v tells the role", err)
	}
	old := must[*store.DB](t)(store.Dial(at))
	defer old.Close()
	if err := old.AppRole(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	refuses(t, store.Open, url, "version 1", "tallyhook store migrate as the owner")

	open(t, at) // migrates, and gives the role its rights on the new tables
	o, _ := openObjects(t, url)
	if _, _, err := o.CreateSource(t.Context(), "ann", source.Spec{ID: "acme"}, true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.RotateSecret(t.Context(), "ann", "acme", -1); err != nil {
		t.Fatal(err)
	}
	adminKey(t, o, "console")
	if err := o.DeleteKey(t.Context(), "ann", 1); err != nil {
		t.Fatal(err)
	}
	if err := o.DeleteSource(t.Context(), "ann", "acme"); err != nil {
		t.Fatal(err)
	}
	must[uint32](t)(o.DB.NewStream(t.Context(), "node", time.Now()))
	for _, statement := range []string{
		`UPDATE stream SET seen_at = 1, watermark = 1, writer = 'w', next_seq = next_seq`,
		`INSERT INTO posting VALUES (1, 1, 1, 0, 1, 'call', 's', 1, 'USD', 1, 1, 1, 1, 0)`, `INSERT INTO account (kind, owner, currency) VALUES ('a', '', 'USD')`,
		`UPDATE balance SET debits = 1`, `DELETE FROM parked`, `DELETE FROM verdict`, `SELECT * FROM activity`, `CREATE TEMP TABLE lookup (key bytea)`,
	} {
		if _, err := o.DB.Write.Exec(statement); err != nil {
			t.Errorf("a node may not %s: %v", statement, err)
		}
	}
	wantKind(t, o.DB.AppRole(t.Context(), role), store.ErrInvalid) // for the owner only
}

func TestAppRoleRefusals(t *testing.T) {
	at := services.Postgres(t)
	role, _ := newRole(t, at)
	empty := must[*store.DB](t)(store.Dial(at))
	defer empty.Close()
	wantKind(t, empty.AppRole(t.Context(), role), store.ErrNotFound)
	db := open(t, at)
	wantKind(t, db.AppRole(t.Context(), "nobody here"), store.ErrNotFound)
	var self string
	if err := db.Read.QueryRow(`SELECT current_user`).Scan(&self); err != nil {
		t.Fatal(err)
	}
	wantKind(t, db.AppRole(t.Context(), self), store.ErrInvalid)
	wantKind(t, open(t, backends["sqlite"](t)).AppRole(t.Context(), role), store.ErrInvalid)
}
