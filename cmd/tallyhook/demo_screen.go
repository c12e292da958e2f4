package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// screen shows a view: redrawn in place on a terminal, a line now and then
// elsewhere.
type screen struct {
	w      io.Writer
	tty    *os.File // nil without a terminal
	drawn  int      // lines on the terminal that are ours
	told   time.Duration
	rate   rateMeter
	closed bool
}

// What steers a terminal.
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	eraseDown  = "\x1b[J"
)

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	if _, ok := terminalWidth(w); ok {
		s.tty = w.(*os.File)
		fmt.Fprint(w, hideCursor)
	}
	return s
}

// close leaves the terminal as it was, the last view on it.
func (s *screen) close() {
	if s.tty != nil && !s.closed {
		fmt.Fprint(s.w, showCursor)
	}
	s.closed = true
}

func (s *screen) show(v *demoView) {
	s.rate.add(v.elapsed, v.sent.sent)
	if s.tty != nil {
		s.redraw(v)
		return
	}
	if v.settled || v.elapsed-s.told >= demoLine {
		s.told = v.elapsed
		fmt.Fprintln(s.w, v.line(s.rate.perSecond()))
	}
}

// redraw overwrites the lines drawn before. Lines are cut to the terminal: one
// that wrapped would spoil the count.
func (s *screen) redraw(v *demoView) {
	width, height, err := term.GetSize(int(s.tty.Fd()))
	if err != nil || width <= 0 || height <= 1 {
		width, height = 80, 24
	}
	lines := v.lines(width, s.rate.perSecond())
	if !v.settled { // what stays may scroll
		lines = lines[:min(len(lines), height-1)]
	}
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	b.WriteString("\r" + eraseDown)
	for _, line := range lines {
		b.WriteString(cut(line, width) + "\n")
	}
	s.drawn = len(lines)
	fmt.Fprint(s.w, b.String())
}

// rateMeter tells how much came within about the last second.
type rateMeter struct {
	at []time.Duration
	n  []int64
}

func (r *rateMeter) add(at time.Duration, n int64) {
	r.at, r.n = append(r.at, at), append(r.n, n)
	for len(r.at) > 2 && r.at[len(r.at)-1]-r.at[0] > time.Second {
		r.at, r.n = r.at[1:], r.n[1:]
	}
}

func (r *rateMeter) perSecond() float64 {
	last := len(r.at) - 1
	if last < 1 || r.at[last] == r.at[0] {
		return 0
	}
	return float64(r.n[last]-r.n[0]) / (r.at[last] - r.at[0]).Seconds()
}
