package clickhouse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Caller numbers have 7 digits at least; what is compared are the last ten,
// since the same number comes with and without its country code.
const (
	callerDigitsMin = 7
	callerDigitsCmp = 10
	phoneDigitsMax  = 15
)

// callerHider takes the caller numbers out of one row after the other. hide
// turns one into what is kept in its place.
type callerHider struct {
	hide  func(e164 string) string
	known []knownCaller // of the row at hand
}

type knownCaller struct{ digits, kept string }

// row hides the callers of r: where they are expected, and wherever else their
// digits show. Values of extra that look like a phone number are hidden too:
// there a sender may put a number that no setting says is a caller.
func (h *callerHider) row(r *row) {
	h.known = h.known[:0]
	report, reportErr := decodeJSON(r.report)
	detail, detailErr := decodeJSON(r.detail)
	h.learn(r.caller)
	h.learn(r.callCaller)
	if fields, ok := report.(map[string]any); ok {
		for _, name := range []string{"caller", "caller_raw"} {
			if text, ok := fields[name].(string); ok {
				h.learn(text)
				fields[name] = h.whole(text)
			}
		}
		if extra, ok := fields["extra"].(map[string]any); ok {
			for name, v := range extra {
				if text, ok := v.(string); ok && looksLikePhone(text) {
					extra[name] = h.whole(text)
				}
			}
		}
	}
	h.detail(r, detail)
	r.caller, r.callCaller = h.whole(r.caller), h.whole(r.callCaller)
	r.report, r.detail = h.encode(report, reportErr), h.encode(detail, detailErr)
	for _, s := range []*string{&r.callID, &r.campaign, &r.publisher, &r.buyer, &r.mapper} {
		*s = h.text(*s)
	}
}

// detail hides what a reason quotes: of a caller that matched nothing it says
// which.
func (h *callerHider) detail(r *row, detail any) {
	fields, ok := detail.(map[string]any)
	if !ok {
		return
	}
	if got, ok := fields["got"].(string); ok && (strings.Contains(r.reason, "caller") || looksLikePhone(got)) {
		h.learn(got)
		fields["got"] = h.whole(got)
	}
}

// learn makes text a number that is hidden wherever it shows.
func (h *callerHider) learn(text string) {
	digits := digitsOf(text)
	if len(digits) < callerDigitsMin {
		return
	}
	h.known = append(h.known, knownCaller{digits[max(0, len(digits)-callerDigitsCmp):], h.hide(text)})
}

// whole hides a text that is a caller and nothing else. Written in another way,
// a known one stays the same.
func (h *callerHider) whole(text string) string {
	if text == "" {
		return ""
	}
	if kept, hit := h.find(digitsOf(text)); hit {
		return kept
	}
	return h.hide(text)
}

// text replaces every run of digits in s that holds a known number, or its end.
func (h *callerHider) text(s string) string {
	if len(h.known) == 0 {
		return s
	}
	var out strings.Builder
	for at := 0; at < len(s); {
		from, to := phoneRun(s, at)
		out.WriteString(s[at:from])
		run := s[from:to]
		if kept, hit := h.find(digitsOf(run)); hit {
			run = kept
		}
		out.WriteString(run)
		at = to
	}
	return out.String()
}

func (h *callerHider) find(digits string) (kept string, hit bool) {
	if len(digits) < callerDigitsMin {
		return "", false
	}
	for _, k := range h.known {
		if strings.Contains(digits, k.digits) || strings.HasSuffix(k.digits, digits) {
			return k.kept, true
		}
	}
	return "", false
}

// encode renders v again with every text searched. What could not be read is
// dropped whole.
func (h *callerHider) encode(v any, err error) string {
	if err != nil {
		return `{"unreadable":""}`
	}
	if v == nil {
		return ""
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(h.walk(v)); err != nil {
		panic(fmt.Sprintf("bug: decoded JSON does not encode: %v", err))
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func (h *callerHider) walk(v any) any {
	switch v := v.(type) {
	case string:
		return h.text(v)
	case json.Number:
		if text := v.String(); h.text(text) != text {
			return h.text(text)
		}
	case []any:
		for i := range v {
			v[i] = h.walk(v[i])
		}
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			value := h.walk(v[name])
			delete(v, name)
			v[h.text(name)] = value
		}
	}
	return v
}

// decodeJSON reads one value; "" is nil.
func decodeJSON(text string) (v any, err error) {
	if text == "" {
		return nil, nil
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// phoneRun finds the next run of s at or behind at that could be written in
// digits and what people put between them; from and to are len(s) if there is
// none. A run begins and ends with a digit.
func phoneRun(s string, at int) (from, to int) {
	for from = at; from < len(s) && !isDigit(s[from]); from++ {
	}
	to = from
	for i := from; i < len(s) && (isDigit(s[i]) || strings.IndexByte(" -.()/", s[i]) >= 0); i++ {
		if isDigit(s[i]) {
			to = i + 1
		}
	}
	return from, to
}

// looksLikePhone tells whether s is written like a phone number from end to
// end. Numbers of other things may be, and are hidden then: equal ones stay
// equal.
func looksLikePhone(s string) bool {
	s = strings.TrimSpace(s)
	plus := strings.HasPrefix(s, "+")
	s = strings.TrimPrefix(strings.TrimPrefix(s, "+"), "(")
	from, to := phoneRun(s, 0)
	n := len(digitsOf(s))
	if from != 0 || to != len(s) || n > phoneDigitsMax {
		return false
	}
	return n >= callerDigitsCmp || n >= callerDigitsMin && (plus || n < len(s))
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func digitsOf(s string) string {
	var b []byte
	for i := 0; i < len(s); i++ {
		if isDigit(s[i]) {
			b = append(b, s[i])
		}
	}
	return string(b)
}
