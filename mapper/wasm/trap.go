package wasm

import (
	"errors"
	"fmt"
	"strings"
)

// Class says which bound a module ran into.
type Class uint8

const (
	Crash  Class = iota // unreachable code, a bad address, a division by zero, an exit
	Fuel                // it did more work than its fuel pays for
	Depth               // its calls went too deep
	Memory              // its result is too long or not in its memory
)

var classNames = [...]string{"crash", "fuel", "depth", "memory"}

func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// Trap is the end of a call that did not end well. The instance is spent: its
// Worker makes a new one for the next call.
type Trap struct {
	Class Class
	Text  string // a sentence for the module's author
	Fuel  int64  // used until then; a little more than was given when Class is Fuel
}

func (t *Trap) Error() string { return t.Text }

// exit is what a module panics the host with when it ends itself.
type exit struct{ code uint32 }

func (e exit) Error() string { return fmt.Sprintf("the module ended itself with exit code %d", e.code) }

var errOutOfFuel = errors.New("out of fuel")

// trap makes a Trap of an error that a call gave. given and left are units of
// fuel, depth the counter of calls; what is negative has run out.
func trap(err error, given, left int64, depth int32) *Trap {
	t := &Trap{Fuel: given - left}
	place, reason := origin(err.Error())
	var end exit
	switch {
	case left < 0:
		t.Class = Fuel
		t.Text = fmt.Sprintf("the module ran out of fuel%s: it was given %d units; do less work in a call", place, given)
	case depth < 0 || reason == "stack overflow":
		t.Class = Depth
		t.Text = fmt.Sprintf("the module's calls went too deep%s: look for a recursion without end", place)
	case errors.As(err, &end):
		t.Text = end.Error() + place
	default:
		t.Text = fmt.Sprintf("the module crashed%s: %s", place, reason)
	}
	return t
}

// origin takes a wazero error apart:
//
//	wasm error: unreachable
//	wasm stack trace:
//		.$7(i32) i64
//		.mapper_v1_map(i32) i64
//
// gives " in function 7" and "unreachable". Names are gone since the rewriting,
// so a number is what there is; it is that of the uploaded module.
func origin(text string) (place, reason string) {
	reason, trace, _ := strings.Cut(text, "\n")
	reason = strings.TrimPrefix(reason, "wasm error: ")
	reason = strings.TrimSuffix(reason, " (recovered by wazero)")
	_, frame, _ := strings.Cut(trace, "\n\t")
	frame, _, _ = strings.Cut(frame, "\n")
	name, _, ok := strings.Cut(frame, "(")
	if !ok {
		return "", reason
	}
	if _, number, ok := strings.Cut(name, ".$"); ok {
		return " in function " + number, reason
	}
	return " in " + strings.TrimPrefix(name, "."), reason
}
