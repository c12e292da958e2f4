package console

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/sink"
)

func (c *Console) getCall(w http.ResponseWriter, r *request) error {
	call, err := c.cfg.Books.Call(r.Context(), r.PathValue("call_id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, call)
	return nil
}

func (c *Console) listBalances(w http.ResponseWriter, r *request) error {
	f := sink.BalanceFilter{Account: r.query.Get("account"), Currency: r.query.Get("currency")}
	return listed(w, r, func(ctx context.Context, after string, limit int) ([]sink.BalanceRow, string, error) {
		return c.cfg.Books.Balances(ctx, f, after, limit)
	})
}

func (c *Console) listTransfers(w http.ResponseWriter, r *request) error {
	return listed(w, r, func(ctx context.Context, after string, limit int) ([]sink.TransferRow, string, error) {
		return c.cfg.Books.Transfers(ctx, r.query.Get("call_id"), after, limit)
	})
}

const typeNDJSON = "application/x-ndjson"

// verifyEvery is how often the progress of a verification is told at most.
const verifyEvery = 200 * time.Millisecond

// verifyLedger checks every invariant of the ledger. With Accept:
// application/x-ndjson it tells its progress, a line each, and ends with a
// line of findings, or of an error; else it answers when it is done. One
// verification runs at a time: it reads the whole ledger.
func (c *Console) verifyLedger(w http.ResponseWriter, r *request) error {
	if c.cfg.VerifyDB == nil {
		return noNode("the verification")
	}
	if !c.verifying.TryLock() {
		return refuse(http.StatusConflict, "verify_running", "a verification runs already: wait for it to end, then ask again")
	}
	defer c.verifying.Unlock()
	if !strings.Contains(r.Header.Get("Accept"), typeNDJSON) {
		findings, err := sink.Verify(r.Context(), c.cfg.VerifyDB, nil)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, verified{findings})
		return nil
	}
	w.Header().Set("Content-Type", typeNDJSON)
	lines := &lineWriter{w: w, now: c.cfg.Now}
	findings, err := sink.Verify(r.Context(), c.cfg.VerifyDB, lines.progress)
	if err != nil {
		f := failureOf(err, "")
		c.logFailure(r.Request, f)
		lines.write(f.wire())
		return nil
	}
	lines.write(verified{findings})
	return nil
}

type verified struct {
	Findings *sink.Findings `json:"findings"`
}

// lineWriter writes NDJSON and sends each line at once. A client that has gone
// ends the request's context, and with it the work.
type lineWriter struct {
	w    http.ResponseWriter
	now  func() time.Time
	last time.Time
	step string
}

// progress tells how far a step is: its beginning, its end, and now and then
// between.
func (l *lineWriter) progress(step string, done, total int64) {
	now := l.now()
	if step == l.step && done < total && now.Sub(l.last) < verifyEvery {
		return
	}
	l.step, l.last = step, now
	l.write(struct {
		Step  string `json:"step"`
		Done  int64  `json:"done"`
		Total int64  `json:"total"`
	}{step, done, total})
}

func (l *lineWriter) write(v any) {
	if err := json.NewEncoder(l.w).Encode(v); err == nil {
		_ = http.NewResponseController(l.w).Flush() // what cannot flush is a buffer inside the process
	}
}
