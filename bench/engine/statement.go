//go:build linux

package engine

import (
	"bytes"
	"regexp"
	"strings"
)

// statement is a text cut where this server has to look at it:
//
//	INSERT INTO t (a, b) SETTINGS c = 1 FORMAT Native⏎ data
//	                     settings       format         data
//
// or, of anything else, only the end of the first statement.
type statement struct {
	text     []byte // without what follows
	insert   bool
	settings int    // where the SETTINGS of an INSERT begin; the end of text when there are none
	format   int    // where its FORMAT begins; likewise
	name     string // of that format
	data     []byte
	rest     []byte // what follows the first statement and is neither space nor comment
}

var (
	insertWord = regexp.MustCompile(`(?is)^\s*INSERT\s`)
	formatWord = regexp.MustCompile(`(?i)^FORMAT\s+([A-Za-z]\w*)[ \t]*(?:\r?\n|;|$|[ \t])`)
	answerWord = regexp.MustCompile(`(?is)\sFORMAT\s+([A-Za-z]\w*)\s*;?\s*$`)
	clauseWord = regexp.MustCompile(`(?i)^(?:SETTINGS|FORMAT)\s`)
)

// cut reads one statement. The engine would run several in a row, and takes an
// empty line in the data of an INSERT for their end; a server does neither.
func cut(text []byte) statement {
	s := statement{text: text, insert: insertWord.Match(text), settings: -1, format: -1}
	depth, word := 0, false // in parentheses, inside a word
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == ';':
			s.text, s.rest = text[:i], trimSpaceAndComments(text[i+1:])
			return s.finish()
		case c == '(':
			depth++
		case c == ')':
			depth--
		case s.insert && depth == 0 && !word && clauseWord.Match(text[i:]):
			if m := formatWord.FindSubmatchIndex(text[i:]); m != nil {
				s.format, s.name, s.data = i, string(text[i+m[2]:i+m[3]]), text[i+m[1]:]
				s.text = text[:i+m[3]]
				return s.finish()
			}
			if s.settings < 0 {
				s.settings = i
			}
		}
		word = isWord(c)
		i += tokenLen(text[i:])
	}
	return s.finish()
}

func (s statement) finish() statement {
	if s.format < 0 {
		s.format = len(s.text)
	}
	if s.settings < 0 {
		s.settings = s.format
	}
	return s
}

// fromFile makes an INSERT … FORMAT read its data from a file.
func (s statement) fromFile(path string) []byte {
	var b bytes.Buffer
	b.Write(s.text[:s.settings])
	b.WriteString(" FROM INFILE " + quoteText(path) + " COMPRESSION 'none' ")
	b.Write(s.text[s.settings:])
	return b.Bytes()
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// tokenLen is the length of what the text begins with: a quoted text or name, a
// comment, or one byte of anything else.
func tokenLen(text []byte) int {
	switch c := text[0]; {
	case c == '\'' || c == '"' || c == '`':
		return quotedLen(text)
	case bytes.HasPrefix(text, []byte("--")):
		return through(text, "\n")
	case bytes.HasPrefix(text, []byte("/*")):
		return through(text, "*/")
	}
	return 1
}

// quotedLen knows both ways to write a quote inside quotes; two of them in a
// row are here two quoted texts, which comes to the same.
func quotedLen(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case text[0]:
			return i + 1
		}
	}
	return len(text)
}

// through is the length up to and with the end of a comment.
func through(text []byte, end string) int {
	if i := bytes.Index(text, []byte(end)); i >= 0 {
		return i + len(end)
	}
	return len(text)
}

func trimSpaceAndComments(text []byte) []byte {
	for {
		text = bytes.TrimLeft(text, " \t\r\n;")
		if !bytes.HasPrefix(text, []byte("--")) && !bytes.HasPrefix(text, []byte("/*")) {
			return text
		}
		text = text[tokenLen(text):]
	}
}

var (
	syncWord    = regexp.MustCompile(`(?is)^(\s*(?:DROP|DETACH)\s+\S+\s+.*\S)\s+(?:SYNC|NO\s+DELAY)\s*$`)
	useWord     = regexp.MustCompile(`(?is)^\s*USE\s`)
	setWord     = regexp.MustCompile(`(?is)^\s*SET\s`)
	assignments = regexp.MustCompile(`(\w+)\s*=`)
	selectWord  = regexp.MustCompile(`(?is)^\s*(?:SELECT|WITH)\s`)
)

// withoutSync takes the wait out of a DROP: what is dropped is gone at once,
// and the background work that would remove its files, for which SYNC waits,
// does not exist in the library.
func withoutSync(text []byte) []byte {
	if m := syncWord.FindSubmatch(text); m != nil {
		return m[1]
	}
	return text
}

// settingsOf names the settings that a SET changes, and perhaps some more.
func settingsOf(text []byte) map[string]string {
	names := map[string]string{}
	if setWord.Match(text) {
		for _, m := range assignments.FindAllSubmatch(text, -1) {
			if name := string(m[1]); !strings.HasPrefix(name, "param_") {
				names[name] = ""
			}
		}
	}
	return names
}
