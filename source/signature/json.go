package signature

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonWalk adds the scalars of a JSON document to params, under dotted names:
// {"calls":[{"price":1}]} gives calls.0.price. Numbers keep their digits, true
// and false are those words, null is absent. A name that stands twice is added
// twice, so that find sees both. So do the names of an outermost array's
// elements, which are reports of their own.
type jsonWalk struct {
	*params
	src   []byte
	at    int
	path  [NameBytesMax]byte
	size  int // of path
	depth int
	top   int // depth at which names begin: an array at the top holds reports, which have names of their own
	why   Reason
}

func (p *params) json(doc []byte) Reason {
	if !utf8.Valid(doc) {
		return BodyMalformed
	}
	w := jsonWalk{params: p, src: doc, top: 1}
	if doc[0] == '[' {
		w.top = 2
	}
	if !w.value() {
		if w.why == "" {
			return BodyMalformed
		}
		return w.why
	}
	if w.space(); w.at != len(doc) {
		return BodyMalformed
	}
	return ""
}

func (w *jsonWalk) space() {
	for w.at < len(w.src) && isBlank(w.src[w.at]) {
		w.at++
	}
}

// eat passes over c and the blanks before it.
func (w *jsonWalk) eat(c byte) bool {
	w.space()
	if w.at < len(w.src) && w.src[w.at] == c {
		w.at++
		return true
	}
	return false
}

func (w *jsonWalk) value() bool {
	w.space()
	if w.at == len(w.src) {
		return false
	}
	switch c := w.src[w.at]; {
	case c == '{' || c == '[':
		if w.depth == JSONDepthMax {
			w.why = TooMany
			return false
		}
		w.at++
		w.depth++
		ok := w.members(c == '[')
		w.depth--
		return ok
	case c == '"':
		w.at++
		from := len(w.text)
		return w.str() && w.leaf(from)
	case c == '-' || '0' <= c && c <= '9':
		from := len(w.text)
		return w.number() && w.leaf(from)
	}
	return w.word("null", false) || w.word("true", true) || w.word("false", true)
}

// members walks an object or array whose bracket has been read.
func (w *jsonWalk) members(array bool) bool {
	end, base := byte('}'), w.size
	if array {
		end = ']'
	}
	if w.eat(end) {
		return true
	}
	for n := 0; ; n++ {
		ok := false
		switch {
		case w.depth < w.top:
			ok = true
		case array:
			var digits [12]byte
			ok = w.push(strconv.AppendInt(digits[:0], int64(n), 10))
		default:
			ok = w.key()
		}
		if !ok || !w.value() {
			return false
		}
		w.size = base
		if w.eat(end) {
			return true
		}
		if !w.eat(',') {
			return false
		}
	}
}

func (w *jsonWalk) key() bool {
	if !w.eat('"') {
		return false
	}
	from := len(w.text)
	ok := w.str() && w.push(w.text[from:]) && w.eat(':')
	w.text = w.text[:from]
	return ok
}

// push lengthens the dotted name.
func (w *jsonWalk) push(name []byte) bool {
	if w.size+1+len(name) > len(w.path) {
		w.why = TooLong
		return false
	}
	if w.depth > w.top {
		w.path[w.size] = '.'
		w.size++
	}
	w.size += copy(w.path[w.size:], name)
	return true
}

// leaf adds the value that begins at from in text, under the dotted name.
func (w *jsonWalk) leaf(from int) bool {
	if len(w.list) == FieldsMax {
		w.why = TooMany
		return false
	}
	f := param{origin: fromJSON, value: span{int32(from), int32(len(w.text))}}
	f.name.from = int32(len(w.text))
	w.text = append(w.text, w.path[:w.size]...)
	f.name.to = int32(len(w.text))
	f.wide = !ascii(w.name(&f))
	w.list = append(w.list, f)
	return true
}

func (w *jsonWalk) word(word string, leaf bool) bool {
	if len(w.src)-w.at < len(word) || string(w.src[w.at:w.at+len(word)]) != word {
		return false
	}
	w.at += len(word)
	if !leaf {
		return true
	}
	from := len(w.text)
	w.text = append(w.text, word...)
	return w.leaf(from)
}

// number copies a number's digits. Its grammar is the mapper's to judge.
func (w *jsonWalk) number() bool {
	from := w.at
	for w.at < len(w.src) {
		c := w.src[w.at]
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			break
		}
		w.at++
	}
	w.text = append(w.text, w.src[from:w.at]...)
	return true
}

// str copies a string's characters; its first quote has been read.
func (w *jsonWalk) str() bool {
	for w.at < len(w.src) {
		c := w.src[w.at]
		w.at++
		switch {
		case c == '"':
			return true
		case c < ' ':
			return false
		case c != '\\':
			w.text = append(w.text, c)
		case !w.escape():
			return false
		}
	}
	return false
}

func (w *jsonWalk) escape() bool {
	if w.at == len(w.src) {
		return false
	}
	c := w.src[w.at]
	w.at++
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return w.unicode()
	default:
		return false
	}
	w.text = append(w.text, c)
	return true
}

func (w *jsonWalk) unicode() bool {
	r, ok := w.hex4()
	if ok && utf16.IsSurrogate(r) {
		if w.at+2 > len(w.src) || w.src[w.at] != '\\' || w.src[w.at+1] != 'u' {
			return false
		}
		w.at += 2
		low, fine := w.hex4()
		r = utf16.DecodeRune(r, low)
		ok = fine && r != utf8.RuneError
	}
	w.text = utf8.AppendRune(w.text, r)
	return ok
}

func (w *jsonWalk) hex4() (r rune, ok bool) {
	if w.at+4 > len(w.src) {
		return 0, false
	}
	for _, c := range w.src[w.at : w.at+4] {
		if !isHex(c) {
			return 0, false
		}
		r = r<<4 | rune(unhex(c))
	}
	w.at += 4
	return r, true
}
