package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

// TrialWaitMax is how long a trial waits for its verdict.
const TrialWaitMax = 20 * time.Second

// Tryer runs a record through the whole stream of a node, as a test: journal,
// mapper, match and ledger. The record did not come over the network, so
// whoever calls it has checked what ingest would have.
type Tryer interface {
	// Try appends rec and waits for its verdict, whose detail it gives. When
	// the context ends first, the id is good and the error is the context's.
	Try(ctx context.Context, rec *event.Record) (event.ID, event.Detail, error)
}

// trialAnswer says what became of a trial, step by step.
type trialAnswer struct {
	OK        bool             `json:"ok"`      // the sender's request would be taken
	Request   string           `json:"request"` // as it would be sent, secrets masked
	Signature []signature.Step `json:"signature"`
	Event     string           `json:"event,omitempty"`
	Report    json.RawMessage  `json:"report,omitempty"`
	Verdict   *trialVerdict    `json:"verdict,omitempty"`
	Sentence  string           `json:"sentence"`
}

// trialVerdict is the verdict of a trial. Would is what the sender's own
// request would come to, with Value.
type trialVerdict struct {
	Status   string  `json:"status"`
	Reason   string  `json:"reason"`
	Would    string  `json:"would"`
	Value    string  `json:"value"`
	Currency string  `json:"currency"`
	Account  string  `json:"account"`
	CallID   *string `json:"call_id"`
}

// trySource makes the request that a source's sender would send, checks it as
// the intake would, and runs it dry: nothing is booked or remembered.
func (c *Console) trySource(w http.ResponseWriter, r *request) error {
	var in struct {
		Set    map[string]string `json:"set"`
		Method string            `json:"method"`
	}
	if err := decodeJSON(w, r.Request, &in); err != nil {
		return err
	}
	id := r.PathValue("id")
	info, err := c.cfg.Objects.GetSource(r.Context(), id)
	if err != nil {
		return err
	}
	if c.cfg.Tryer == nil {
		return noNode("what would become of a request")
	}
	src, err := c.cfg.Objects.CompiledSource(r.Context(), id)
	if err != nil {
		return err
	}
	t := &trial{src: src, token: string(info.Token), base: c.cfg.PostbackBase, now: c.cfg.Now()}
	if err := t.build(in.Set, in.Method); err != nil {
		return err
	}
	out := trialAnswer{OK: true}
	t.check(&out)
	out.Request = t.shown()
	if !out.OK {
		out.Sentence = fmt.Sprintf("The sender's request would be refused, so it goes no further: see the check %q.", failed(out.Signature))
		writeJSON(w, http.StatusOK, out)
		return nil
	}
	if err := c.runTrial(r.Context(), t, &out); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// check says what the intake would make of the request. Who asks for a trial
// has the operator's key, so the sender's address and certificate are not
// asked for; everything else is.
func (t *trial) check(out *trialAnswer) {
	step := func(name string, ok bool, format string, args ...any) {
		out.Signature = append(out.Signature, signature.Step{Name: name, OK: ok, Text: fmt.Sprintf(format, args...)})
	}
	if n := len(t.src.Allow); n > 0 {
		own := "your own address is not on the list"
		if t.allows(netip.AddrFrom4([4]byte{127, 0, 0, 1})) {
			own = "this machine's own is on it"
		}
		step("address", true, "requests are taken from %s only; %s, and a trial needs none", entries(n), own)
	}
	if t.src.Spec.ClientName != "" {
		step("certificate", true, "the sender must show a certificate of %q; a trial needs none", t.src.Spec.ClientName)
	}
	if len(t.src.Secrets) > 0 {
		step("secret", true, "the sender must show the source's secret in X-Webhook-Secret; a trial needs none")
	}
	if t.keyed {
		step("key", true, "the key of the call is taken as one that was issued here")
	}
	for _, text := range t.remarks {
		step("parameter", true, "%s", text)
	}
	if t.src.Spec.Paused {
		step("paused", true, "the source is paused: until it is resumed, what its sender sends is kept and ignored")
	}
	out.OK = t.sign(step)
	if t.src.Verifier != nil && t.signed {
		request := t.request()
		out.Signature = append(out.Signature, t.src.Verifier.Explain(request, t.secrets(), t.now)...)
		out.OK = t.src.Verifier.Verify(request, t.secrets(), t.now).OK
	}
	if out.Signature == nil {
		out.Signature = []signature.Step{{Name: "result", OK: true, Text: "the source asks for no signature: its URL is the secret"}}
	}
}

func entries(n int) string {
	if n == 1 {
		return "one address or prefix"
	}
	return fmt.Sprintf("%d addresses and prefixes", n)
}

func (t *trial) allows(a netip.Addr) bool {
	for _, p := range t.src.Allow {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// failed names the first check that a request did not pass.
func failed(steps []signature.Step) string {
	for _, s := range steps {
		if !s.OK {
			return s.Name
		}
	}
	return "result"
}

// runTrial has the node decide the request as a test and tells what it would do.
func (c *Console) runTrial(ctx context.Context, t *trial, out *trialAnswer) error {
	ctx, cancel := context.WithTimeout(ctx, TrialWaitMax)
	defer cancel()
	id, detail, err := c.cfg.Tryer.Try(ctx, t.record())
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return refuse(http.StatusServiceUnavailable, "timed_out", "the trial is event %s and has no verdict yet: the node is behind or paused; look at the event in a while", id)
	case err != nil:
		return err
	}
	line, err := c.cfg.Activity.Event(ctx, id)
	if err != nil {
		return err
	}
	out.Event, out.Report = line.Event, line.Report
	out.Verdict = verdictOf(line, detail, t.src)
	out.Sentence = line.ReasonText
	if line.Reason == string(event.TestPostback) {
		out.Sentence = wouldSentence(out.Verdict)
	}
	return nil
}

// verdictOf reads what would be booked, and on what, out of a test's verdict.
func verdictOf(line *sink.Timeline, detail event.Detail, src *source.Source) *trialVerdict {
	v := &trialVerdict{Status: line.Status, Reason: line.Reason, Would: detail.Would, Value: detail.Value, CallID: line.CallID}
	var report struct {
		Account  string `json:"account"`
		Currency string `json:"currency"`
		RewardIn string `json:"reward_currency"`
	}
	if len(line.Report) > 0 && json.Unmarshal(line.Report, &report) == nil {
		v.Account, v.Currency = report.Account, report.Currency
	}
	if src.Policy.ToAccount {
		v.CallID = nil // what is booked on is a transaction, not a call
		if report.RewardIn != "" {
			v.Currency = report.RewardIn
		}
	}
	if v.Currency == "" {
		v.Currency = src.Policy.Currency
	}
	return v
}

// wouldSentence says what the sender's own request would do.
func wouldSentence(v *trialVerdict) string {
	on := ""
	switch {
	case v.Account != "":
		on = " on account " + v.Account
	case v.CallID != nil:
		on = " on call " + *v.CallID
	}
	if v.Value != "" {
		return fmt.Sprintf("A test, so nothing was booked: the sender's own request would be %s%s, with value %s %s.", v.Would, on, v.Value, v.Currency)
	}
	return fmt.Sprintf("A test, so nothing was booked: the sender's own request would be %s%s.", v.Would, on)
}
