package source

import (
	"fmt"
	"slices"
	"strings"
)

// A reply's body is a template: text that stands for itself and placeholders.
//
//	{"id":"{event}","user":"{field:user_id}"}
//	       literal^  ^placeholder  ^placeholder of a field of the request
//
// A placeholder begins with a brace before a letter and ends with the next
// closing brace; every other brace stands for itself, as JSON needs it.

// ReplyFieldBytesMax is how much of a field of the request a reply repeats.
const ReplyFieldBytesMax = 256

// ReplyPlaceholder is what a placeholder of a reply stands for.
type ReplyPlaceholder uint8

// Placeholders of replies. ReplyField names a field of the request: of its
// query, else its form, else the top level of its JSON.
const (
	ReplyText ReplyPlaceholder = iota // none: it is text
	ReplyEvent
	ReplyStatus
	ReplyReason
	ReplyCallID
	ReplyValue
	ReplyCurrency
	ReplyField
)

var replyNames = []string{ReplyEvent: "event", ReplyStatus: "status", ReplyReason: "reason", ReplyCallID: "call_id", ReplyValue: "value", ReplyCurrency: "currency"}

const replyFieldPrefix = "field:"

// ReplyPart is a piece of a reply's template. Text is the text, or, of a
// ReplyField, the field's name.
type ReplyPart struct {
	Is   ReplyPlaceholder
	Text string
}

// NextReplyPart gives the first piece of a template that is not empty, and
// what follows it. It allocates nothing unless there is an error, which names
// the placeholder and those that exist.
func NextReplyPart(template string) (part ReplyPart, rest string, err error) {
	at := replyBrace(template)
	if at != 0 {
		return ReplyPart{Text: template[:at]}, template[at:], nil
	}
	end := strings.IndexByte(template, '}')
	if end < 0 {
		return part, "", fmt.Errorf("placeholder %q is not closed: end it with a brace, or put a blank behind the first one for it to stand for itself", cutText(template))
	}
	name, rest := template[1:end], template[end+1:]
	if field, ok := strings.CutPrefix(name, replyFieldPrefix); ok {
		if field == "" || len(field) > FieldBytesMax || strings.IndexFunc(field, func(r rune) bool { return r < ' ' || r == '{' }) >= 0 {
			return part, "", fmt.Errorf("placeholder {%s}: want the name of a field of 1 to %d bytes, such as {field:transaction_id}", cutText(name), FieldBytesMax)
		}
		return ReplyPart{ReplyField, field}, rest, nil
	}
	if i := slices.Index(replyNames, name); i > 0 {
		return ReplyPart{Is: ReplyPlaceholder(i)}, rest, nil
	}
	have := "{" + strings.Join(replyNames[1:], "}, {") + "} and {field:NAME}"
	if near := Nearest(name, replyNames[1:]); near != "" {
		return part, "", fmt.Errorf("placeholder {%s} is not known: did you mean {%s}? have %s", cutText(name), near, have)
	}
	return part, "", fmt.Errorf("placeholder {%s} is not known: have %s; a brace with a blank behind it stands for itself", cutText(name), have)
}

// replyBrace finds the brace that begins a placeholder.
func replyBrace(s string) int {
	for i := 0; i+1 < len(s); i++ {
		if c := s[i+1] | 0x20; s[i] == '{' && c >= 'a' && c <= 'z' {
			return i
		}
	}
	return len(s)
}

func cutText(s string) string { return s[:min(len(s), 64)] }

// CheckReply says what is wrong with a reply's template.
func CheckReply(template string) error {
	for rest := template; rest != ""; {
		var err error
		if _, rest, err = NextReplyPart(rest); err != nil {
			return err
		}
	}
	return nil
}
