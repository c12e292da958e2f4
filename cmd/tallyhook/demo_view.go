package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// reasonKey is a status with its reason.
type reasonKey struct{ status, reason string }

// demoView is what the screen shows.
type demoView struct {
	elapsed   time.Duration
	sent      sendProgress
	settling  bool // everything is sent
	settled   bool // and has its verdict
	summary   sink.Summary
	sentences map[reasonKey]string // an example of each
}

// line is the view for a log.
func (v *demoView) line(rate float64) string {
	matched, of := v.matched()
	value, share := v.money()
	return fmt.Sprintf("%5.1f s  %s of %s sent, %s a second; matched %s; value %s, publishers %s, margin %s %s; answered p50 %s, p99 %s",
		v.elapsed.Seconds(), count(v.sent.sent), count(v.sent.steps), count(int64(rate)), percent(matched, of),
		grouped(value), grouped(share), grouped(value-share), demoCurrency, brief(v.sent.p50), brief(v.sent.p99))
}

const (
	labelWidth  = 13
	barWidthMax = 48
)

// lines is the view for a terminal of that width.
func (v *demoView) lines(width int, rate float64) []string {
	matched, of := v.matched()
	value, share := v.money()
	label := func(name, format string, args ...any) string {
		return fmt.Sprintf("  %-*s", labelWidth, name) + fmt.Sprintf(format, args...)
	}
	state := count(int64(rate)) + " a second"
	switch {
	case v.settled:
		state = fmt.Sprintf("all has its verdict after %.1f s", v.elapsed.Seconds())
	case v.settling:
		state = "all sent; what waits is being settled"
	}
	lines := []string{
		label("sent", "%8s  of %s, %s", count(v.sent.sent), count(v.sent.steps), state),
		label("", "%8s  are postbacks, the others tell calls", count(v.sent.postbacks)),
		label("answered", "%8s  p50, %s p99; %s with the verdict", brief(v.sent.p50), brief(v.sent.p99), percent(v.sent.decided, v.sent.postbacks)),
		label("matched", "%8s  of %s postbacks that were not repeats", percent(matched, of), count(of)),
		"",
	}
	counts := v.statuses()
	most := int64(1)
	for _, c := range counts {
		most = max(most, c.Events)
	}
	for _, c := range counts {
		lines = append(lines, label(c.Status, "%8s  %s", count(c.Events), bar(c.Events, most, min(max(width-labelWidth-14, 10), barWidthMax))))
	}
	lines = append(lines, "",
		label("value", "%14s %s", grouped(value), demoCurrency),
		label("publishers", "%14s      %s of it", grouped(share), percent(int64(share), int64(value))),
		label("margin", "%14s      %s", grouped(value-share), percent(int64(value-share), int64(value))))
	return append(lines, v.reasons(width)...)
}

// matched is how many postbacks found their call, of those that were not
// repeats: a repeat is told from its original and not matched again.
func (v *demoView) matched() (matched, of int64) {
	for _, s := range v.summary.Statuses {
		if s.Status != event.Duplicate.String() {
			matched, of = matched+s.Matched, of+s.Events
		}
	}
	return matched, of
}

func (v *demoView) money() (value, share event.Amount) {
	for _, m := range v.summary.Money {
		if m.Currency == demoCurrency {
			return m.Value, m.Share
		}
	}
	return 0, 0
}

// statuses sums up over reasons, in the order in which statuses are listed
// everywhere: rows that do not jump are easier to watch.
func (v *demoView) statuses() (list []sink.StatusCount) {
	for _, name := range event.Statuses() {
		sum := sink.StatusCount{Status: name}
		for _, s := range v.summary.Statuses {
			if s.Status == name {
				sum.Events += s.Events
			}
		}
		if sum.Events > 0 {
			list = append(list, sum)
		}
	}
	return list
}

const reasonsShown = 5

// reasons are the most frequent ones, each with the sentence of an example:
// whole when they are to stay, else on one line each.
func (v *demoView) reasons(width int) (lines []string) {
	list := slices.Clone(v.summary.Statuses)
	slices.SortStableFunc(list, func(a, b sink.StatusCount) int { return int(b.Events - a.Events) })
	shown := 0
	for _, s := range list {
		sentence := printable(v.sentences[reasonKey{s.Status, s.Reason}])
		if sentence == "" || shown == reasonsShown {
			continue
		}
		shown++
		head := fmt.Sprintf("  %-*s%8s  ", labelWidth, s.Status, count(s.Events))
		folded := []string{sentence}
		if v.settled {
			folded = fold(sentence, width-len(head))
		}
		for _, part := range folded {
			lines = append(lines, head+part)
			head = strings.Repeat(" ", len(head))
		}
	}
	if shown == 0 {
		return nil
	}
	return append([]string{"", "  why, by an example of each"}, lines...)
}

// fold breaks s between words into lines of up to width characters.
func fold(s string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// bar draws n of most in width characters.
func bar(n, most int64, width int) string {
	if most <= 0 {
		return ""
	}
	eighths := int(8 * int64(width) * n / most)
	if n > 0 {
		eighths = max(eighths, 1)
	}
	s := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		s += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return s
}

func percent(n, of int64) string {
	if of == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of))
}

// brief writes a latency to a tenth of a millisecond.
func brief(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// grouped writes money with separators between thousands, rounded to cents.
func grouped(a event.Amount) string {
	cents := int64(a+5_000) / 10_000
	return fmt.Sprintf("%s.%02d", count(cents/100), cents%100)
}
