package vectors

import (
	"fmt"
	"strconv"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// field is one field of a report as text in our notation.
type field struct {
	name string
	read func(string) (string, error) // to our notation; nil takes it as it is
	got  func(r *event.Report) string // "" is absent
}

var fields = []field{
	{"kind", readKind, func(r *event.Report) string { return r.Kind.String() }},
	{"ref_id", nil, func(r *event.Report) string { return r.RefID }},
	{"call_id", nil, func(r *event.Report) string { return r.CallID }},
	{"network_call_id", nil, func(r *event.Report) string { return r.NetworkCallID }},
	{"network", nil, func(r *event.Report) string { return r.Network }},
	{"caller", nil, func(r *event.Report) string { return r.Caller }},
	{"duration", readSeconds, seconds},
	{"started_at", readTime, func(r *event.Report) string { return timeText(r.StartedAt) }},
	{"payout", readAmount, payout},
	{"currency", nil, func(r *event.Report) string { return r.Payout.Currency }},
	{"status", nil, func(r *event.Report) string { return r.Status }},
	{"transaction_id", nil, func(r *event.Report) string { return r.TransactionID }},
	{"occurred_at", readTime, func(r *event.Report) string { return timeText(r.OccurredAt) }},
}

// Fields that speak of why a report is invalid.
var faultFields = []field{
	{"field", nil, func(r *event.Report) string { return r.Detail.Field }},
	{"got", nil, func(r *event.Report) string { return r.Detail.Got }},
	{"limit", readCount, func(r *event.Report) string {
		if r.Detail.Limit == 0 {
			return ""
		}
		return strconv.FormatInt(r.Detail.Limit, 10)
	}},
}

func readKind(s string) (string, error) {
	k, err := event.ParseKind(s)
	return k.String(), err
}

func readSeconds(s string) (string, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return "", fmt.Errorf("%q: want whole seconds", cut(s))
	}
	return strconv.FormatInt(n, 10), nil
}

func readCount(s string) (string, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return "", fmt.Errorf("%q: want a whole number", cut(s))
	}
	return strconv.FormatInt(n, 10), nil
}

func readAmount(s string) (string, error) {
	a, err := event.ParseAmount(s)
	if err != nil {
		return "", fmt.Errorf("%q: %w", cut(s), err)
	}
	return a.String(), nil
}

func readTime(s string) (string, error) {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return "", fmt.Errorf("%q: want a time such as 2026-07-01T12:00:00Z", cut(s))
	}
	return timeText(at.UnixMicro()), nil
}

func timeText(micros int64) string {
	if micros == 0 {
		return ""
	}
	return time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05.999999Z")
}

func seconds(r *event.Report) string {
	if !r.Duration.OK {
		return ""
	}
	return strconv.Itoa(int(r.Duration.N))
}

func payout(r *event.Report) string {
	if !r.HasPayout {
		return ""
	}
	return r.Payout.Amount.String()
}

func extraOf(r *event.Report) map[string]string {
	all := make(map[string]string, len(r.Extra))
	for _, p := range r.Extra {
		all[p.Name] = p.Value
	}
	return all
}
