package learn

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// data is what the requests say, by the names of fields.
type data struct {
	reports int
	columns []*column // in the order in which their names first came
	byName  map[string]*column
	request []int // of each report
}

// column is one field over all reports: "" where a report does not have it.
type column struct {
	name   string   // as it was first sent
	key    string   // lower case, as names are compared
	texts  []string // by report
	body   bool     // it stands in bodies
	masked bool     // its values were taken out
	seen   int      // reports that have a value
	shapes []shape  // of the values that there are
}

// values lists the texts that are not empty.
func (c *column) values() []string {
	var list []string
	for _, t := range c.texts {
		if t != "" {
			list = append(list, t)
		}
	}
	return list
}

func (c *column) example() string {
	for _, t := range c.texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// field is one name and value of one report.
type field struct {
	name, text string
	body       bool
}

// read takes the requests apart as the built-in mapper does: query, then form
// or JSON; each object of a JSON array is a report of its own.
func read(requests []Request) *data {
	d := &data{byName: map[string]*column{}}
	for i := range requests {
		r := &requests[i]
		_, query, _ := strings.Cut(r.Target, "?")
		shared := parseForm(nil, query, false)
		for _, fields := range bodies(r, shared) {
			if len(fields) > 0 && d.reports < ReportsMax {
				d.report(i, fields)
			}
		}
	}
	for _, c := range d.columns {
		for len(c.texts) < d.reports {
			c.texts = append(c.texts, "")
		}
		for _, t := range c.texts {
			if t != "" {
				c.seen++
				c.shapes = append(c.shapes, shapeOf(t))
			}
		}
	}
	return d
}

// report adds one report. A body's value goes before the query's, as in the
// mapper; the first of several under one name counts.
func (d *data) report(request int, fields []field) {
	n := d.reports
	d.reports++
	d.request = append(d.request, request)
	for _, f := range fields {
		key := strings.ToLower(f.name)
		c := d.byName[key]
		if c == nil {
			if len(d.columns) == FieldsMax {
				continue
			}
			c = &column{name: f.name, key: key}
			d.columns, d.byName[key] = append(d.columns, c), c
		}
		for len(c.texts) <= n {
			c.texts = append(c.texts, "")
		}
		text := strings.TrimSpace(f.text)
		c.masked = c.masked || text == "***"
		if text != "" && text != "***" && (c.texts[n] == "" || f.body && !c.body) {
			c.texts[n] = text
		}
		c.body = c.body || f.body
	}
}

// bodies gives the fields of each report of a request.
func bodies(r *Request, shared []field) [][]field {
	body := bytes.TrimSpace(r.Body)
	switch {
	case len(body) == 0 || len(body) > bodyBytesMax:
		return [][]field{shared}
	case body[0] == '{' || body[0] == '[':
		if list, ok := parseJSON(body, shared); ok {
			return list
		}
	}
	media, _, _ := strings.Cut(r.ContentType, ";")
	if media = strings.ToLower(strings.TrimSpace(media)); media == "" || media == "application/x-www-form-urlencoded" {
		return [][]field{parseForm(shared, string(body), true)}
	}
	return [][]field{shared}
}

// parseForm appends the fields of a query or form to a copy of list.
func parseForm(list []field, s string, body bool) []field {
	out := append([]field(nil), list...)
	for pair := range strings.SplitSeq(s, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name == "" || len(out) >= FieldsMax {
			continue
		}
		out = append(out, field{unescape(name), unescape(value), body})
	}
	return out
}

// unescape undoes the escapes of s; what is none stands for itself.
func unescape(s string) string {
	if v, err := url.QueryUnescape(s); err == nil && utf8.ValidString(v) {
		return v
	}
	return strings.ToValidUTF8(s, "�")
}

// parseJSON flattens an object, or each object of an array.
func parseJSON(body []byte, shared []field) (list [][]field, ok bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, false
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, false
	}
	objects := []any{v}
	if array, isArray := v.([]any); isArray {
		objects = array[:min(len(array), ReportsMax)]
	}
	for _, o := range objects {
		if m, isObject := o.(map[string]any); isObject {
			list = append(list, flatten(append([]field(nil), shared...), "", m, 0))
		}
	}
	return list, len(list) > 0
}

// flatten appends the scalars of v under dotted names, in order of the names.
func flatten(out []field, path string, v any, depth int) []field {
	const depthMax = 32
	if len(out) >= FieldsMax || depth > depthMax {
		return out
	}
	join := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range sortedKeys(v) {
			out = flatten(out, join(name), v[name], depth+1)
		}
	case []any:
		for i, e := range v {
			out = flatten(out, join(strconv.Itoa(i)), e, depth+1)
		}
	case string:
		out = append(out, field{path, v, true})
	case json.Number:
		out = append(out, field{path, v.String(), true})
	case bool:
		out = append(out, field{path, strconv.FormatBool(v), true})
	}
	return out
}
