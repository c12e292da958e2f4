package load

import (
	"bytes"
	"errors"
)

// ErrResponse is an answer that this package cannot read: no status line, or a
// body without Content-Length.
var ErrResponse = errors.New("answer is not HTTP/1.1 with a Content-Length")

// response is the outline of one answer at the start of a buffer.
type response struct {
	status     int
	head, size int // bytes of status line and headers; of all
	last       bool
}

var (
	headEnd       = []byte("\r\n\r\n")
	contentLength = []byte("\ncontent-length:")
	connection    = []byte("\nconnection:")
	wordClose     = []byte("close")
)

// parseResponse reads the outline of the answer that p begins with. done is
// false while more bytes are needed; size may then be known already.
func parseResponse(p []byte) (r response, done bool, err error) {
	end := bytes.Index(p, headEnd)
	if end < 0 {
		if len(p) > 64<<10 {
			return r, false, ErrResponse
		}
		return r, false, nil
	}
	if end < 12 || string(p[:7]) != "HTTP/1." {
		return r, false, ErrResponse
	}
	for _, c := range p[9:12] {
		if c < '0' || c > '9' {
			return r, false, ErrResponse
		}
		r.status = r.status*10 + int(c-'0')
	}
	r.head = end + len(headEnd)
	value, ok := header(p[:end+2], contentLength)
	length, good := number(value)
	if bodiless := r.status == 204 || r.status == 304; (!ok || !good) && !bodiless {
		return r, false, ErrResponse
	}
	value, ok = header(p[:end+2], connection)
	r.last = ok && bytes.EqualFold(value, wordClose)
	r.size = r.head + length
	return r, len(p) >= r.size, nil
}

// header finds the value of the header whose lower-case name, between a line
// feed and a colon, is name.
func header(head, name []byte) ([]byte, bool) {
	for i := 0; ; {
		j := bytes.IndexByte(head[i:], '\n')
		if j < 0 || i+j+len(name) > len(head) {
			return nil, false
		}
		i += j
		if bytes.EqualFold(head[i:i+len(name)], name) {
			rest := head[i+len(name):]
			return bytes.TrimSpace(rest[:bytes.IndexByte(rest, '\n')]), true
		}
		i++
	}
}

func number(p []byte) (n int, ok bool) {
	for _, c := range p {
		if c < '0' || c > '9' || n > 64<<20 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(p) > 0
}
