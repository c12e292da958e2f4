package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/console"
)

// column is one column of a table: its head, where its value stands in a row
// of the API ("a.b" is b inside a), and how it is written.
type column struct {
	head  string
	path  string
	show  func(v any) string // nil is text
	right bool               // numbers stand at the right
	money bool               // amounts stand with their points below each other

	sentence bool // the last column: below its row where the terminal is narrow
}

// table writes rows under aligned heads. Rows may come in portions: columns
// keep the greatest width that they have had.
type table struct {
	out    io.Writer
	cols   []column
	width  int // of the terminal; the last column is cut there. 0 is no limit
	widths []int
	points []int // characters from the point on, of money columns

	amend func(rows []map[string]any) error // changes rows before they are written; may be nil
}

const (
	columnGap     = 2
	sentenceWidth = 120 // of a terminal, from which a sentence stands in its row
)

// newTable prepares a table on out, which is cut to its width if it is a terminal.
func newTable(out io.Writer, cols []column) *table {
	width, _ := terminalWidth(out)
	return &table{out: out, cols: cols, width: width}
}

// add writes rows, and the heads before the first ones.
func (t *table) add(rows []map[string]any) error {
	var lines [][]string
	if t.widths == nil {
		t.widths, t.points = make([]int, len(t.cols)), make([]int, len(t.cols))
		heads := make([]string, len(t.cols))
		for i, c := range t.cols {
			heads[i] = c.head
		}
		lines = append(lines, heads)
	}
	for _, row := range rows {
		cells := make([]string, len(t.cols))
		for i, c := range t.cols {
			show := c.show
			if show == nil {
				show = text
			}
			cells[i] = printable(show(lookUp(row, c.path)))
		}
		lines = append(lines, cells)
	}
	t.alignMoney(lines)
	for _, cells := range lines {
		for i, cell := range cells {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
		}
	}
	w := bufio.NewWriter(t.out)
	for _, cells := range lines {
		w.WriteString(t.line(cells))
		w.WriteByte('\n')
	}
	return w.Flush()
}

// alignMoney pads amounts behind their last digit, so that flush right their
// points stand below each other.
func (t *table) alignMoney(lines [][]string) {
	for i, c := range t.cols {
		if !c.money {
			continue
		}
		for _, cells := range lines {
			t.points[i] = max(t.points[i], fromPoint(cells[i]))
		}
		for _, cells := range lines {
			if n := fromPoint(cells[i]); n > 0 {
				cells[i] += strings.Repeat(" ", t.points[i]-n)
			}
		}
	}
}

// fromPoint counts the characters of an amount from its point on.
func fromPoint(cell string) int {
	if i := strings.LastIndexByte(cell, '.'); i >= 0 {
		return len(cell) - i
	}
	return 0
}

func (t *table) line(cells []string) string {
	var b strings.Builder
	used := 0
	for i, cell := range cells {
		pad := t.widths[i] - utf8.RuneCountInString(cell)
		right := t.cols[i].right || t.cols[i].money
		if right {
			b.WriteString(strings.Repeat(" ", pad))
		}
		if t.cols[i].sentence && t.width > 0 && t.width < sentenceWidth {
			return below(b.String(), cell, t.cols[i].head)
		}
		if i == len(cells)-1 && t.width > 0 {
			cell = cut(cell, max(t.width-used, len(t.cols[i].head)))
		}
		b.WriteString(cell)
		if !right {
			b.WriteString(strings.Repeat(" ", pad))
		}
		b.WriteString(strings.Repeat(" ", columnGap))
		used += t.widths[i] + columnGap
	}
	return strings.TrimRight(b.String(), " ")
}

// below puts a sentence on a line of its own; its head is not needed.
func below(row, sentence, head string) string {
	row = strings.TrimRight(row, " ")
	if sentence == "" || sentence == head {
		return row
	}
	return row + "\n    " + sentence
}

// cut shortens s to most characters, the last of them an ellipsis.
func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	r := []rune(s)
	return string(r[:max(most-1, 0)]) + "…"
}

// listing are the flags of every listing.
type listing struct {
	Limit int    `default:"50" help:"Rows at most."`
	After string `help:"Go on behind this cursor, which the page before named." placeholder:"CURSOR"`
	All   bool   `help:"All rows, however many."`
	JSON  bool   `help:"Print each row as JSON on a line of its own."`
}

// page is one answer of a listing.
type page struct {
	Rows []json.RawMessage `json:"rows"`
	Next string            `json:"next"`
}

// list prints what a listing of the API holds, page after page up to the
// limit; none says that it holds nothing.
func (a *app) list(c *client, path string, query url.Values, l listing, cols []column, none string) error {
	printed, err := a.listRows(c, path, query, l, newTable(a.out, cols))
	if err == nil && printed == 0 {
		fmt.Fprintln(a.errOut, none)
	}
	return err
}

// listRows is list without a word for nothing; it gives the number of rows.
func (a *app) listRows(c *client, path string, query url.Values, l listing, t *table) (printed int, err error) {
	if l.Limit < 1 {
		return 0, usagef("--limit %d: want 1 or more, or --all", l.Limit)
	}
	if query == nil {
		query = url.Values{}
	}
	next := l.After
	for {
		size := console.ListRowsMax
		if !l.All {
			size = min(size, l.Limit-printed)
		}
		query.Set("limit", strconv.Itoa(size))
		query.Set("after", next)
		var p page
		if err := c.get(a.ctx, path, query, &p); err != nil {
			return printed, err
		}
		if len(p.Rows) > 0 {
			if err := a.showRows(t, p.Rows, l.JSON); err != nil {
				return printed, err
			}
		}
		printed, next = printed+len(p.Rows), p.Next
		if next == "" || (!l.All && printed >= l.Limit) {
			break
		}
	}
	if printed > 0 && next != "" {
		fmt.Fprintf(a.errOut, "there are more: --after %s goes on, --all shows all\n", quoteArg(next))
	}
	return printed, nil
}

func (a *app) showRows(t *table, raw []json.RawMessage, asJSON bool) error {
	if asJSON {
		return a.printRows(raw)
	}
	rows, err := decodeRows(raw)
	if err == nil && t.amend != nil {
		err = t.amend(rows)
	}
	if err != nil {
		return err
	}
	return t.add(rows)
}
