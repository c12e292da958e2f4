package mapper

import (
	"strings"
	"time"
)

// DurationSecondsMax is the longest call that a report may tell of.
const DurationSecondsMax = 7 * 24 * 60 * 60

// readDuration reads whole seconds in the notation that a source declares:
// "" or "seconds", "ms" (rounded half up), "mm:ss" (also h:mm:ss). Zeros after
// a point are borne with.
func readDuration(text, notation string) (seconds int32, ok bool) {
	s := strings.TrimSpace(text)
	if notation == "mm:ss" {
		return readClock(s)
	}
	if whole, frac, pointed := strings.Cut(s, "."); pointed && frac != "" && strings.Trim(frac, "0") == "" {
		s = whole
	}
	if notation == "ms" {
		ms, ok := number(s, DurationSecondsMax*1000+499)
		return int32((ms + 500) / 1000), ok
	}
	n, ok := number(s, DurationSecondsMax)
	return int32(n), ok
}

// readClock reads m:ss or h:mm:ss.
func readClock(s string) (seconds int32, ok bool) {
	head, sec, ok := cutLast(s, ':')
	if !ok || len(sec) != 2 {
		return 0, false
	}
	hours, minutes, hasHours := cutLast(head, ':')
	if !hasHours {
		minutes = head
	} else if len(minutes) != 2 {
		return 0, false
	}
	var h int64
	ss, ok1 := number(sec, 59)
	minutesMax := int64(DurationSecondsMax / 60)
	if hasHours {
		minutesMax = 59
	}
	m, ok2 := number(minutes, minutesMax)
	ok3 := true
	if hasHours {
		h, ok3 = number(hours, DurationSecondsMax/3600)
	}
	total := h*3600 + m*60 + ss
	return int32(total), ok1 && ok2 && ok3 && total <= DurationSecondsMax
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// number reads digits that stand for at most most.
func number(s string, most int64) (int64, bool) {
	if !digits(s) {
		return 0, false
	}
	var n int64
	for i := 0; i < len(s); i++ {
		if n = n*10 + int64(s[i]-'0'); n > most {
			return 0, false
		}
	}
	return n, true
}

// readTime reads RFC 3339 (a blank may stand for the T), the same without an
// offset when zone is not nil, or Unix seconds (10 digits) or milliseconds (13),
// as microseconds since the Unix epoch.
func readTime(text string, zone *time.Location) (micros int64, ok bool) {
	s := strings.TrimSpace(text)
	if digits(s) {
		switch len(s) {
		case 10:
			n, ok := number(s, timeMost/1e6)
			return n * 1e6, ok && n*1e6 >= timeLeast
		case 13:
			n, ok := number(s, timeMost/1e3)
			return n * 1e3, ok && n*1e3 >= timeLeast
		}
		return 0, false
	}
	return readDate(s, zone)
}

// Times that a postback may name: from the year 2000 until 2100. Others are
// mistakes, and some could not be written as RFC 3339 again.
const (
	timeLeast = 946_684_800 * 1e6
	timeMost  = 4_102_444_800 * 1e6
)

// readDate does by hand what time.Parse does: that one makes a Location for
// each offset, and this is the hot path.
func readDate(s string, zone *time.Location) (micros int64, ok bool) {
	const form = "dddd-dd-ddTdd:dd:dd"
	if len(s) < len(form) {
		return 0, false
	}
	for i := range len(form) {
		c := s[i]
		switch form[i] {
		case 'd':
			ok = '0' <= c && c <= '9'
		case 'T':
			ok = c == 'T' || c == 't' || c == ' '
		default:
			ok = c == form[i]
		}
		if !ok {
			return 0, false
		}
	}
	at := func(i, n int) int {
		v, _ := number(s[i:i+n], 9999)
		return int(v)
	}
	year, month, day, hour, minute, sec := at(0, 4), at(5, 2), at(8, 2), at(11, 2), at(14, 2), at(17, 2)
	rest := s[len(form):]
	var fraction int64 // microseconds, cut
	if strings.HasPrefix(rest, ".") {
		n := 1
		for n < len(rest) && '0' <= rest[n] && rest[n] <= '9' {
			if n <= 6 {
				fraction = fraction*10 + int64(rest[n]-'0')
			}
			n++
		}
		if n == 1 || n > 10 {
			return 0, false
		}
		for i := n; i <= 6; i++ {
			fraction *= 10
		}
		rest = rest[n:]
	}
	offset, loc, ok := readOffset(rest, zone)
	if !ok || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || sec > 59 {
		return 0, false
	}
	if time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC).Day() != day {
		return 0, false // 31 April
	}
	t := time.Date(year, time.Month(month), day, hour, minute, sec, 0, loc)
	micros = (t.Unix()-int64(offset))*1e6 + fraction
	return micros, timeLeast <= micros && micros < timeMost
}

// readOffset reads Z, ±hh:mm, or nothing where a zone is known.
func readOffset(s string, zone *time.Location) (seconds int, loc *time.Location, ok bool) {
	switch {
	case s == "":
		return 0, zone, zone != nil
	case s == "Z" || s == "z":
		return 0, time.UTC, true
	case len(s) != 6 || s[3] != ':' || (s[0] != '+' && s[0] != '-'):
		return 0, nil, false
	}
	h, ok1 := number(s[1:3], 23)
	m, ok2 := number(s[4:6], 59)
	seconds = int(h)*3600 + int(m)*60
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, time.UTC, ok1 && ok2
}
