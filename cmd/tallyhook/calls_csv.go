package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/source"
)

// callColumns are the heads that a CSV file may have, besides network_ids.NAME.
var callColumns = []string{"call_id", "ref_id", "key", "caller", "started_at", "ended_at", "duration", "campaign", "publisher", "buyer", "qualified"}

const networkColumn = "network_ids."

// csvCalls makes JSON calls of CSV records. Each record is cut out of the file
// here, within lineBytesMax, so that a quote which is never closed cannot draw
// the rest of the file into memory; encoding/csv then reads that record alone.
type csvCalls struct {
	lines  *lineReader
	cols   []string
	record []byte
	one    bytes.Reader
	csv    *csv.Reader
	call   []byte
}

func newCSVCalls(r io.Reader) (*csvCalls, error) {
	c := &csvCalls{lines: newLineReader(r)}
	c.csv = csv.NewReader(&c.one)
	c.csv.FieldsPerRecord = -1
	c.csv.ReuseRecord = true
	_, heads, err := c.fields()
	if err == io.EOF {
		return nil, errors.New("the file is empty: want a line of heads such as call_id,caller,started_at,duration")
	}
	if err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	c.cols, err = callHeads(heads)
	return c, err
}

// callHeads maps heads to fields of a call.
func callHeads(heads []string) ([]string, error) {
	cols := make([]string, len(heads))
	seen := map[string]bool{}
	for i, head := range heads {
		name := strings.TrimSpace(head)
		low := strings.ToLower(name)
		network, isNetwork := strings.CutPrefix(low, networkColumn)
		switch {
		case isNetwork && network != "":
			low = networkColumn + name[len(networkColumn):] // a network's name keeps its case
		case !known(low):
			return nil, unknownHead(name, low)
		}
		if seen[low] {
			return nil, fmt.Errorf("column %d: %q is there twice; keep one", i+1, low)
		}
		seen[low], cols[i] = true, low
	}
	if !seen["call_id"] {
		return nil, errors.New("there is no column call_id; every call needs one")
	}
	return cols, nil
}

func known(name string) bool {
	for _, c := range callColumns {
		if c == name {
			return true
		}
	}
	return false
}

func unknownHead(name, low string) error {
	if strings.ContainsAny(name, ";\t") {
		return fmt.Errorf("the line of heads begins with %q: columns are separated by commas", clip(name))
	}
	if near := source.Nearest(low, append([]string{networkColumn + "NAME"}, callColumns...)); near != "" {
		return fmt.Errorf("column %q is not known: did you mean %q?", clip(name), near)
	}
	return fmt.Errorf("column %q is not known: a call has %s and %sNAME", clip(name), strings.Join(callColumns, ", "), networkColumn)
}

// clip bounds what an error repeats of outside text.
func clip(s string) string {
	if utf8.RuneCountInString(s) > 64 {
		return string([]rune(s)[:63]) + "…"
	}
	return s
}

// fields reads the next record that is not blank.
func (c *csvCalls) fields() (line int, values []string, err error) {
	for {
		line, err = c.cut()
		if err != nil {
			return line, nil, err
		}
		if len(bytes.TrimSpace(c.record)) > 0 {
			break
		}
	}
	if !utf8.Valid(c.record) {
		return line, nil, &lineFault{"not valid UTF-8: save the file as UTF-8"}
	}
	c.one.Reset(c.record)
	values, err = c.csv.Read()
	if err != nil {
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			err = bad.Err
		}
		// Whatever is left of the record belongs to the same fault.
		c.csv = csv.NewReader(&c.one)
		c.csv.FieldsPerRecord, c.csv.ReuseRecord = -1, true
		c.one.Reset(nil)
		why := fmt.Sprintf("not CSV: %s", err)
		if bytes.Count(c.record, []byte{'\n'}) > 1 {
			why += "; a quote joins it with what follows: " + c.lost(line)
		}
		return line, nil, &lineFault{why}
	}
	return line, values, nil
}

// cut takes the next record out of the file: lines until the quotes are even.
func (c *csvCalls) cut() (line int, err error) {
	c.record = c.record[:0]
	for quotes := 0; ; {
		text, err := c.lines.next()
		if len(c.record) == 0 {
			line = c.lines.line
		}
		switch {
		case err == io.EOF && len(c.record) > 0:
			return line, fmt.Errorf("a quoted field does not end: close its quote; %s", c.lost(line))
		case err != nil:
			return line, err
		}
		quotes += bytes.Count(text, []byte{'"'})
		c.record = append(append(c.record, text...), '\n')
		if quotes%2 == 0 {
			return line, nil
		}
		if len(c.record) > lineBytesMax {
			return line, fmt.Errorf("a quoted field does not end within %d KiB: close its quote; nothing from this line on was read", lineBytesMax>>10)
		}
	}
}

// lost names the lines that a record without an end has swallowed.
func (c *csvCalls) lost(first int) string {
	last := first + bytes.Count(c.record, []byte{'\n'}) - 1
	if last == first {
		return "this line was not read"
	}
	return fmt.Sprintf("lines %d to %d were not read", first, last)
}

func (c *csvCalls) next() (int, []byte, error) {
	line, values, err := c.fields()
	if err != nil {
		return line, nil, err
	}
	if len(values) != len(c.cols) {
		return line, nil, &lineFault{fmt.Sprintf("%d fields: the heads name %d", len(values), len(c.cols))}
	}
	return line, c.encode(values), nil
}

// encode writes a record as a call. Empty fields are absent. What is no number
// of seconds and no yes or no is sent as text, for the intake to name it.
func (c *csvCalls) encode(values []string) []byte {
	b := append(c.call[:0], '{')
	networks := 0
	for i, col := range c.cols {
		value := strings.TrimSpace(values[i])
		switch {
		case value == "":
		case strings.HasPrefix(col, networkColumn):
			networks++
		case col == "duration" && digits(value):
			b = append(appendName(b, col), strings.TrimLeft(value[:len(value)-1], "0")+value[len(value)-1:]...)
		case col == "qualified" && truth(value) != "":
			b = append(appendName(b, col), truth(value)...)
		default:
			b = appendText(appendName(b, col), value)
		}
	}
	if networks > 0 {
		b = append(appendName(b, "network_ids"), '{')
		for i, col := range c.cols {
			if name, ok := strings.CutPrefix(col, networkColumn); ok && strings.TrimSpace(values[i]) != "" {
				b = appendText(appendName(b, name), strings.TrimSpace(values[i]))
			}
		}
		b = append(b, '}')
	}
	c.call = append(b, '}')
	return c.call
}

func appendName(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(appendText(b, name), ':')
}

func appendText(b []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic("bug: a text does not encode: " + strconv.Quote(s))
	}
	return append(b, text...)
}

func digits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// truth reads what spreadsheets write for yes and no.
func truth(s string) string {
	switch strings.ToLower(s) {
	case "true", "yes", "1":
		return "true"
	case "false", "no", "0":
		return "false"
	}
	return ""
}
