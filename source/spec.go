// Package source holds what an operator says of one inbound integration, and
// what the stream makes of it.
//
// A Spec is the operator's text: the JSON of the admin API, the YAML of
// network.yaml, what the store keeps. Compile checks it, fills in its preset
// and gives a Source, which is immutable and is what ingest, mapper and match
// work with. A Directory is all sources at one moment, looked up by the digest
// of their token; it is swapped whole when anything changes.
package source

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/source/signature"
)

// Spec is a source as an operator writes it. Absent parts take the preset's
// or the product's defaults.
type Spec struct {
	ID           string              `json:"id,omitempty"`
	Name         string              `json:"name"`
	Buyer        string              `json:"buyer,omitempty"`
	Preset       string              `json:"preset,omitempty"` // "" is generic
	Mapper       string              `json:"mapper,omitempty"` // NAME, or NAME@VERSION; "" is the built-in one
	Reply        ReplySpec           `json:"reply"`
	Ack          string              `json:"ack,omitempty"` // what a 2xx says: AckJournal (default) or AckCommitted
	Paused       bool                `json:"paused"`
	Fields       map[string][]string `json:"fields,omitempty"`    // slot → names, tried before the preset's
	Constants    map[string]string   `json:"constants,omitempty"` // slot → value, when the postback has none
	Transforms   Transforms          `json:"transforms,omitzero"` // what the source says about its notations
	Statuses     map[string][]string `json:"statuses,omitempty"`  // what the sender's words in status mean: kind, or ignore → words
	Identity     string              `json:"identity,omitempty"`  // field whose value identifies a postback for ever
	Limits       Limits              `json:"limits"`              //
	Match        Match               `json:"match"`               //
	DedupeWindow Duration            `json:"dedupe_window,omitempty"`
	ParkFor      Duration            `json:"park_for,omitempty"`
	AmountMax    string              `json:"amount_max,omitempty"` // decimal; above it a person decides
	Currency     string              `json:"currency,omitempty"`

	// Who may send, beside the token. What is empty is the preset's.
	Signature         *signature.Spec `json:"signature,omitempty"`          // how requests are signed
	SignatureOptional bool            `json:"signature_optional,omitempty"` // only once the source has a secret
	Unsigned          bool            `json:"unsigned,omitempty"`           // the preset's signature is not asked for
	AllowIPs          []string        `json:"allow_ips,omitempty"`          // addresses and prefixes; [any] takes off the preset's
	ClientName        string          `json:"client_name,omitempty"`        // that the client's certificate must hold: DNS name, URI, e-mail or common name
	Methods           []string        `json:"methods,omitempty"`            // that are taken; none named: all
	SetValue          bool            `json:"set_value,omitempty"`          // takes /calls/{call_id}/set_value with keys that we issued

	// What is booked, and on what.
	Settle         string              `json:"settle,omitempty"`          // SettleCall (default) or SettleAccount
	Account        string              `json:"account,omitempty"`         // template of the account's name: user:{external_identifier}
	Reward         *Reward             `json:"reward,omitempty"`          // what the account is credited; nil: the payout
	Duplicates     string              `json:"duplicates,omitempty"`      // overwrite (default), add, first
	Adjustments    string              `json:"adjustments,omitempty"`     // absolute (default) or relative
	Transitions    map[string][]string `json:"transitions,omitempty"`     // sender's word → words that may follow it
	DailyMax       string              `json:"daily_max,omitempty"`       // decimal; what a day's events may add before a person decides
	ReversalPrefix string              `json:"reversal_prefix,omitempty"` // of the identity of what takes back: r-
	PayoutOptional bool                `json:"payout_optional,omitempty"` // a postback without one is no fault
	Triggers       bool                `json:"triggers,omitempty"`        // conversion groups of campaigns look at its requests
	CallKeys       bool                `json:"call_keys,omitempty"`       // a postback must show the key of its call

	// MapperFallback is what maps while the mapper's active version is broken:
	// FallbackPrevious, or "" for nothing, so that events wait for it.
	MapperFallback string `json:"mapper_fallback,omitempty"`
}

// What a source settles on.
const (
	SettleCall    = "call"    // the call that a postback pays for
	SettleAccount = "account" // an account that it names; no call is looked for
)

// Reward is what an account is credited for a conversion: the amount in the
// slot reward, or, with a rate, the payout times it.
type Reward struct {
	Currency string `json:"currency"`       // a code of our own or of ISO 4217
	Rate     string `json:"rate,omitempty"` // decimal: units for one unit of payout
}

// FallbackPrevious lets the version that was active before the current one map
// while that one is broken.
const FallbackPrevious = "previous"

// Ignore is what Statuses calls words of no concern. AnyStatus among a kind's
// words stands for every word that is not named.
const (
	Ignore    = "ignore"
	AnyStatus = "*"
)

// Transforms say which notations a source uses. Nothing is guessed.
type Transforms struct {
	Duration         string `json:"duration,omitempty"`          // "seconds" (default), "ms", "mm:ss"
	Cents            bool   `json:"cents,omitempty"`             // amounts are whole cents
	DecimalComma     bool   `json:"decimal_comma,omitempty"`     // 12,34 and 1.234,56
	CurrencySign     bool   `json:"currency_sign,omitempty"`     // one leading or trailing $ € £ is taken off
	Thousands        bool   `json:"thousands,omitempty"`         // separators between groups of three are taken off
	RoundHalfEven    bool   `json:"round_half_even,omitempty"`   // more than six decimals are rounded, not refused
	NegativeReverses bool   `json:"negative_reverses,omitempty"` // a negative amount is a reversal
	TimeZone         string `json:"time_zone,omitempty"`         // of times without an offset; "" refuses them
}

// Limits bound what one source may send. Zero takes the default, -1 is off.
type Limits struct {
	PerIPPerMin    int    `json:"per_ip_per_min"`
	PerTokenPerMin int    `json:"per_token_per_min"`
	Profile        string `json:"profile,omitempty"` // "strict": 50 per IP and 200 per token
}

// Match are the settings of matching by caller.
type Match struct {
	Window            Duration `json:"window,omitempty"`
	DurationTolerance Duration `json:"duration_tolerance,omitempty"`
	DefaultRegion     string   `json:"default_region,omitempty"` // ISO 3166 code for numbers without a country code
}

// Defaults of Limits and Match.
const (
	DefaultPerTokenPerMin = 12_000
	StrictPerTokenPerMin  = 200
	StrictPerIPPerMin     = 50
	DefaultRegion         = "US"
)

// Reply modes.
const (
	ReplyVerdict  = "verdict"  // wait for the verdict up to VerdictWaitMax, else answer accepted
	ReplyAccepted = "accepted" // answer after the sync
)

// What a 2xx says of a postback. A journal is a file on one node's disk, which
// a sender that must outlive the loss of that disk cannot rest on; the ledger's
// commit is as safe as the primary store. Whatever the setting, a postback is
// on disk before anything else happens to it, and goes its way.
const (
	AckJournal = "journal" // it is on this node's disk, synced

	// AckCommitted: the ledger has committed its verdict. The sender waits for
	// that up to CommitWaitMax and is then answered 503 with Retry-After, never
	// anything weaker, however late the pipeline is; what it sends again folds
	// into the first as a duplicate. Reply decides what the 2xx holds: the
	// verdict, or just that it was accepted.
	AckCommitted = "committed"
)

// ReplySpec is how a source wants to be answered: either just the mode, as a
// JSON string, or an object with a custom answer per class of outcome.
// Classes: "accepted" (on disk, no verdict yet), "ok" (a verdict that is not
// invalid), "invalid", "paused", "unauthorized", "limited" (over the rate limit),
// or the name of a status, which goes first.
type ReplySpec struct {
	Mode    string            `json:"mode"`
	Classes map[string]Answer `json:"classes,omitempty"`
}

// Answer overrides what a sender reads. Zero parts keep the default. Body may
// hold {event}, {status}, {reason}, {call_id}, {value}, {currency} and, of the
// request itself, {field:NAME}.
type Answer struct {
	Status      int    `json:"status,omitempty"`
	Body        string `json:"body,omitempty"`
	ContentType string `json:"content_type,omitempty"`
}

// MarshalJSON writes a bare mode as a string.
func (r ReplySpec) MarshalJSON() ([]byte, error) {
	if len(r.Classes) == 0 {
		return json.Marshal(r.Mode)
	}
	type plain ReplySpec
	return json.Marshal(plain(r))
}

// UnmarshalJSON reads either form.
func (r *ReplySpec) UnmarshalJSON(p []byte) error {
	if len(p) > 0 && p[0] == '"' {
		*r = ReplySpec{}
		return json.Unmarshal(p, &r.Mode)
	}
	type plain ReplySpec
	return strict(p, (*plain)(r))
}

// Duration is a time.Duration whose text is "15m", "24h", "60s".
type Duration time.Duration

// MarshalText renders d without needless zero units; whole seconds below two
// minutes stay seconds, as people write them: 60s, 90s.
func (d Duration) MarshalText() ([]byte, error) {
	v := time.Duration(d)
	if v < 2*time.Minute && v%time.Second == 0 {
		return fmt.Appendf(nil, "%ds", v/time.Second), nil
	}
	s := v.String()
	for _, cut := range []string{"m0s", "h0m"} {
		if n := len(s) - len(cut); n >= 0 && s[n:] == cut {
			s = s[:n+1]
		}
	}
	return []byte(s), nil
}

// UnmarshalText reads the forms of time.ParseDuration.
func (d *Duration) UnmarshalText(p []byte) error {
	v, err := time.ParseDuration(string(p))
	if err != nil || v < 0 {
		return fmt.Errorf("duration %q: want for example 90s, 15m or 24h", p)
	}
	*d = Duration(v)
	return nil
}
