package sink

import (
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// ErrNotFound says that the event or call asked for is not in the store.
var ErrNotFound = errors.New("not found")

// ErrInvalid says that what was asked for cannot be meant; the text names the
// offending value and what to give instead.
var ErrInvalid = errors.New("invalid")

// asked is an ErrNotFound or ErrInvalid whose text is all there is to say.
type asked struct {
	kind error
	text string
}

func (e *asked) Error() string { return e.text }
func (e *asked) Unwrap() error { return e.kind }

func notFound(format string, args ...any) error {
	return &asked{ErrNotFound, fmt.Sprintf(format, args...)}
}
func invalid(format string, args ...any) error {
	return &asked{ErrInvalid, fmt.Sprintf(format, args...)}
}

// Activity is what people read of the verdict log: one row per event, its
// newest revision. It reads the log itself, on either store. It is safe for
// concurrent use.
type Activity struct {
	DB *sql.DB // the store's read handle
}

// How many rows one listing gives.
const (
	ListRowsDefault = 100
	ListRowsMax     = 1000
)

// Filter narrows a listing. Zero fields do not.
type Filter struct {
	Source string
	Status string // names of statuses, separated by commas
	Caller string // of the report or of the call; blanks and punctuation do not count
	CallID string
	Since  time.Time // received at or after
	Until  time.Time // received before
	After  string    // the cursor that the page before gave
	Limit  int       // rows, 1 to ListRowsMax; 0 is ListRowsDefault
}

// Instant is a time in microseconds since the Unix epoch; its text is RFC 3339
// in UTC with all six digits.
type Instant int64

// MarshalText renders i.
func (i Instant) MarshalText() ([]byte, error) { return event.AppendTime(nil, int64(i)), nil }

// UnmarshalText reads RFC 3339.
func (i *Instant) UnmarshalText(p []byte) error {
	t, err := time.Parse(time.RFC3339Nano, string(p))
	*i = Instant(t.UnixMicro())
	return err
}

// Row is one event as a listing shows it. What is absent is null.
type Row struct {
	Event      string        `json:"event"`
	ReceivedAt Instant       `json:"received_at"`
	DecidedAt  Instant       `json:"decided_at"` // of the newest revision
	Source     string        `json:"source"`
	Status     string        `json:"status"`
	Reason     string        `json:"reason"`
	ReasonText string        `json:"reason_text"`
	Kind       string        `json:"kind"`
	Strategy   string        `json:"strategy"`
	Candidates int           `json:"candidates"` // calls that fitted
	CallID     *string       `json:"call_id"`
	CallCaller *string       `json:"call_caller"`
	Campaign   *string       `json:"campaign"` // of the call, as it is now
	Publisher  *string       `json:"publisher"`
	Buyer      *string       `json:"buyer"`
	Caller     *string       `json:"caller"` // as reported
	Duration   *int64        `json:"duration"`
	Payout     *event.Amount `json:"payout"`
	Currency   *string       `json:"currency"`
	Value      *event.Amount `json:"value"` // of the call, after this event
	Delta      event.Amount  `json:"delta"`
	ShareDelta event.Amount  `json:"share_delta"`

	ReportedRefID         *string `json:"ref_id"`
	ReportedCallID        *string `json:"reported_call_id"`
	ReportedNetworkCallID *string `json:"network_call_id"`
	ReportedStatus        *string `json:"reported_status"`
	ReportedCurrency      *string `json:"reported_currency"` // of the payout; Currency is that of the value, if there is one
	TransactionID         *string `json:"transaction_id"`
	ReportedStart         *string `json:"started_at"`

	Mapper    string  `json:"mapper"`
	Fuel      int64   `json:"fuel"` // that it burnt, a partner's mapper; told with a record's first report
	Peer      string  `json:"peer"`
	Latency   Latency `json:"latency_us"`
	Revision  int     `json:"revision"`
	Final     bool    `json:"final"`
	ChangeSeq int64   `json:"change_seq"`
}

// Latency is where an event's time went, in microseconds. Total runs from its
// receipt to the decision of this revision, waiting for a call included.
type Latency struct {
	Queue int64 `json:"queue"`
	Map   int64 `json:"map"`
	Match int64 `json:"match"`
	Total int64 `json:"total"`
}

// Timeline is everything there is about one event.
type Timeline struct {
	Row
	Request     *Request        `json:"request"` // of the whole record, null when retention dropped it
	Report      json.RawMessage `json:"report"`
	Considered  json.RawMessage `json:"candidates"` // list of Candidate
	Revisions   []Revision      `json:"revisions"`  // oldest first
	Postings    []EventPosting  `json:"postings"`
	ParkedUntil *Instant        `json:"parked_until"`
}

// Candidate is a call that was looked at.
type Candidate struct {
	CallID   string `json:"call_id"`
	Fits     bool   `json:"fits"`
	Why      string `json:"why,omitempty"`       // reason, if it does not fit
	MissedBy int64  `json:"missed_by,omitempty"` // seconds
}

// Revision is one state of an event's verdict.
type Revision struct {
	Revision   int           `json:"revision"`
	Final      bool          `json:"final"`
	DecidedAt  Instant       `json:"decided_at"`
	Status     string        `json:"status"`
	Reason     string        `json:"reason"`
	ReasonText string        `json:"reason_text"`
	Strategy   string        `json:"strategy"`
	Candidates int           `json:"candidates"`
	CallID     *string       `json:"call_id"`
	Value      *event.Amount `json:"value"`
	Currency   *string       `json:"currency"`
	Delta      event.Amount  `json:"delta"`
	ShareDelta event.Amount  `json:"share_delta"`
	ChangeSeq  int64         `json:"change_seq"`
}

// EventPosting is what an event did to its call's money.
type EventPosting struct {
	No         int64        `json:"no"`
	Cause      string       `json:"cause"`
	Currency   string       `json:"currency"`
	Value      event.Amount `json:"value"`
	Share      event.Amount `json:"share"`
	Delta      event.Amount `json:"delta"`
	ShareDelta event.Amount `json:"share_delta"`
	Transfers  []Line       `json:"transfers"`
}

// Line is one transfer of a posting; accounts are by name.
type Line struct {
	Line     int          `json:"line"`
	Debit    string       `json:"debit"`
	Credit   string       `json:"credit"`
	Amount   event.Amount `json:"amount"`
	Currency string       `json:"currency"`
}

// rowLimit checks the number of rows that a listing was asked for.
func rowLimit(n int) (int, error) {
	if n < 0 || n > ListRowsMax {
		return 0, invalid("limit %d: want 1 to %d rows", n, ListRowsMax)
	}
	if n == 0 {
		return ListRowsDefault, nil
	}
	return n, nil
}

// A cursor is the text of "LISTING NUMBER[ NUMBER]" in base64: where the page
// ended. The listing's name keeps one from being used for another.
func cursorOf(listing string, place ...int64) string {
	b := []byte(listing)
	for _, n := range place {
		b = strconv.AppendInt(append(b, ' '), n, 10)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads the numbers of a cursor into place; "" leaves them alone.
func parseCursor(cursor, listing string, place ...*int64) error {
	if cursor == "" {
		return nil
	}
	p, err := base64.RawURLEncoding.DecodeString(cursor)
	parts := strings.Split(string(p), " ")
	if err != nil || parts[0] != listing || len(parts) != len(place)+1 {
		return badCursor(cursor)
	}
	for i, text := range parts[1:] {
		if *place[i], err = strconv.ParseInt(text, 10, 64); err != nil || *place[i] < 0 {
			return badCursor(cursor)
		}
	}
	return nil
}

func badCursor(cursor string) error {
	return invalid("after %q: not a cursor of this listing: give the next of the page before, or leave it out to start at the top", cut(strings.ToValidUTF8(cursor, "?"), 64))
}
