package event

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendReportJSON appends r as one JSON object: absent fields are left out,
// amounts are decimal strings, times RFC 3339, extra an object in the order in
// which the fields came.
func AppendReportJSON(dst []byte, r *Report) []byte {
	dst = append(dst, '{')
	field := func(name, value string) {
		if value != "" {
			dst = AppendJSONString(appendName(dst, name), value)
		}
	}
	field("kind", r.Kind.String())
	field("ref_id", r.RefID)
	field("call_id", r.CallID)
	field("network_call_id", r.NetworkCallID)
	field("network", r.Network)
	field("caller", r.Caller)
	field("caller_raw", r.CallerRaw)
	if r.Duration.OK {
		dst = strconv.AppendInt(appendName(dst, "duration"), int64(r.Duration.N), 10)
	}
	if r.StartedAt != 0 {
		dst = appendJSONTime(appendName(dst, "started_at"), r.StartedAt)
	}
	if r.HasPayout {
		dst = append(r.Payout.Amount.Append(append(appendName(dst, "payout"), '"')), '"')
	}
	field("currency", r.Payout.Currency)
	field("status", r.Status)
	field("transaction_id", r.TransactionID)
	if r.OccurredAt != 0 {
		dst = appendJSONTime(appendName(dst, "occurred_at"), r.OccurredAt)
	}
	field("account", r.Account)
	if r.HasReward {
		dst = append(r.Reward.Amount.Append(append(appendName(dst, "reward"), '"')), '"')
		field("reward_currency", r.Reward.Currency)
	}
	field("query", r.Query)
	field("key_digest", r.Key)
	if len(r.Extra) > 0 {
		dst = append(appendName(dst, "extra"), '{')
		for _, p := range r.Extra {
			dst = AppendJSONString(appendName(dst, p.Name), p.Value)
		}
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// appendName appends a member's name and its colon, and a comma before it
// unless it is the object's first.
func appendName(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(AppendJSONString(dst, name), ':')
}

func appendJSONTime(dst []byte, at int64) []byte {
	return append(AppendTime(append(dst, '"'), at), '"')
}

// TimeForm is how we write times: UTC, microseconds.
const TimeForm = "2006-01-02T15:04:05.000000Z"

// AppendTime appends at, microseconds since the Unix epoch, in TimeForm.
func AppendTime(dst []byte, at int64) []byte {
	return time.UnixMicro(at).UTC().AppendFormat(dst, TimeForm)
}

// AppendJSONString appends s as a JSON string. Bytes that are not UTF-8
// become the replacement character.
func AppendJSONString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			if c == '"' || c == '\\' {
				dst = append(dst, '\\', c)
			} else {
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if (r == utf8.RuneError && size == 1) || r == '\u2028' || r == '\u2029' {
			dst = append(dst, s[start:i]...)
			if size == 1 {
				dst = append(dst, "\ufffd"...)
			} else {
				dst = append(dst, '\\', 'u', '2', '0', '2', hex[r&15])
			}
			start = i + size
		}
		i += size
	}
	return append(append(dst, s[start:]...), '"')
}

// ParseReportJSON reads what AppendReportJSON wrote, as far as matching and
// booking need it: Extra is left empty.
func ParseReportJSON(p []byte) (*Report, error) {
	var j struct {
		Kind          string    `json:"kind"`
		RefID         string    `json:"ref_id"`
		CallID        string    `json:"call_id"`
		NetworkCallID string    `json:"network_call_id"`
		Network       string    `json:"network"`
		Caller        string    `json:"caller"`
		CallerRaw     string    `json:"caller_raw"`
		Duration      *int32    `json:"duration"`
		StartedAt     time.Time `json:"started_at"`
		Payout        *Amount   `json:"payout"`
		Currency      string    `json:"currency"`
		Status        string    `json:"status"`
		TransactionID string    `json:"transaction_id"`
		OccurredAt    time.Time `json:"occurred_at"`
		Account       string    `json:"account"`
		Reward        *Amount   `json:"reward"`
		RewardIn      string    `json:"reward_currency"`
		Query         string    `json:"query"`
		Key           string    `json:"key_digest"`
	}
	if err := json.Unmarshal(p, &j); err != nil {
		return nil, fmt.Errorf("recorded report: %w", err)
	}
	kind, err := ParseKind(j.Kind)
	if err != nil {
		return nil, fmt.Errorf("recorded report: %w", err)
	}
	r := &Report{Kind: kind, RefID: j.RefID, CallID: j.CallID, NetworkCallID: j.NetworkCallID, Network: j.Network,
		Caller: j.Caller, CallerRaw: j.CallerRaw, Status: j.Status, TransactionID: j.TransactionID,
		StartedAt: micros(j.StartedAt), OccurredAt: micros(j.OccurredAt), Payout: Money{Currency: j.Currency},
		Account: j.Account, Reward: Money{Currency: j.RewardIn}, Query: j.Query, Key: j.Key}
	if j.Reward != nil {
		r.Reward.Amount, r.HasReward = *j.Reward, true
	}
	if j.Duration != nil {
		r.Duration = Seconds{N: *j.Duration, OK: true}
	}
	if j.Payout != nil {
		r.Payout.Amount, r.HasPayout = *j.Payout, true
	}
	return r, nil
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
