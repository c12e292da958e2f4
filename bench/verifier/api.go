package verifier

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// What the admin API answers, as far as it is looked at.
type (
	activityRow struct {
		Event      string    `json:"event"`
		ReceivedAt time.Time `json:"received_at"`
		Source     string    `json:"source"`
		Status     string    `json:"status"`
		Reason     string    `json:"reason"`
		CallID     string    `json:"call_id"`
		Caller     string    `json:"caller"`
		Duration   *int      `json:"duration"`
		Payout     *amount   `json:"payout"`
		Delta      amount    `json:"delta"`
		ShareDelta amount    `json:"share_delta"`
		Revision   int       `json:"revision"`
		ChangeSeq  int64     `json:"change_seq"`
	}
	timeline struct {
		Revisions []struct {
			Revision  int    `json:"revision"`
			Status    string `json:"status"`
			Reason    string `json:"reason"`
			ChangeSeq int64  `json:"change_seq"`
		} `json:"revisions"`
	}
	callState struct {
		Value        amount `json:"value"`
		Share        amount `json:"publisher_share"`
		Qualified    *bool  `json:"qualified"`
		FromPostback bool   `json:"value_from_postback"`
	}
	balanceRow struct {
		Kind     string `json:"kind"`
		Owner    string `json:"owner"`
		Currency string `json:"currency"`
		Debits   amount `json:"debits"`
		Credits  amount `json:"credits"`
	}
	transferRow struct {
		Posting int64  `json:"posting"`
		Line    int    `json:"line"`
		Event   string `json:"event"`
		CallID  string `json:"call_id"`
		Amount  amount `json:"amount"`
	}
)

// amount is money in millionths, from a decimal string; nothing is zero.
type amount int64

// UnmarshalJSON refuses numbers: money in JSON is text.
func (a *amount) UnmarshalJSON(p []byte) error {
	var text *string
	if err := json.Unmarshal(p, &text); err != nil {
		return fmt.Errorf("amount %s is not a decimal string", p)
	}
	if text == nil || *text == "" {
		*a = 0
		return nil
	}
	v, err := event.ParseAmount(*text)
	*a = amount(v)
	return err
}

func (a amount) String() string { return event.Amount(a).String() }

const pageRows = 1000

// all reads a listing to its end; narrow are names and values of its filter.
func all[T any](ctx context.Context, n *Node, path string, narrow ...string) ([]T, error) {
	var rows []T
	for after := ""; ; {
		var page struct {
			Rows []T    `json:"rows"`
			Next string `json:"next"`
		}
		q := url.Values{"limit": {fmt.Sprint(pageRows)}}
		for i := 0; i+1 < len(narrow); i += 2 {
			q.Set(narrow[i], narrow[i+1])
		}
		if after != "" {
			q.Set("after", after)
		}
		if err := n.api.Do(ctx, "GET", path+"?"+q.Encode(), nil, &page); err != nil {
			return nil, err
		}
		rows = append(rows, page.Rows...)
		if page.Next == "" {
			return rows, nil
		}
		if page.Next == after {
			return nil, fmt.Errorf("%s: page after %q leads to itself", path, after)
		}
		after = page.Next
	}
}
