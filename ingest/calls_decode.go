package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// Limits of one call.
const (
	CallIDBytesMax   = 128
	CallTextBytesMax = 256 // of every other text
	NetworkIDsMax    = 8
	CallDurationMax  = 7 * 24 * time.Hour
)

// Times of calls lie between these: anything else is a unit gone wrong.
var (
	callTimeMin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	callTimeMax = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

var callFields = []string{"call_id", "ref_id", "key", "network_ids", "caller", "started_at", "ended_at",
	"duration", "campaign", "publisher", "buyer", "qualified"}

// CallError says why a call was refused: a word for machines, a sentence for
// people that holds the value and the way out.
type CallError struct {
	Code    string
	Message string
}

func (e *CallError) Error() string { return e.Message }

func callErr(code, format string, args ...any) *CallError {
	return &CallError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// DecodeCall reads one call, a JSON object such as
//
//	{"call_id":"c1","caller":"+13055551234","started_at":"2026-03-01T12:00:00Z","duration":90}
//
// Absent, null and empty fields stay absent: an upsert leaves what was there.
// Unknown fields and fields named twice are refused. The caller is brought to
// E.164, a number without a country code being taken for one of region. The
// call's texts may be views into line, which must not change while it is used.
//
// The error is a *CallError for the first thing that is wrong; the call then
// holds its CallID, if that could be read.
func DecodeCall(line []byte, region string) (event.Call, error) {
	d := callDecoder{region: region}
	line = bytes.TrimSpace(line)
	if !utf8.Valid(line) {
		return d.call, callErr("not_utf8", "The call is not valid UTF-8.")
	}
	if err := jsonFault(line); err != nil {
		return d.call, callErr("malformed_json", "The call is not valid JSON: %s.", err)
	}
	if line[0] != '{' {
		return d.call, callErr("not_an_object", "A call is a JSON object, not %s.", quote(line))
	}
	eachMember(line, d.member)
	if d.err == nil {
		d.check()
	}
	if d.err != nil {
		return event.Call{CallID: d.call.CallID}, d.err
	}
	return d.call, nil
}

type callDecoder struct {
	region string
	call   event.Call
	seen   uint32 // bit i: callFields[i] was there
	err    *CallError
}

func (d *callDecoder) fail(code, format string, args ...any) {
	if d.err == nil {
		d.err = callErr(code, format, args...)
	}
}

// member takes one field. It goes on after an error, to find the call_id.
func (d *callDecoder) member(name, value []byte) {
	i := 0
	for i < len(callFields) && callFields[i] != string(name) {
		i++
	}
	if i == len(callFields) {
		if near := source.Nearest(string(name), callFields); near != "" {
			d.fail("unknown_field", "The field %s is not known: did you mean %q?", quote(name), near)
		} else {
			d.fail("unknown_field", "The field %s is not known: a call has %s.", quote(name), strings.Join(callFields, ", "))
		}
		return
	}
	if d.seen&(1<<i) != 0 {
		d.fail("duplicate_field", "The field %s is there twice; keep one.", name)
		return
	}
	d.seen |= 1 << i
	if string(value) == "null" {
		return
	}
	c, field := &d.call, callFields[i]
	switch field {
	case "call_id":
		c.CallID = d.text(field, value, CallIDBytesMax)
	case "ref_id":
		c.RefID = d.text(field, value, CallTextBytesMax)
	case "key":
		c.Key = d.text(field, value, CallTextBytesMax)
	case "network_ids":
		d.networkIDs(value)
	case "caller":
		c.Caller = d.caller(value)
	case "started_at":
		c.StartedAt = d.time(field, value)
	case "ended_at":
		c.EndedAt = d.time(field, value)
	case "duration":
		c.Duration = d.seconds(value)
	case "campaign":
		c.Campaign = d.text(field, value, CallTextBytesMax)
	case "publisher":
		c.Publisher = d.text(field, value, CallTextBytesMax)
	case "buyer":
		c.Buyer = d.text(field, value, CallTextBytesMax)
	case "qualified":
		c.Qualified = d.yesNo(value)
	}
}

func (d *callDecoder) check() {
	c := &d.call
	switch {
	case c.CallID == "":
		d.fail("call_id_missing", "The call has no call_id; every call needs one.")
	case c.StartedAt != 0 && c.EndedAt != 0 && c.EndedAt < c.StartedAt:
		d.fail("ends_before_start", "The call's ended_at %s lies before its started_at %s.", time.UnixMicro(c.EndedAt).UTC().Format(time.RFC3339), time.UnixMicro(c.StartedAt).UTC().Format(time.RFC3339))
	}
}

func (d *callDecoder) text(field string, value []byte, bytesMax int) string {
	s, ok := textOf(value)
	if !ok {
		d.fail("wrong_type", "The %s %s is not a text; put it in quotes.", field, quote(value))
		return ""
	}
	if len(s) > bytesMax {
		d.fail("too_long", "The %s of %d bytes is too long: at most %d.", field, len(s), bytesMax)
		return ""
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			d.fail("control_character", "The %s %s has the control character %U; take it out.", field, quote([]byte(s)), r)
			return ""
		}
	}
	return s
}

func (d *callDecoder) networkIDs(value []byte) {
	if value[0] != '{' {
		d.fail("wrong_type", "The network_ids %s are not an object such as {\"ringba\":\"RGB123\"}.", quote(value))
		return
	}
	eachMember(value, func(rawName, value []byte) {
		name := d.text("network_ids name", append(append([]byte{'"'}, rawName...), '"'), CallTextBytesMax)
		id := ""
		if string(value) != "null" {
			id = d.text("network_ids."+name, value, CallTextBytesMax)
		}
		for _, p := range d.call.NetworkIDs {
			if p.Name == name {
				d.fail("duplicate_field", "The network_ids name %q twice; keep one.", name)
			}
		}
		switch {
		case name == "":
			d.fail("network_unnamed", "One of the network_ids has no name; say whose id it is.")
		case id == "":
		case len(d.call.NetworkIDs) == NetworkIDsMax:
			d.fail("too_many_network_ids", "The call has more than %d network_ids.", NetworkIDsMax)
		default:
			d.call.NetworkIDs = append(d.call.NetworkIDs, event.Pair{Name: name, Value: id})
		}
	})
}

func (d *callDecoder) caller(value []byte) string {
	raw := d.text("caller", value, CallTextBytesMax)
	if raw == "" {
		return ""
	}
	n, err := phonenumbers.Parse(raw, d.region)
	if err != nil || !phonenumbers.IsPossibleNumber(n) {
		d.fail("caller_unreadable", "The caller %s is not a phone number in region %s; send it with a plus and country code, or leave it out.", quote([]byte(raw)), d.region)
		return ""
	}
	return phonenumbers.Format(n, phonenumbers.E164)
}

func (d *callDecoder) time(field string, value []byte) int64 {
	s := d.text(field, value, CallTextBytesMax)
	if s == "" {
		return 0
	}
	var t time.Time
	if err := t.UnmarshalText([]byte(s)); err != nil {
		d.fail("time_unreadable", "The %s %s is not a time such as 2026-03-01T12:00:00Z (RFC 3339).", field, quote([]byte(s)))
		return 0
	}
	if t.Before(callTimeMin) || !t.Before(callTimeMax) {
		d.fail("time_out_of_range", "The %s %s is not between the years 2000 and 2100.", field, quote([]byte(s)))
		return 0
	}
	return t.UnixMicro()
}

func (d *callDecoder) seconds(value []byte) event.Seconds {
	const most = int32(CallDurationMax / time.Second)
	var n int32
	if value[0] == '"' || json.Unmarshal(value, &n) != nil || n < 0 || n > most {
		d.fail("duration_unreadable", "The duration %s is not a whole number of seconds from 0 to %d (7 days).", quote(value), most)
		return event.Seconds{}
	}
	return event.Seconds{N: n, OK: true}
}

func (d *callDecoder) yesNo(value []byte) event.Tri {
	switch string(value) {
	case "true":
		return event.Yes
	case "false":
		return event.No
	}
	d.fail("wrong_type", "The qualified %s is neither true nor false.", quote(value))
	return event.Unknown
}
