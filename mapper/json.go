package mapper

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// tokens is what both JSON decoders give of a document, in its order.
type tokens interface {
	Token() (json.Token, error)
}

// frame is an object or array that is open while a report is flattened.
type frame struct {
	array bool
	next  int // index of the next element
	path  int // length of its own dotted name
}

// json appends the events of a record with a JSON body. Nothing reaches the
// decoder that the scanner has not let through, and the decoder reads through
// an io.Reader, that is, into a buffer of its own: it never has the batch's bytes.
func (w *worker) json(rec *event.Record) {
	top, f := w.scan.document(rec.Body)
	if f.reason != "" {
		f.detail.Got = w.got(f.detail.Got)
		w.whole.note(f.reason, f.detail)
		w.report(rec, 0)
		return
	}
	first := len(w.b.Events)
	if err := w.reports(rec, top, newDecoder(bytes.NewReader(rec.Body))); err != nil {
		// The decoder refuses what the scanner let through: nothing of it counts.
		w.b.Events = w.b.Events[:first]
		w.fields = w.fields[:w.shared]
		w.whole.note(event.BodyMalformed, event.Detail{Field: "JSON", Got: w.got(err.Error())})
		w.report(rec, 0)
	}
}

// reports appends one event per report of a document of the given shape.
func (w *worker) reports(rec *event.Record, top shape, d tokens) error {
	if top == shapeScalar {
		w.whole.note(event.BodyMalformed, event.Detail{Field: "JSON object", Got: w.got(string(bytes.TrimSpace(rec.Body)))})
		w.report(rec, 0)
		return nil
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if top == shapeObject {
		if err := w.flatten(d, false); err != nil {
			return err
		}
		w.report(rec, 0)
		return nil
	}

	first := len(w.b.Events)
	for n := 0; ; n++ {
		w.fields = w.fields[:w.shared]
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch {
		case t == json.Delim(']') && n == 0:
			w.whole.note(event.BodyMalformed, event.Detail{Field: "JSON object", Got: "[]"})
			w.report(rec, 0)
			return nil
		case t == json.Delim(']'):
			return nil
		case n == w.reportsMax(rec):
			w.b.Events = w.b.Events[:first]
			w.whole.note(event.TooManyReports, event.Detail{Limit: int64(n)})
			w.report(rec, 0)
			return nil
		case t == json.Delim('{'):
			err = w.flatten(d, false)
		case t == json.Delim('['):
			w.part.note(event.BodyMalformed, event.Detail{Field: "JSON object", Got: "[…]"})
			err = w.flatten(d, true)
			w.fields = w.fields[:w.shared]
		default:
			text, _ := textOf(t)
			w.part.note(event.BodyMalformed, event.Detail{Field: "JSON object", Got: w.got(text)})
		}
		if err != nil {
			return err
		}
		w.report(rec, n)
	}
}

// leaves writes the scalars of a record's JSON body as pairs, whatever its
// shape; its outermost array's elements are counted like those of any other.
func (w *worker) leaves(rec *event.Record) {
	top, f := w.scan.document(rec.Body)
	if f.reason != "" {
		f.detail.Got = w.got(f.detail.Got)
		w.whole.note(f.reason, f.detail)
		return
	}
	d := newDecoder(bytes.NewReader(rec.Body))
	t, err := d.Token()
	switch {
	case err != nil:
	case top == shapeScalar:
		if text, ok := textOf(t); ok {
			w.add("", text, fromBody)
		}
	default:
		err = w.flatten(d, top == shapeArray)
	}
	if err != nil {
		w.whole.note(event.BodyMalformed, event.Detail{Field: "JSON", Got: w.got(err.Error())})
	}
}

// reportsMax bounds the reports of one array: each repeats the query's fields,
// so that a long query allows fewer of them.
func (w *worker) reportsMax(rec *event.Record) int {
	const pairBytes = 32
	return min(event.ReportsMax, max(1, SharedBytesMax/(len(rec.Query)+pairBytes*w.shared+1)))
}

// flatten adds the fields of one object, whose opening bracket has been read,
// under dotted names: {"data":{"items":[{"price":1}]}} gives data.items.0.price.
// A null is absent, an empty object or array as well.
func (w *worker) flatten(d tokens, array bool) error {
	w.path = w.path[:0]
	w.frames = append(w.frames[:0], frame{array: array})
	for len(w.frames) > 0 {
		t, err := d.Token()
		if err != nil {
			return err
		}
		if t == json.Delim('}') || t == json.Delim(']') {
			w.frames = w.frames[:len(w.frames)-1]
			continue
		}
		top := &w.frames[len(w.frames)-1]
		if w.path = w.path[:top.path]; len(w.frames) > 1 {
			w.path = append(w.path, '.')
		}
		if top.array {
			w.path = strconv.AppendInt(w.path, int64(top.next), 10)
			top.next++
		} else {
			key, isText := t.(string)
			if !isText {
				return fmt.Errorf("key %v is no string", t)
			}
			w.path = append(w.path, key...)
			if t, err = d.Token(); err != nil {
				return err
			}
		}
		if t == json.Delim('{') || t == json.Delim('[') {
			w.frames = append(w.frames, frame{array: t == json.Delim('['), path: len(w.path)})
			continue
		}
		if text, ok := textOf(t); ok {
			w.leaf(text)
		}
	}
	return nil
}

// leaf adds the value at w.path.
func (w *worker) leaf(text string) {
	if len(w.path) > NameBytesMax {
		w.part.note(event.BodyMalformed, event.Detail{Field: "JSON", Got: fmt.Sprintf("a name of %d bytes, at most %d", len(w.path), NameBytesMax)})
		return
	}
	if !w.add(event.View(w.b.Copy(w.path)), text, fromBody) {
		w.part.note(event.BodyTooManyKeys, tooManyFields)
	}
}

// textOf gives the text of a scalar; ok is false for null. A number keeps the
// digits that were sent.
func textOf(t json.Token) (text string, ok bool) {
	switch v := t.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// warmUp has the decoder build what it builds once.
func warmUp() error {
	d := newDecoder(strings.NewReader(`{"text":"a\u0062","number":1.5,"flags":[true,false,null]}`))
	for {
		if _, err := d.Token(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
