package sink

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tallyhook/tallyhook/event"
)

// CallView is a call with what is booked on it. What is unknown is null. The
// call's key is a secret and not here.
type CallView struct {
	CallID            string          `json:"call_id"`
	RefID             *string         `json:"ref_id"`
	NetworkIDs        json.RawMessage `json:"network_ids"` // object, network → id
	Caller            *string         `json:"caller"`
	StartedAt         *Instant        `json:"started_at"`
	EndedAt           *Instant        `json:"ended_at"`
	Duration          *int64          `json:"duration"` // seconds
	Campaign          *string         `json:"campaign"`
	Publisher         *string         `json:"publisher"`
	Buyer             *string         `json:"buyer"`
	Qualified         *bool           `json:"qualified"` // false once a buyer said 0 or took the payout back
	Value             *event.Amount   `json:"value"`
	Currency          *string         `json:"currency"`
	ValueFromPostback bool            `json:"value_from_postback"`
	PublisherShare    *event.Amount   `json:"publisher_share"`
	Status            *string         `json:"status"`     // booked, unqualified or reversed
	LastEvent         *string         `json:"last_event"` // that set the value
	Conversion        *CallConversion `json:"conversion"` // null when nobody asks, or its time cannot be told yet
}

// CallConversion is what became of a call whose campaign has a conversion
// group: it waits for a value until a time, or one came, or none did. One that
// came afterwards is late, and leaves both times.
type CallConversion struct {
	Status            string   `json:"status"`              // waiting, converted or not_converted
	Until             *Instant `json:"until"`               // while it waits
	ConvertedAt       *Instant `json:"converted_at"`        // receipt of the event that converted it
	Event             *string  `json:"event"`               // its id
	Late              *bool    `json:"late"`                // of a converted one: it had counted as not converted
	NotConvertedSince *Instant `json:"not_converted_since"` // the time until which it had waited
}

const callSQL = `SELECT c.ref_id, c.network_ids, c.caller, c.started_at, c.ended_at, c.duration, c.campaign, c.publisher, c.buyer, c.qualified,
  s.value, s.currency, s.no IS NOT NULL, s.share, s.status, coalesce(s.rank_stream, 0), coalesce(s.rank_seq, 0), coalesce(s.rank_n, 0),
  c.convert_by, y.at, coalesce(y.stream, 0), coalesce(y.seq, 0), coalesce(y.n, 0), x.at
FROM call c LEFT JOIN call_state s ON s.no = c.no
LEFT JOIN conversion y ON y.call = c.no AND y.outcome = 'converted' LEFT JOIN conversion x ON x.call = c.no AND x.outcome = 'not_converted'
WHERE c.call_id = $1 AND c.target IS NULL`

// Call gives one call by its call_id. ErrNotFound when there is none.
func (b *Books) Call(ctx context.Context, callID string) (*CallView, error) {
	if err := isText("call_id", callID); err != nil {
		return nil, err
	}
	v, conv := &CallView{CallID: callID}, new(CallConversion)
	var networks []byte
	var set, by event.ID
	err := lookUp(ctx, b.DB, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, callSQL, callID).
			Scan(&v.RefID, &networks, &v.Caller, &v.StartedAt, &v.EndedAt, &v.Duration, &v.Campaign, &v.Publisher, &v.Buyer, &v.Qualified,
				&v.Value, &v.Currency, &v.ValueFromPostback, &v.PublisherShare, &v.Status, &set.Stream, &set.Seq, &set.N,
				&conv.Until, &conv.ConvertedAt, &by.Stream, &by.Seq, &by.N, &conv.NotConvertedSince)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, notFound("call %q is not known", callID)
	}
	if err != nil {
		return nil, fmt.Errorf("read call %q: %w", callID, err)
	}
	if v.NetworkIDs = networks; networks != nil && !json.Valid(networks) {
		return nil, fmt.Errorf("read call %q: network_ids %.64q is not JSON", callID, networks)
	}
	if v.Status != nil && *v.Status != event.Booked.String() {
		v.Qualified = new(bool)
	}
	v.LastEvent, conv.Event = idText(set), idText(by)
	if conv.conclude() {
		v.Conversion = conv
	}
	return v, nil
}

// conclude says in a word what the times mean; false when there are none.
func (c *CallConversion) conclude() bool {
	switch {
	case c.ConvertedAt != nil:
		late := c.NotConvertedSince != nil
		c.Status, c.Late = "converted", &late
	case c.NotConvertedSince != nil:
		c.Status = "not_converted"
	case c.Until != nil:
		c.Status = "waiting"
	default:
		return false
	}
	return true
}

func idText(id event.ID) *string {
	if id.IsZero() {
		return nil
	}
	text := id.String()
	return &text
}
