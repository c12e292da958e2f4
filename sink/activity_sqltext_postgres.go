package sink

import (
	"slices"
	"strings"
)

// postgresNameBytes is how much of a name Postgres looks at.
const postgresNameBytes = 63

// checkPostgresQuery looks at a statement's tokens: it must be one and begin
// with a word that reads. It gives every name in it, so that functions which do
// more than read can be refused. What would let a token be read in two ways
// (escapes in strings and names, parameters) is refused too.
func checkPostgresQuery(text string) (names []string, err error) {
	if err := checkQueryText(text); err != nil {
		return nil, err
	}
	var words []string // the first ones, until it is clear what the statement does
	known, ended := map[string]bool{}, false
	for at := 0; ; {
		t := nextPostgresToken(text, at)
		if t.from == t.to {
			break
		}
		token := text[t.from:t.to]
		switch {
		case t.fault != "":
			return nil, invalid("query: %s", t.fault)
		case ended:
			return nil, invalid("query: one statement at a time; found %q behind the semicolon", cut(token, 64))
		case token == ";":
			ended = true
		case len(words) < 32 && !t.literal:
			words = append(words, strings.ToLower(token))
		}
		if t.name != "" && !known[t.name] {
			known[t.name] = true
			names = append(names, t.name)
		}
		at = t.to
	}
	if len(words) == 0 {
		return nil, emptyQuery()
	}
	first := words[0]
	if first == "explain" {
		words = explained(words[1:])
	}
	if len(words) == 0 || !slices.Contains([]string{"select", "with", "values", "table"}, words[0]) {
		return nil, cannotAsk(first)
	}
	return names, nil
}

// explained skips the options of EXPLAIN.
func explained(words []string) []string {
	if len(words) > 0 && words[0] == "(" {
		end := slices.Index(words, ")")
		return words[end+1:] // without an end, "(" stays the first word
	}
	for len(words) > 0 && slices.Contains([]string{"analyze", "analyse", "verbose"}, words[0]) {
		words = words[1:]
	}
	return words
}

// postgresToken is a word, a literal or one character of a statement; from and
// to are equal at its end.
type postgresToken struct {
	from, to int
	name     string // as the database looks it up, "" if it is none
	literal  bool   // a string or number
	fault    string // why it is refused
}

// nextPostgresToken gives the next token of text at or behind at.
func nextPostgresToken(text string, at int) postgresToken {
	for at < len(text) {
		rest := text[at:]
		switch {
		case strings.HasPrefix(rest, "--"):
			if end := strings.IndexAny(rest, "\r\n"); end >= 0 {
				at += end
			} else {
				at = len(text)
			}
		case strings.HasPrefix(rest, "/*"):
			at += commentLength(rest)
		case rest[0] == ' ' || rest[0] >= '\t' && rest[0] <= '\r':
			at++
		default:
			return readPostgresToken(rest, at)
		}
	}
	return postgresToken{from: at, to: at}
}

// readPostgresToken reads the token that s begins with, at place at.
func readPostgresToken(s string, at int) postgresToken {
	t := postgresToken{from: at, to: at + 1}
	switch c := s[0]; {
	case c == '\'':
		t.to, t.literal = at+quotedLength(s), true
	case c == '"':
		t.to = at + quotedLength(s)
		t.name = cut(strings.ReplaceAll(unquoteSQL(s[:t.to-at]), `""`, `"`), postgresNameBytes)
	case c == '$':
		t.literal = true
		tag := dollarTag(s)
		if tag == "" {
			t.fault = `a "$" stands for a parameter, and there are none: write the value itself`
			break
		}
		t.to = at + len(tag) + lengthUntil(s[len(tag):], tag)
	case c >= '0' && c <= '9':
		t.literal = true
		for t.to < at+len(s) && s[t.to-at] >= '0' && s[t.to-at] <= '9' {
			t.to++
		}
	case wordByte(c):
		for t.to < at+len(s) && wordByte(s[t.to-at]) {
			t.to++
		}
		word, next := strings.Map(lowerASCII, s[:t.to-at]), s[t.to-at:]
		t.name = cut(word, postgresNameBytes)
		switch {
		case word == "e" && strings.HasPrefix(next, "'"):
			t.fault = `strings with escapes (E'…') are not for queries: write '…', and chr(10) for what cannot be typed`
		case word == "u" && (strings.HasPrefix(next, "&'") || strings.HasPrefix(next, `&"`)):
			t.fault = `names and strings with escapes (U&"…") are not for queries: write the characters themselves`
		}
	}
	return t
}

// commentLength is the length of the comment that s begins with; comments may
// lie in comments.
func commentLength(s string) int {
	depth := 0
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "/*"):
			depth, i = depth+1, i+2
		case strings.HasPrefix(s[i:], "*/"):
			if depth, i = depth-1, i+2; depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return len(s)
}

// dollarTag is the $tag$ that s begins with, "" if it begins with none.
func dollarTag(s string) string {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '$':
			return s[:i+1]
		case !wordByte(c) || i == 1 && c >= '0' && c <= '9':
			return ""
		}
	}
	return ""
}

// lowerASCII is all that Postgres folds in names without quotes.
func lowerASCII(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		r += 'a' - 'A'
	}
	return r
}
