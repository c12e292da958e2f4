package clickhouse

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of what is shipped. ClickHouse takes any bytes and any number, but a
// partition is made of the day of receipt and a TTL of the time, and both wrap
// around; and what is not UTF-8 breaks those who read JSON.
const (
	textBytesMax   = 16 << 10
	reportBytesMax = 1 << 20
)

var (
	timeMin = time.Unix(0, 0).UnixMicro()
	timeMax = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() - 1
)

// clean makes r a row that ClickHouse takes and that everybody can read: a row
// that is refused would hold up everything behind it. It always makes the same
// of the same row. What is impossible is bent, not dropped.
func (r *row) clean() {
	for _, s := range [...]*string{&r.status, &r.reason, &r.source, &r.kind, &r.strategy, &r.callID, &r.callCaller,
		&r.caller, &r.currency, &r.mapper, &r.peer, &r.campaign, &r.publisher, &r.buyer} {
		*s = cleanText(*s, textBytesMax)
	}
	for _, s := range [...]*string{&r.report, &r.detail} {
		*s = cleanJSON(*s)
	}
	r.receivedAt, r.decidedAt = clamp(r.receivedAt, timeMin, timeMax), clamp(r.decidedAt, timeMin, timeMax)
	if r.callEndedAt.Valid {
		r.callEndedAt.Int64 = clamp(r.callEndedAt.Int64, timeMin, timeMax)
	}
	const u32 = 1<<32 - 1
	r.stream, r.revision, r.candidates = clamp(r.stream, 0, u32), clamp(r.revision, 0, u32), clamp(r.candidates, 0, u32)
	r.n, r.final = clamp(r.n, 0, 1<<16-1), clamp(r.final, 0, 1)
	for _, v := range [...]*int64{&r.seq, &r.usQueue, &r.usMap, &r.usMatch, &r.usTotal} {
		*v = max(*v, 0)
	}
}

func clamp(v, low, high int64) int64 { return min(max(v, low), high) }

// cleanText replaces what is not UTF-8 and NUL, and cuts at bytesMax.
func cleanText(s string, bytesMax int) string {
	if len(s) <= bytesMax && strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	s = s[:min(len(s), bytesMax)]
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
	for len(s) > bytesMax { // the replacement is longer than what it replaces
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// cleanJSON keeps JSON that can be read; of one that is too long or broken it
// keeps the beginning as a string.
func cleanJSON(s string) string {
	if s == "" || len(s) <= reportBytesMax && utf8.ValidString(s) && json.Valid([]byte(s)) {
		return s
	}
	p, err := json.Marshal(map[string]string{"unreadable": cleanText(s, textBytesMax)})
	if err != nil {
		panic("bug: text does not encode: " + err.Error())
	}
	return string(p)
}

// day names the partition of r.
func (r *row) day() string { return time.UnixMicro(r.receivedAt).UTC().Format(time.DateOnly) }
