package sink

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// checkQuery looks at a statement's tokens: it must be one, begin with a word
// that reads, and name neither the schema behind the views that hide secrets
// nor the file's raw pages. It gives the text without a closing semicolon.
func checkQuery(text string) (plain string, explains bool, err error) {
	if err := checkQueryText(text); err != nil {
		return "", false, err
	}
	var words []string // the first ones, until it is clear what the statement does
	end, before := -1, ""
	for at := 0; ; {
		from, to := sqlToken(text, at)
		if from == to {
			break
		}
		token := text[from:to]
		name := strings.ToLower(unquoteSQL(token))
		switch {
		case end >= 0:
			return "", false, invalid("query: one statement at a time; found %q behind the semicolon", cut(token, 64))
		case token == ";":
			end = from
		case token == "." && before == "main":
			return "", false, invalid("query: name tables without main, and columns by their table")
		case name == "sqlite_dbpage":
			return "", false, invalid("query: sqlite_dbpage is not for queries")
		case len(words) < 4:
			words = append(words, name)
		}
		at, before = to, name
	}
	if len(words) == 0 {
		return "", false, emptyQuery()
	}
	first := words[0]
	if first == "explain" {
		if explains = true; len(words) > 3 && words[1] == "query" && words[2] == "plan" {
			words = words[2:]
		}
		words = words[1:]
	}
	if len(words) == 0 || !slices.Contains([]string{"select", "with", "values"}, words[0]) {
		return "", false, cannotAsk(first)
	}
	if end >= 0 {
		text = text[:end]
	}
	return text, explains, nil
}

// checkQueryText is what every backend asks of a statement's text.
func checkQueryText(text string) error {
	switch {
	case len(text) > QueryTextBytes:
		return invalid("query of %d bytes: at most %d", len(text), QueryTextBytes)
	case strings.ContainsAny(text, "\x00\ufeff"):
		return invalid("query: it holds a zero byte or a byte order mark; take that out")
	case !utf8.ValidString(text):
		return invalid("query: it is not UTF-8 text")
	}
	return nil
}

func emptyQuery() error {
	return invalid("query: it is empty; try SELECT status, count(*) FROM activity GROUP BY status")
}

func cannotAsk(first string) error {
	return invalid("query: it begins with %q; only SELECT, WITH, VALUES and EXPLAIN of one can be asked", cut(first, 64))
}

// sqlToken gives the next token of text at or behind at: a word, a quoted name
// or string, or one character. Blanks and comments lie between tokens. At the
// end from and to are equal.
func sqlToken(text string, at int) (from, to int) {
	for at < len(text) {
		rest := text[at:]
		switch {
		case strings.HasPrefix(rest, "--"):
			at += lengthUntil(rest, "\n")
		case strings.HasPrefix(rest, "/*"):
			at += 2 + lengthUntil(rest[2:], "*/")
		case rest[0] == ' ' || rest[0] >= '\t' && rest[0] <= '\r':
			at++
		case rest[0] == '\'' || rest[0] == '"' || rest[0] == '`':
			return at, at + quotedLength(rest)
		case rest[0] == '[':
			return at, at + lengthUntil(rest, "]")
		case wordByte(rest[0]):
			to = at
			for to < len(text) && wordByte(text[to]) {
				to++
			}
			return at, to
		default:
			return at, at + 1
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

// quotedLength is the length of the quoted text that s begins with; a doubled
// quote does not end it.
func quotedLength(s string) int {
	for i := 1; i < len(s); i++ {
		if s[i] == s[0] {
			if i+1 == len(s) || s[i+1] != s[0] {
				return i + 1
			}
			i++
		}
	}
	return len(s)
}

// unquoteSQL takes the quotes off a name.
func unquoteSQL(token string) string {
	if len(token) >= 2 && strings.IndexByte("'\"`[", token[0]) >= 0 {
		return token[1 : len(token)-1]
	}
	return token
}

func wordByte(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '$' || c >= 0x80
}
