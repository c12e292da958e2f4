package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressEvery is how often progress is told where there is no terminal.
const progressEvery = 5 * time.Second

// progress shows how far long work is: a bar that is redrawn on a terminal, a
// line now and then elsewhere. It writes to standard error, so that what a
// command prints stays clean.
type progress struct {
	w     io.Writer
	what  string
	unit  string
	bar   *progressbar.ProgressBar // nil without a terminal
	begun time.Time
	told  time.Time
}

func (a *app) newProgress(what, unit string) *progress {
	p := &progress{w: a.errOut, what: what, unit: unit, begun: time.Now()}
	p.told = p.begun
	if _, ok := terminalWidth(a.errOut); ok {
		p.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(a.errOut), progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(unit == "bytes"), progressbar.OptionUseIECUnits(true), progressbar.OptionShowCount(), progressbar.OptionSetItsString(unit),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
	}
	return p
}

// set says that done of total is done; a total of 0 is not known.
func (p *progress) set(done, total int64) {
	if p.bar != nil {
		if total > 0 && p.bar.GetMax64() != total {
			p.bar.ChangeMax64(total)
		}
		// The bar fails only on its writer: what cannot be shown is not missed.
		_ = p.bar.Set64(done)
		return
	}
	if now := time.Now(); now.Sub(p.told) >= progressEvery {
		p.told = now
		fmt.Fprintf(p.w, "%s: %s %s%s, %s\n", p.what, count(done), p.unit, part(done, total), now.Sub(p.begun).Round(time.Second))
	}
}

// describe renames what is under way.
func (p *progress) describe(what string) {
	p.what = what
	if p.bar != nil {
		p.bar.Describe(what)
	}
}

func part(done, total int64) string {
	if total <= 0 {
		return ""
	}
	return fmt.Sprintf(" of %s (%d %%)", count(total), 100*done/total)
}

// clear takes the bar off the terminal, for a line that has to be read.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// end takes the bar off for good.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
		_ = p.bar.Clear()
	}
}
