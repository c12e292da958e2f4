package verifier

import (
	"fmt"
	"io"
)

const differencesMax = 20 // that are kept; the rest are counted

// Report is what Check found.
type Report struct {
	Requests, Acked, Unknown int // sent, answered 2xx, never answered
	Events                   int
	Waited                   int // events that waited for their mapper
	Shipped                  int // rows in the activity store
	Calls, Valued, Undecided int // told, with a value, perhaps never told
	Accounts                 int
	Postings, Transfers      int
	Booked                   string // all that buyers owe
	Torn                     bool   // the log's last line was cut short

	Differences []string // the first of them
	Wrong       int      // how many there are
}

// OK reports whether the node kept its promises.
func (r *Report) OK() bool { return r.Wrong == 0 }

func (r *Report) differ(format string, args ...any) {
	if r.Wrong++; r.Wrong <= differencesMax {
		r.Differences = append(r.Differences, fmt.Sprintf(format, args...))
	}
}

// Print writes the report for a person.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "requests   %d sent, %d acknowledged, %d without an answer\n", r.Requests, r.Acked, r.Unknown)
	fmt.Fprintf(w, "events     %d, %d in the activity store", r.Events, r.Shipped)
	if r.Waited > 0 {
		fmt.Fprintf(w, "; %d of them had to wait for their mapper", r.Waited)
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "calls      %d told, %d with a value, %d perhaps never told\n", r.Calls, r.Valued, r.Undecided)
	fmt.Fprintf(w, "ledger     %s booked on %d accounts by %d postings of %d transfers\n", r.Booked, r.Accounts, r.Postings, r.Transfers)
	if r.Torn {
		fmt.Fprintln(w, "log        its last line was cut short: the verifier was ended in the middle")
	}
	if r.OK() {
		fmt.Fprintln(w, "verdict    nothing lost, nothing doubled, every balance as it should be")
		return
	}
	fmt.Fprintf(w, "verdict    %d differences, the first of them:\n", r.Wrong)
	for _, d := range r.Differences {
		fmt.Fprintf(w, "  %s\n", d)
	}
}
