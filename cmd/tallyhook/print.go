package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// terminalWidth gives the columns of w if it is a terminal.
func terminalWidth(w io.Writer) (int, bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 0, true
	}
	return width, true
}

// printable keeps what somebody sent from steering the terminal: characters
// that do not print are written as \x1b, \n, \u202e.
func printable(s string) string {
	if !strings.ContainsFunc(s, odd) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if odd(r) || (r == utf8.RuneError && size == 1) {
			quoted := strconv.QuoteToASCII(s[i : i+size])
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

func odd(r rune) bool { return !unicode.IsPrint(r) }

// lookUp finds a dotted path in a decoded object; what is not there is nil.
func lookUp(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

// text writes a decoded value: nothing for null, yes and no for truth, JSON
// for lists and objects.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "yes"
		}
		return "no"
	}
	b := new(bytes.Buffer)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("bug: a decoded value does not encode: " + err.Error())
	}
	return strings.TrimSpace(b.String())
}

// moment writes a time in UTC to the second, momentMicros to the microsecond.
func moment(v any) string       { return inUTC(v, "2006-01-02 15:04:05") }
func momentMicros(v any) string { return inUTC(v, "2006-01-02 15:04:05.000000") }

func inUTC(v any, form string) string {
	s := text(v)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return s
	}
	return t.UTC().Format(form)
}

// decodeRows reads rows with their numbers as they were written.
func decodeRows(raw []json.RawMessage) ([]map[string]any, error) {
	rows := make([]map[string]any, len(raw))
	for i, r := range raw {
		if err := decodeNumbers(r, &rows[i]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func decodeNumbers(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(v)
}

// printJSON writes v indented.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printRows writes each row as JSON on a line of its own.
func (a *app) printRows(rows []json.RawMessage) error {
	w := bufio.NewWriter(a.out)
	line := new(bytes.Buffer)
	for _, r := range rows {
		line.Reset()
		if err := json.Compact(line, r); err != nil {
			return err
		}
		line.WriteByte('\n')
		w.Write(line.Bytes())
	}
	return w.Flush()
}

// member is one member of an object by its dotted name.
type member struct {
	name string
	v    any
}

// flatten lists an object's members in their order, inner objects' ones by
// dotted names. Lists stay whole.
func flatten(raw json.RawMessage) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return flattenInto(nil, "", d)
}

func flattenInto(list []member, prefix string, d *json.Decoder) ([]member, error) {
	if _, err := d.Token(); err != nil { // {
		return list, err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return list, err
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return list, err
		}
		full := prefix + fmt.Sprint(name)
		if raw[0] == '{' {
			inner := json.NewDecoder(bytes.NewReader(raw))
			inner.UseNumber()
			if list, err = flattenInto(list, full+".", inner); err != nil {
				return list, err
			}
			continue
		}
		var v any
		if err := decodeNumbers(raw, &v); err != nil {
			return list, err
		}
		list = append(list, member{full, v})
	}
	_, err := d.Token() // }
	return list, err
}

// printMembers writes members below each other, those with a value. A list of
// texts is written with commas.
func printMembers(w io.Writer, indent string, list []member) {
	width := 0
	for _, m := range list {
		width = max(width, utf8.RuneCountInString(m.name))
	}
	for _, m := range list {
		if s := memberText(m.v); s != "" {
			fmt.Fprintf(w, "%s%-*s  %s\n", indent, width, printable(m.name), printable(s))
		}
	}
}

func memberText(v any) string {
	list, ok := v.([]any)
	if !ok {
		return text(v)
	}
	words := make([]string, len(list))
	for i, e := range list {
		words[i] = text(e)
	}
	return strings.Join(words, ", ")
}

// count writes n with separators between thousands.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural writes a number of things.
func plural(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}

// quoteArg writes s as one word for a shell.
func quoteArg(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./:@%+=,", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
