package sink

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// Books is what people read of the ledger. It is safe for concurrent use.
type Books struct {
	DB *sql.DB // the store's read handle
}

// BalanceFilter narrows Balances. Zero fields do not.
type BalanceFilter struct {
	Account  string // a name, or its beginning up to a colon: "buyer", "buyer:acme", "network:revenue"
	Currency string
}

// BalanceRow is one account with its two counters, which only grow. Balance is
// their difference, counted from the side on which the account grows: what a
// buyer owes, what the network earned and spent, what a publisher is owed.
type BalanceRow struct {
	Account  string       `json:"account"` // name, for example buyer:acme:receivable
	Kind     string       `json:"kind"`
	Owner    string       `json:"owner"`
	Currency string       `json:"currency"`
	Normal   string       `json:"normal"` // "debit" or "credit": the side on which it grows
	Debits   event.Amount `json:"debits"`
	Credits  event.Amount `json:"credits"`
	Balance  event.Amount `json:"balance"`
}

// accountForms are the kinds of accounts: how their names are built and on
// which side they grow.
var accountForms = []struct {
	kind, before, after string
	debit               bool
}{
	{kindBuyer, "buyer:", ":receivable", true},
	{kindRevenue, "network:revenue", "", false},
	{kindCost, "network:publisher_cost", "", true},
	{kindPublisher, "publisher:", ":pending", false},
	{kindRewards, "network:rewards", "", true},
	{kindAccount, "account:", "", false},
}

// name is what people call an account.
func (a account) name() string {
	for _, f := range accountForms {
		if f.kind == a.kind {
			return f.before + a.owner + f.after
		}
	}
	return a.kind + ":" + a.owner
}

// accountNameSQL is account.name in SQL, over the columns of account a.
func accountNameSQL() string {
	var b strings.Builder
	b.WriteString("CASE a.kind")
	for _, f := range accountForms {
		fmt.Fprintf(&b, " WHEN '%s' THEN '%s' || a.owner || '%s'", f.kind, f.before, f.after)
	}
	return b.String() + " ELSE a.kind || ':' || a.owner END"
}

// Balances lists accounts in the order in which they were opened.
func (b *Books) Balances(ctx context.Context, f BalanceFilter, after string, limit int) (list []BalanceRow, next string, err error) {
	if limit, err = rowLimit(limit); err != nil {
		return nil, "", err
	}
	var last int64
	if err := parseCursor(after, "balances", &last); err != nil {
		return nil, "", err
	}
	for name, text := range map[string]string{"account": f.Account, "currency": f.Currency} {
		if err := isText(name, text); err != nil {
			return nil, "", err
		}
	}
	name := accountNameSQL()
	begin := strings.TrimSuffix(f.Account, ":") + ":"
	err = lookUp(ctx, b.DB, func(tx *sql.Tx) error {
		return eachRow(ctx, tx, `SELECT a.id, a.kind, a.owner, a.currency, coalesce(b.debits, 0), coalesce(b.credits, 0)
FROM account a LEFT JOIN balance b ON b.account = a.id
WHERE a.id > $1 AND (CAST($2 AS TEXT) = '' OR `+name+` = $2 OR substr(`+name+`, 1, length(CAST($3 AS TEXT))) = $3) AND (CAST($4 AS TEXT) = '' OR a.currency = $4)
ORDER BY a.id LIMIT $5`, func(rows *sql.Rows) error {
			if len(list) == limit {
				next = cursorOf("balances", last)
				return nil
			}
			r := BalanceRow{Normal: "credit"}
			err := rows.Scan(&last, &r.Kind, &r.Owner, &r.Currency, &r.Debits, &r.Credits)
			r.Account, r.Balance = account{kind: r.Kind, owner: r.Owner}.name(), r.Credits-r.Debits
			for _, f := range accountForms {
				if f.kind == r.Kind && f.debit {
					r.Normal, r.Balance = "debit", r.Debits-r.Credits
				}
			}
			list = append(list, r)
			return err
		}, last, f.Account, begin, f.Currency, limit+1)
	})
	if err != nil {
		return nil, "", fmt.Errorf("list balances: %w", err)
	}
	return list, next, nil
}

// TransferRow is one line of a posting with what caused it.
type TransferRow struct {
	Posting    int64        `json:"posting"`
	Line       int          `json:"line"`
	Event      string       `json:"event"`
	CallID     string       `json:"call_id"` // "" of what is booked on an account
	Cause      string       `json:"cause"`
	Debit      string       `json:"debit"`
	Credit     string       `json:"credit"`
	Amount     event.Amount `json:"amount"`
	Currency   string       `json:"currency"`
	ReceivedAt Instant      `json:"received_at"`
	Source     string       `json:"source"`
}

// transfersSQL reads the lines of postings p, the newest posting first. What is
// booked on an account has no call.
const transfersSQL = `SELECT p.no, t.line, p.stream, p.seq, p.n, CASE WHEN k.target IS NULL THEN coalesce(k.call_id, '') ELSE '' END, p.cause, d.kind, d.owner, c.kind, c.owner, t.amount, t.currency, p.received_at, p.source
FROM posting p JOIN transfer t ON t.posting = p.no JOIN account d ON d.id = t.debit_account JOIN account c ON c.id = t.credit_account LEFT JOIN call k ON k.no = p.call
WHERE p.no <= $1 AND (p.no < $1 OR t.line > $2) `

// Transfers lists the lines of one call's postings, or of all when callID is
// "": the newest posting first, its lines in order. ErrNotFound when there is
// no such call.
func (b *Books) Transfers(ctx context.Context, callID, after string, limit int) (list []TransferRow, next string, err error) {
	if limit, err = rowLimit(limit); err != nil {
		return nil, "", err
	}
	posting, line := int64(1<<62), int64(0)
	if err := parseCursor(after, "transfers", &posting, &line); err != nil {
		return nil, "", err
	}
	if err := isText("call_id", callID); err != nil {
		return nil, "", err
	}
	err = lookUp(ctx, b.DB, func(tx *sql.Tx) error {
		query, args := transfersSQL, []any{posting, line, limit + 1}
		if callID != "" {
			var no int64
			err := tx.QueryRowContext(ctx, `SELECT no FROM call WHERE call_id = $1 AND target IS NULL`, callID).Scan(&no)
			if errors.Is(err, sql.ErrNoRows) {
				return notFound("call %q is not known", callID)
			}
			if err != nil {
				return err
			}
			query, args = query+"AND p.call = $4 ", append(args, no)
		}
		return eachRow(ctx, tx, query+"ORDER BY p.no DESC, t.line LIMIT $3", func(rows *sql.Rows) error {
			var r TransferRow
			if len(list) == limit {
				next = cursorOf("transfers", list[limit-1].Posting, int64(list[limit-1].Line))
				return nil
			}
			err := r.scan(rows)
			list = append(list, r)
			return err
		}, args...)
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, "", err
	case err != nil:
		return nil, "", fmt.Errorf("list transfers: %w", err)
	}
	return list, next, nil
}

// scan reads a row of transfersSQL.
func (r *TransferRow) scan(rows *sql.Rows) error {
	var id event.ID
	var debit, credit account
	err := rows.Scan(&r.Posting, &r.Line, &id.Stream, &id.Seq, &id.N, &r.CallID, &r.Cause, &debit.kind, &debit.owner, &credit.kind, &credit.owner, &r.Amount, &r.Currency, &r.ReceivedAt, &r.Source)
	r.Event, r.Debit, r.Credit = id.String(), debit.name(), credit.name()
	return err
}
