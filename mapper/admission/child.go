package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// Child is what the process that Run starts does, and all that it does: it sets
// its limits, reads a request from in and writes the verdict to out. The error
// says that it could not; it has been written to out as well, where possible.
//
// It must have a process to itself: the limits are never lifted again.
func Child(in io.Reader, out io.Writer) error {
	answers := json.NewEncoder(out)
	err := child(in, answers)
	if err != nil {
		answers.Encode(line{Error: err.Error()}) // it is returned as well, so what writing it says is of no use
	}
	return err
}

func child(in io.Reader, out *json.Encoder) error {
	say := func(s step) error {
		if err := out.Encode(line{Step: s}); err != nil {
			return fmt.Errorf("write admission step: %w", err)
		}
		return nil
	}
	h, err := readHead(in)
	if err != nil {
		return err
	}
	if err := bind(h.Bounds); err != nil {
		return err
	}
	if err := say(stepRead); err != nil {
		return err
	}
	r, err := readBody(in, h)
	if err != nil {
		return err
	}
	v, err := judge(context.Background(), r, say)
	if err != nil {
		return err
	}
	if err := out.Encode(line{Verdict: v}); err != nil {
		return fmt.Errorf("write admission verdict: %w", err)
	}
	return nil
}
