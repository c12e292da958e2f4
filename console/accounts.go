package console

import (
	"context"
	"net/http"

	"github.com/tallyhook/tallyhook/sink"
)

const lookUpAccount = "; GET /api/v1/accounts lists them"

func (c *Console) listAccounts(w http.ResponseWriter, r *request) error {
	return listed(w, r, func(ctx context.Context, after string, limit int) ([]sink.AccountRow, string, error) {
		return c.cfg.Books.Accounts(ctx, r.query.Get("prefix"), r.query.Get("currency"), after, limit)
	})
}

// getStatement answers with one account. Its name is a parameter, because it
// holds whatever senders put into it.
func (c *Console) getStatement(w http.ResponseWriter, r *request) error {
	name := r.query.Get("account")
	if name == "" {
		return badRequest("account is missing: name one, such as account=user:alice%s", lookUpAccount)
	}
	after, limit, err := page(r.query)
	if err != nil {
		return err
	}
	statement, err := c.cfg.Books.Statement(r.Context(), name, after, limit)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, statement)
	return nil
}
