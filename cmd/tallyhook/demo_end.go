package main

import (
	"fmt"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// sample is an event worth looking at.
type sample struct {
	why string
	row sink.Row
}

// samples picks a match by caller, one that waited for its call, and one that
// nobody knew; of what did not occur there is none.
func (d *demo) samples() ([]sample, error) {
	booked, err := d.events("booked")
	if err != nil {
		return nil, err
	}
	unmatched, err := d.events("unmatched")
	if err != nil {
		return nil, err
	}
	var list []sample
	pick := func(why string, rows []sink.Row, fits func(*sink.Row) bool) {
		for i := range rows {
			if fits(&rows[i]) {
				list = append(list, sample{why, rows[i]})
				return
			}
		}
	}
	pick("found by caller and duration", booked, func(r *sink.Row) bool { return r.Strategy == event.ByCaller.String() && r.Revision == 1 })
	pick("came before its call and waited", booked, func(r *sink.Row) bool { return r.Revision > 1 })
	pick("found no call", unmatched, func(*sink.Row) bool { return true })
	return list, nil
}

// conclude compares the books with what the senders claimed, verifies them and
// says how to go on. The node has stopped.
func (d *demo) conclude(samples []sample) error {
	want := d.sender.expected()
	if err := d.compare(want); err != nil {
		return err
	}
	findings, err := d.verifyStore(d.opt.Store)
	if err != nil {
		return err
	}
	fmt.Fprintln(d.out)
	if err := d.printFindings(findings); err != nil {
		return err
	}
	d.printSamples(samples)
	if bad := findings.First(); bad != nil {
		return fmt.Errorf("%s does not hold: %s", bad.ID, bad.Fault)
	}
	return nil
}

// compare checks the sums of the books against those of the traffic.
func (d *demo) compare(want expectation) error {
	var have sink.CurrencySum
	for _, m := range d.view.summary.Money {
		if m.Currency == demoCurrency {
			have = m
		}
	}
	fmt.Fprintf(d.out, "\nWhat buyers last said of each call  %18s %s\nand what its publishers earn of that %17s %s\n", want.value, demoCurrency, want.share, demoCurrency)
	if have.Value != want.value || have.Share != want.share {
		return fmt.Errorf("the books say %s and %s", have.Value, have.Share)
	}
	fmt.Fprintln(d.out, "The books say the same, to the last digit.")
	return nil
}

func (d *demo) printSamples(samples []sample) {
	fmt.Fprintln(d.out, "\nSome events")
	flags := fmt.Sprintf("--data %s --admin %s", quoteArg(d.node.data), d.node.admin)
	for _, s := range samples {
		told := fmt.Sprintf("%s, %s: %s.", s.row.Event, s.row.Status, s.why)
		if s.row.ReasonText != "" {
			told += " " + printable(s.row.ReasonText)
		}
		d.say("  ", told)
		if d.cmd.Keep {
			fmt.Fprintf(d.out, "    tallyhook event %s %s\n", s.row.Event, flags)
		}
	}
	fmt.Fprintln(d.out)
	if !d.cmd.Keep {
		d.say("", `The node has stopped and its folder is removed. "tallyhook demo --keep" keeps it and names the commands to look into it.`)
		return
	}
	d.say("", "The node has stopped; its folder stays until you remove it. These look into it, and start a node on it again:")
	fmt.Fprintf(d.out, "  tallyhook activity %s\n  tallyhook ledger balances %s\n  tallyhook serve --data %s\n", flags, flags, quoteArg(d.node.data))
}

// say writes text, folded to the terminal if it goes to one.
func (d *demo) say(indent, text string) {
	lines := []string{text}
	if width, _ := terminalWidth(d.out); width > 0 {
		lines = fold(text, width-len(indent))
	}
	for _, line := range lines {
		fmt.Fprintln(d.out, indent+line)
	}
}
