package event

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Reason is a machine word that says why an event ended as it did; Sentence
// says it to a person.
type Reason string

// Reasons of matching.
const (
	NoReason                 Reason = ""
	NoKey                    Reason = "no_key"                     // nothing in it names a call
	NoSuchRef                Reason = "no_such_ref"                // ids given, none known, no caller to fall back on
	NoCaller                 Reason = "no_caller"                  // no id known, and the report has no caller
	CallerUnreadable         Reason = "caller_unreadable"          // a caller that is no phone number
	NoCallFromCaller         Reason = "no_call_from_caller"        // the caller never rang, as far as we know
	NoDuration               Reason = "no_duration"                // caller known, but no duration to compare
	CallHasNoDuration        Reason = "call_has_no_duration"       // the call has not ended yet
	DurationOutsideTolerance Reason = "duration_outside_tolerance" // by MissedBy seconds
	StartOutsideWindow       Reason = "start_outside_window"       // by MissedBy seconds
	OtherBuyer               Reason = "other_buyer"                // the only fitting call belongs to another buyer
	SeveralCandidates        Reason = "several_candidates"         // matched, but others fitted too
)

// Reasons of the mapper: the postback could not be read.
const (
	BodyMalformed     Reason = "body_malformed"
	BodyTooDeep       Reason = "body_too_deep"
	BodyTooManyKeys   Reason = "body_too_many_keys"
	BodyDuplicateKey  Reason = "body_duplicate_key"
	BodyNotUTF8       Reason = "body_not_utf8"
	ContentTypeOdd    Reason = "content_type_unsupported"
	TooManyReports    Reason = "too_many_reports"
	PayoutMissing     Reason = "payout_missing"
	PayoutUnreadable  Reason = "payout_unreadable"
	PayoutNegative    Reason = "payout_negative"
	DurationBad       Reason = "duration_unreadable"
	TimeBad           Reason = "time_unreadable"
	KindUnknown       Reason = "kind_unknown"
	CurrencyBad       Reason = "currency_unreadable"
	StatusUnknown     Reason = "status_unknown"   // the source says what its words mean, but nothing of this one
	StatusIgnored     Reason = "status_ignored"   // it says that this one is of no concern
	IdentityMissing   Reason = "identity_missing" // the source's identity field is not in the report
	FieldMissing      Reason = "field_missing"    // a partner's mapper says that something it needs is not there
	Unsupported       Reason = "unsupported"      // and that it does not read such postbacks
	MapperRefused     Reason = "mapper_refused"   // and why in its own words (Detail.Got), or by a code of its own (Detail.Limit)
	MapperDropped     Reason = "mapper_dropped"   // and that it is of no concern
	MapperTrapped     Reason = "mapper_trapped"   // it broke: Detail.Got says how
	MapperOutOfFuel   Reason = "mapper_out_of_fuel"
	MapperTooDeep     Reason = "mapper_too_deep"
	MapperResultBad   Reason = "mapper_result_bad" // it said what cannot be read as reports
	MapperInputLong   Reason = "mapper_input_too_long"
	MapperUnavailable Reason = "mapper_unavailable" // it cannot be asked now, or others wait for it already
	MapperPanicked    Reason = "mapper_panicked"
	AccountMissing    Reason = "account_missing" // a field that names the account is not there
	RewardMissing     Reason = "reward_missing"  // what the account is to be credited is not there
	Crashed           Reason = "crashed_twice"   // the process died on it twice
	SourceUnknown     Reason = "source_unknown"
	ReportUnreadable  Reason = "report_unreadable" // what was recorded of it cannot be read again
)

// Reasons of the ledger.
const (
	SameEvent          Reason = "same_event"        // Detail.Of told it first
	OtherContent       Reason = "other_content"     // same identity as Detail.Of, other money
	ToldFirst          Reason = "told_first"        // Detail.Of repeated it and was booked before it
	SameValue          Reason = "same_value"        // nothing to change
	OlderThanBooked    Reason = "older_than_booked" // Detail.Of was received later and counts
	AmountOverCap      Reason = "amount_over_cap"   // Detail.Limit millionths
	CurrencyDiffers    Reason = "currency_differs"  // from what is booked on the call
	SourcePaused       Reason = "source_paused"
	TestPostback       Reason = "test"                // Detail.Would says what it would have been
	ReversedOnArrival  Reason = "reversed_on_arrival" // its reversal Detail.Of came first
	ReversalBeforehand Reason = "reversal_beforehand" // nothing to take back yet; remembered
	BuyerSaidZero      Reason = "buyer_said_zero"
	TakenBack          Reason = "taken_back"

	FirstCounts          Reason = "first_counts"           // Detail.Of has set the value, and the source counts the first
	TransitionNotAllowed Reason = "transition_not_allowed" // from the word Detail.Value to Detail.Got
	DailyCapReached      Reason = "daily_cap_reached"      // Detail.Limit millionths a day
	MoneyUnsigned        Reason = "money_unsigned"         // the signature does not vouch for Detail.Field
	BelowZero            Reason = "below_zero"             // an adjustment would leave Detail.Value
	NoSuchTransaction    Reason = "no_such_transaction"    // an adjustment names none that we know
	NotTriggered         Reason = "not_triggered"          // it neither names a value nor holds the trigger of the call's campaign
	CallKeyWrong         Reason = "call_key_wrong"         // it does not show the key of its call
	ConvertedLate        Reason = "converted_late"         // the time for a value had ended at Detail.Got
	Released             Reason = "released"               // a person let a held event be booked
	RefusedByPerson      Reason = "refused_by_person"      // a person refused a held event
)

// Detail holds what a reason speaks of. Absent parts are zero.
type Detail struct {
	Field    string `json:"field,omitempty"`     // name of the offending field, as sent
	Got      string `json:"got,omitempty"`       // its value, cut to 64 bytes
	Call     string `json:"call,omitempty"`      // call_id of the nearest candidate
	MissedBy int64  `json:"missed_by,omitempty"` // how much beyond Limit it was, seconds
	Limit    int64  `json:"limit,omitempty"`     // the bound: seconds for durations and times, millionths for money, else a count
	Others   int    `json:"others,omitempty"`    // how many more fitted
	Of       string `json:"of,omitempty"`        // id of the other event
	Would    string `json:"would,omitempty"`     // the status that a test would have had
	Value    string `json:"value,omitempty"`     // and the value it would have booked
}

// JSON renders d, or nothing when d says nothing.
func (d Detail) JSON() []byte {
	if d == (Detail{}) {
		return nil
	}
	p, err := json.Marshal(d)
	if err != nil {
		panic("bug: detail does not marshal: " + err.Error())
	}
	return p
}

// ParseDetail reads what JSON rendered; nothing gives an empty Detail.
func ParseDetail(p []byte) (d Detail, err error) {
	if len(p) == 0 {
		return d, nil
	}
	err = json.Unmarshal(p, &d)
	return d, err
}

// Sentence says to a person why an event ended as it did and what to do about it.
func Sentence(s Status, why Reason, d Detail) string {
	text, known := sentences[why]
	switch {
	case why == SeveralCandidates && d.Field != "":
		text = severalOfOneID
	case why == TakenBack && d.Value != "":
		text = partTakenBack
	case why == SameEvent && d.Limit > 0:
		text = sameContent
	case why == TestPostback && d.Value == "":
		text = testOfNothing
	}
	if !known {
		return strings.ReplaceAll(string(why), "_", " ")
	}
	limit := strconv.FormatInt(d.Limit, 10)
	switch why {
	case AmountOverCap, DailyCapReached:
		limit = Amount(d.Limit).String()
	case DurationOutsideTolerance, StartOutsideWindow:
		limit = seconds(d.Limit)
	}
	text = strings.NewReplacer("{field}", d.Field, "{got}", strconv.Quote(d.Got), "{call}", d.Call, "{missed}", seconds(d.MissedBy),
		"{limit}", limit, "{others}", strconv.Itoa(d.Others), "{of}", d.Of, "{would}", d.Would, "{value}", d.Value).Replace(text)
	switch {
	case s == Parked && why == MapperUnavailable:
		text += " The postback waits for it."
	case s == Parked:
		text += " Waiting for the call."
	}
	return text
}

func seconds(n int64) string {
	if n < 120 {
		return fmt.Sprintf("%d s", n)
	}
	return (time.Duration(n) * time.Second).String()
}
