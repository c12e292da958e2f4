package ingest

import (
	"strings"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// notation is how values are written into a reply, so that none of them can
// become more than a value there.
type notation uint8

const (
	plainNotation notation = iota // as they are, without control characters
	jsonNotation                  // as inside a string
	htmlNotation                  // as inside an element or an attribute
)

// notationOf goes by the reply's content type. Whatever is not known to be read
// as plain text is written for a browser.
func notationOf(contentType string) notation {
	kind := strings.ToLower(event.View(mediaType([]byte(contentType))))
	switch {
	case strings.HasSuffix(kind, "json"), strings.HasSuffix(kind, "javascript"):
		return jsonNotation
	case kind == "text/plain", kind == "text/csv", kind == "application/x-www-form-urlencoded":
		return plainNotation
	}
	return htmlNotation
}

// render fills the template of a reply into q's memory. What a template may
// hold was checked when its source was compiled.
func (s *Server) render(ctx *fasthttp.RequestCtx, q *request, template, contentType string, o *Outcome, word string) []byte {
	dst, as := q.reply[:0], notationOf(contentType)
	for rest := template; rest != ""; {
		part, after, err := source.NextReplyPart(rest)
		if err != nil {
			panic("bug: reply template of a compiled source: " + err.Error())
		}
		rest = after
		switch part.Is {
		case source.ReplyText:
			dst = append(dst, part.Text...)
		case source.ReplyField:
			ctx.Response.Header.Set("X-Content-Type-Options", "nosniff") // it is the sender who chose that part
			dst = appendValue(dst, as, s.replyField(ctx, q, part.Text))
		default:
			dst = appendValue(dst, as, o.said(part.Is, word))
		}
	}
	return dst
}

// said is what a placeholder stands for.
func (o *Outcome) said(what source.ReplyPlaceholder, word string) string {
	switch what {
	case source.ReplyEvent:
		if !o.Event.IsZero() {
			return o.Event.String()
		}
	case source.ReplyStatus:
		return word
	case source.ReplyReason:
		return string(o.Reason)
	case source.ReplyCallID:
		return o.CallID
	case source.ReplyValue:
		if o.Currency != "" {
			return o.Value.String()
		}
	case source.ReplyCurrency:
		return o.Currency
	}
	return ""
}

// replyField gives a field of the request: of its query, else of its form, else
// of the top level of its JSON, cut to source.ReplyFieldBytesMax.
func (s *Server) replyField(ctx *fasthttp.RequestCtx, q *request, name string) string {
	value, ok := formField(q.route.query, name)
	if !ok {
		body, bad := s.unpack(ctx, q, s.cfg.Limits.GunzipBytesMax)
		if bad != nil {
			return ""
		}
		if isForm(ctx.Request.Header.ContentType(), body) {
			value, _ = formField(body, name)
		} else {
			value = jsonField(body, name)
		}
	}
	return cutUTF8(value, source.ReplyFieldBytesMax)
}

// cutUTF8 cuts a text to so many bytes and not through a character.
func cutUTF8(s string, bytesMax int) string {
	if len(s) <= bytesMax {
		return s
	}
	for bytesMax > 0 && !utf8.RuneStart(s[bytesMax]) {
		bytesMax--
	}
	return s[:bytesMax]
}

// appendValue writes a value into a reply. Control characters and what is not
// UTF-8 are left out.
func appendValue(dst []byte, as notation, s string) []byte {
	for i, r := range s {
		switch {
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029':
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
		case as == jsonNotation && strings.ContainsRune(`"\<>&'`, r):
			const hex = "0123456789abcdef"
			switch r {
			case '"', '\\':
				dst = append(dst, '\\', byte(r))
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
			}
		case as == htmlNotation && strings.ContainsRune("\"<>&'`", r):
			dst = append(dst, htmlEntity(r)...)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

func htmlEntity(r rune) string {
	switch r {
	case '<':
		return "&lt;"
	case '>':
		return "&gt;"
	case '&':
		return "&amp;"
	case '"':
		return "&#34;"
	case '\'':
		return "&#39;"
	}
	return "&#96;"
}
