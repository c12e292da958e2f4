package sink

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
)

// AccountRow is what an account holds in one currency. Balance is what it was
// credited less what was taken back.
type AccountRow struct {
	Account  string       `json:"account"` // as the source names it, for example user:alice
	Currency string       `json:"currency"`
	Credits  event.Amount `json:"credits"`
	Debits   event.Amount `json:"debits"`
	Balance  event.Amount `json:"balance"`
}

// StatementRow is one line of an account.
type StatementRow struct {
	Posting       int64        `json:"posting"`
	Line          int          `json:"line"`
	Event         string       `json:"event"`
	Source        string       `json:"source"`
	Cause         string       `json:"cause"`          // conversion, reversal or adjustment
	TransactionID *string      `json:"transaction_id"` // as the sender reported it; null when retention dropped it
	Amount        event.Amount `json:"amount"`         // below zero when it was taken back
	Currency      string       `json:"currency"`
	Balance       event.Amount `json:"balance"` // in that currency, after this line
	ReceivedAt    Instant      `json:"received_at"`
}

// Statement is an account: what it holds, and a page of what made it so, the
// newest line first.
type Statement struct {
	Account  string         `json:"account"`
	Balances []AccountRow   `json:"balances"` // one for each currency
	Rows     []StatementRow `json:"rows"`
	Next     string         `json:"next"`
}

// byName is the columns of account a by which accounts are listed. Postgres
// orders texts as the database was told to, unless it is told otherwise.
func byName(db *sql.DB) (owner, currency string) {
	if onPostgres(db) {
		return `a.owner COLLATE "C"`, `a.currency COLLATE "C"`
	}
	return "a.owner", "a.currency"
}

// Accounts lists, by name, the accounts whose names begin with prefix, in
// currency or, when that is "", in any.
func (b *Books) Accounts(ctx context.Context, prefix, currency, after string, limit int) (list []AccountRow, next string, err error) {
	if limit, err = rowLimit(limit); err != nil {
		return nil, "", err
	}
	var last int64
	if err := parseCursor(after, "accounts", &last); err != nil {
		return nil, "", err
	}
	for name, text := range map[string]string{"prefix": prefix, "currency": currency} {
		if err := isText(name, text); err != nil {
			return nil, "", err
		}
	}
	owner, in := byName(b.DB)
	query, args := `SELECT a.id, a.owner, a.currency, coalesce(b.debits, 0), coalesce(b.credits, 0)
FROM account a LEFT JOIN balance b ON b.account = a.id WHERE a.kind = 'account'`, []any{}
	narrow := func(condition string, values ...any) {
		for i := range values {
			values[i], args = fmt.Sprintf("$%d", len(args)+1), append(args, values[i])
		}
		query += " AND " + fmt.Sprintf(condition, values...)
	}
	if prefix != "" {
		narrow(owner+" >= %s", prefix)
	}
	if end := behindPrefix(prefix); end != "" {
		narrow(owner+" < %s", end)
	}
	if currency != "" {
		narrow("a.currency = %s", currency)
	}
	err = lookUp(ctx, b.DB, func(tx *sql.Tx) error {
		if last != 0 {
			var name, code string
			err := tx.QueryRowContext(ctx, `SELECT owner, currency FROM account WHERE id = $1`, last).Scan(&name, &code)
			if errors.Is(err, sql.ErrNoRows) {
				return badCursor(after)
			}
			if err != nil {
				return err
			}
			narrow("("+owner+", "+in+") > (%s, %s)", name, code)
		}
		args = append(args, limit+1)
		query += fmt.Sprintf(" ORDER BY %s, %s LIMIT $%d", owner, in, len(args))
		return eachRow(ctx, tx, query, func(rows *sql.Rows) error {
			if len(list) == limit {
				next = cursorOf("accounts", last)
				return nil
			}
			var r AccountRow
			err := rows.Scan(&last, &r.Account, &r.Currency, &r.Debits, &r.Credits)
			r.Balance = r.Credits - r.Debits
			list = append(list, r)
			return err
		}, args...)
	})
	switch {
	case errors.Is(err, ErrInvalid):
		return nil, "", err
	case err != nil:
		return nil, "", fmt.Errorf("list accounts: %w", err)
	}
	return list, next, nil
}

// behindPrefix gives the first text behind all that begin with prefix, in the
// order of bytes; "" when there is none. prefix is valid UTF-8, and so is the
// answer: its last rune is the next one.
func behindPrefix(prefix string) string {
	for prefix != "" {
		r, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case r == 0xd7ff: // surrogates are no text
			return prefix + "\ue000"
		case r < utf8.MaxRune:
			return prefix + string(r+1)
		}
	}
	return ""
}

// statementSQL reads a page of the lines of account $1 behind posting $2, line
// $3. They are found by the calls that stand for its transactions; what the
// account held is the sum of all lines up to one.
const statementSQL = `SELECT s.no, s.line, s.stream, s.seq, s.n, s.source, s.cause, s.received_at, s.currency, s.amount, s.balance,
  coalesce((SELECT v.report FROM verdict v WHERE v.stream = s.stream AND v.seq = s.seq AND v.n = s.n ORDER BY v.revision DESC LIMIT 1), '')
FROM (
  SELECT l.*, CAST(sum(l.amount) OVER (PARTITION BY l.account ORDER BY l.no, l.line ROWS UNBOUNDED PRECEDING) AS BIGINT) AS balance FROM (
    SELECT p.no, t.line, p.stream, p.seq, p.n, p.source, p.cause, p.received_at, t.currency, a.id AS account,
      CASE WHEN t.credit_account = a.id THEN t.amount ELSE -t.amount END AS amount
    FROM call c JOIN posting p ON p.call = c.no JOIN transfer t ON t.posting = p.no
    JOIN account a ON a.kind = 'account' AND a.owner = c.target AND a.currency = t.currency AND a.id IN (t.credit_account, t.debit_account)
    WHERE c.target = $1) AS l
) AS s WHERE s.no < $2 OR (s.no = $2 AND s.line < $3) ORDER BY s.no DESC, s.line DESC LIMIT $4`

// Statement gives an account with a page of its lines. ErrNotFound when there
// is no such account.
func (b *Books) Statement(ctx context.Context, name, after string, limit int) (s *Statement, err error) {
	if limit, err = rowLimit(limit); err != nil {
		return nil, err
	}
	posting, line := int64(1<<62), int64(0)
	if err := parseCursor(after, "statement", &posting, &line); err != nil {
		return nil, err
	}
	if err := isText("account", name); err != nil {
		return nil, err
	}
	s = &Statement{Account: name, Balances: []AccountRow{}, Rows: []StatementRow{}}
	err = lookUp(ctx, b.DB, func(tx *sql.Tx) error {
		err := eachRow(ctx, tx, `SELECT a.owner, a.currency, coalesce(b.debits, 0), coalesce(b.credits, 0)
FROM account a LEFT JOIN balance b ON b.account = a.id WHERE a.kind = 'account' AND a.owner = $1 ORDER BY a.id`, func(rows *sql.Rows) error {
			var r AccountRow
			err := rows.Scan(&r.Account, &r.Currency, &r.Debits, &r.Credits)
			r.Balance = r.Credits - r.Debits
			s.Balances = append(s.Balances, r)
			return err
		}, name)
		if err == nil && len(s.Balances) == 0 {
			err = notFound("account %q is not known", cut(name, 256))
		}
		if err != nil {
			return err
		}
		return eachRow(ctx, tx, statementSQL, func(rows *sql.Rows) error {
			if len(s.Rows) == limit {
				last := &s.Rows[limit-1]
				s.Next = cursorOf("statement", last.Posting, int64(last.Line))
				return nil
			}
			var r StatementRow
			err := r.scan(rows)
			s.Rows = append(s.Rows, r)
			return err
		}, name, posting, line, limit+1)
	})
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, ErrNotFound):
		return nil, err
	}
	return nil, fmt.Errorf("read account %q: %w", name, err)
}

// scan reads a row of statementSQL.
func (r *StatementRow) scan(rows *sql.Rows) error {
	var id event.ID
	var report []byte
	err := rows.Scan(&r.Posting, &r.Line, &id.Stream, &id.Seq, &id.N, &r.Source, &r.Cause, &r.ReceivedAt, &r.Currency, &r.Amount, &r.Balance, &report)
	if err != nil {
		return err
	}
	r.Event = id.String()
	if len(report) == 0 {
		return nil
	}
	said := struct {
		TransactionID **string `json:"transaction_id"`
	}{&r.TransactionID}
	if err := json.Unmarshal(report, &said); err != nil {
		return fmt.Errorf("report of event %s: %w", id, err)
	}
	return nil
}
