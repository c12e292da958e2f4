package signature

import (
	"strconv"
	"time"
)

// freshness finds the timestamp and holds it against now.
func (u *run) freshness(sc *scheme) (why Reason) {
	u.timestamp, u.at = "", time.Time{}
	if sc.timestamp == nil {
		return ""
	}
	value, why := u.textAt(sc.timestamp, TimestampMissing, TimestampMalformed)
	if why != "" {
		return why
	}
	if value, _, _ = sc.timestamp.next(value); value == "" {
		return TimestampMissing
	}
	at, ok := parseTime(value, sc.unit)
	if !ok {
		return TimestampMalformed
	}
	u.timestamp, u.at = value, at
	switch age := u.now.Sub(at); {
	case sc.tolerance >= 0 && age > time.Duration(sc.tolerance)*time.Second:
		return TimestampOld
	case sc.ahead >= 0 && -age > time.Duration(sc.ahead)*time.Second:
		return TimestampAhead
	}
	return ""
}

// Digits of a time: enough for the year 9999, and no more than fit.
const (
	secondsDigitsMax = 12
	millisDigitsMax  = 15
)

func parseTime(s string, u unit) (t time.Time, ok bool) {
	if u == unitRFC3339 {
		t, err := time.Parse(time.RFC3339Nano, s)
		return t, err == nil
	}
	digits := secondsDigitsMax
	if u == unitMillis {
		digits = millisDigitsMax
	}
	if len(s) == 0 || len(s) > digits || !allDigits(view(s)) {
		return t, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return t, false
	}
	if u == unitMillis {
		return time.UnixMilli(n).UTC(), true
	}
	return time.Unix(n, 0).UTC(), true
}

// formatTime writes t as a sender would.
func formatTime(t time.Time, u unit) string {
	switch u {
	case unitMillis:
		return strconv.FormatInt(t.UnixMilli(), 10)
	case unitRFC3339:
		return t.UTC().Format(time.RFC3339)
	}
	return strconv.FormatInt(t.Unix(), 10)
}
