package clickhouse

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/sink"
)

// querySettings is what every Query ends in. readonly = 1 lets it read tables
// and nothing else: no change, no file, no address through a table function.
// The clause is the statement's own, so that nothing of it stays behind on a
// connection, and holds for all of it, as long as the text brings no SETTINGS
// of its own: checkQuery refuses that word, for those of a subquery would be
// taken without a question.
func querySettings(rowsMax int) string {
	return fmt.Sprintf("\nSETTINGS readonly = 1, max_execution_time = %d, max_result_rows = %d, result_overflow_mode = 'break', max_memory_usage = %d, max_threads = %d",
		int(sink.QueryTimeMax.Seconds()), rowsMax+1, queryMemoryBytes, queryThreads)
}

// describes are the statements beside SELECT that may be asked; they know no
// readonly, so they may name a table and no more.
var describes = regexp.MustCompile("(?i)^(show\\s+tables|(desc|describe)\\s+(table\\s+)?[a-z0-9_.`]+|show\\s+create\\s+(table\\s+|view\\s+)?[a-z0-9_.`]+)$")

// checkQuery looks at a statement's tokens: it must be one, begin with a word
// that reads, and say neither under what settings it runs nor in what format
// it answers. It gives the text without a closing semicolon.
func checkQuery(text string) (string, error) {
	if len(text) > sink.QueryTextBytes {
		return "", invalidf("query of %d bytes: at most %d", len(text), sink.QueryTextBytes)
	}
	if strings.ContainsAny(text, "\x00\ufeff") {
		return "", invalidf("query: it holds a zero byte or a byte order mark; take that out")
	}
	text = strings.TrimRight(text, "; \t\r\n")
	if plain := strings.TrimSpace(text); describes.MatchString(plain) {
		return plain, nil
	}
	var words []string // the first ones
	for at := 0; ; {
		from, to := sqlToken(text, at)
		if from == to {
			break
		}
		token := strings.ToLower(text[from:to])
		if err := checkToken(token, text[to:]); err != nil {
			return "", err
		}
		if len(words) < 2 && token != "(" {
			words = append(words, token)
		}
		at = to
	}
	switch {
	case len(words) == 0:
		return "", invalidf("query: it is empty; try SELECT status, count() FROM activity GROUP BY status")
	case words[0] == "explain" && len(words) > 1 && words[1] != "table":
	case !slices.Contains([]string{"select", "with"}, words[0]):
		return "", invalidf("query: it begins with %q; only SELECT, WITH, EXPLAIN of one, SHOW TABLES and DESCRIBE TABLE can be asked", cleanText(words[0], 64))
	}
	return text, nil
}

// checkToken refuses what a statement may not hold; rest is what follows.
func checkToken(token, rest string) error {
	if token[0] >= 0x80 { // ClickHouse takes typographic quotes for quotes
		return invalidf("query: %s stands outside of quotes; quote names with \" and texts with '", cleanText(token, 64))
	}
	switch token {
	case ";":
		return invalidf("query: one statement at a time; something stands behind the semicolon")
	case "settings":
		return invalidf("query: SETTINGS are set for it: leave the word out, or quote it if it is a name")
	case "outfile":
		return invalidf("query: INTO OUTFILE is not for queries")
	case "$":
		return invalidf("query: quote texts with ', not with $")
	case "format":
		if !strings.HasPrefix(strings.TrimLeft(rest, " \t\r\n"), "(") {
			return invalidf("query: leave FORMAT out; the answer is a table")
		}
	}
	return nil
}

// sqlToken gives the next token of text at or behind at: a word, a quoted name
// or string, or one character. Blanks and comments lie between tokens. At the
// end from and to are equal.
func sqlToken(text string, at int) (from, to int) {
	for at < len(text) {
		rest := text[at:]
		switch {
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "# "), strings.HasPrefix(rest, "#!"):
			at += lengthUntil(rest, "\n")
		case strings.HasPrefix(rest, "/*"):
			at += 2 + lengthUntil(rest[2:], "*/")
		case rest[0] == ' ' || rest[0] >= '\t' && rest[0] <= '\r':
			at++
		case rest[0] == '\'' || rest[0] == '"' || rest[0] == '`':
			return at, at + quotedLength(rest)
		case wordByte(rest[0]):
			to = at
			for to < len(text) && wordByte(text[to]) {
				to++
			}
			return at, to
		default:
			_, size := utf8.DecodeRuneInString(rest)
			return at, at + size
		}
	}
	return at, at
}

// lengthUntil is how far s goes until end, that included; all of it if end
// does not come.
func lengthUntil(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}

// quotedLength is the length of the quoted text that s begins with; a quote
// that is doubled or behind a backslash does not end it.
func quotedLength(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == s[0] && i+1 < len(s) && s[i+1] == s[0]:
			i++
		case s[i] == s[0]:
			return i + 1
		}
	}
	return len(s)
}

func wordByte(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
}
