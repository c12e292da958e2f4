package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/tallyhook/tallyhook/mapper/admission"
)

// printVerdict writes the vectors, each difference below its vector, and then
// what holds for the module as a whole. The few calls of an admission say
// little of how fast a module is: times stand there when it was timed.
func (a *app) printVerdict(v *admission.Verdict, timed bool) error {
	if err := printVectors(a.out, v.Vectors, timed); err != nil {
		return err
	}
	if len(v.Vectors) > 0 {
		fmt.Fprintln(a.out)
	}
	list := []member{{"module", plural(int64(v.ModuleBytes), "byte")}}
	if v.SHA256 != "" {
		list = append(list, member{"sha256", v.SHA256})
	}
	if v.RewrittenBytes > 0 {
		list = append(list, member{"metered", fmt.Sprintf("%s, compiled in %s ms", plural(int64(v.RewrittenBytes), "byte"), count(v.CompileMillis))})
	}
	if v.MemoryPages > 0 {
		list = append(list, member{"memory", plural(int64(v.MemoryPages), "page") + " of 64 KiB"})
	}
	if v.InitFuel > 0 {
		list = append(list, member{"start", plural(v.InitFuel, "unit") + " of fuel"})
	}
	if v.WorstFuel > 0 {
		list = append(list, member{"dearest call", plural(v.WorstFuel, "unit") + " of fuel"})
	}
	if v.FuelLimit > 0 {
		list = append(list, member{"limit", plural(v.FuelLimit, "unit") + " of fuel a call (20 times the dearest, at least 200,000)"})
	}
	printMembers(a.out, "", list)
	for _, r := range v.Reasons {
		fmt.Fprintf(a.out, "\nrefused  %s\n    %s\n", printable(r.Code), printable(r.Text))
	}
	return nil
}

// printVectors writes one line for each vector.
func printVectors(w io.Writer, list []admission.Vector, timed bool) error {
	if len(list) == 0 {
		return nil
	}
	width := len("VECTOR")
	for _, v := range list {
		width = max(width, len(printable(v.Name)))
	}
	var b strings.Builder
	line := func(name, result, fuel, pages, nanos string) {
		fmt.Fprintf(&b, "%-*s  %-7s  %10s  %5s", width, name, result, fuel, pages)
		if timed {
			fmt.Fprintf(&b, "  %9s", nanos)
		}
		b.WriteByte('\n')
	}
	line("VECTOR", "RESULT", "FUEL", "PAGES", "NS/CALL")
	for _, v := range list {
		result := "ok"
		if !v.OK {
			result = "differs"
		}
		line(printable(v.Name), result, count(v.Fuel), count(int64(v.Pages)), count(v.Nanos))
		for _, d := range v.Diff {
			fmt.Fprintf(&b, "    %s\n", printable(d))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// judged is the error of a verdict that says no, nil when it says yes.
func judged(name string, v *admission.Verdict) error {
	if v.Admitted {
		return nil
	}
	return fmt.Errorf("%s is refused for what is said above", name)
}
