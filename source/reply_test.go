package source

import (
	"strings"
	"testing"
)

func TestReplyTemplates(t *testing.T) {
	f := func(template, want string) {
		t.Helper()
		got := ""
		for rest := template; rest != ""; {
			var part ReplyPart
			var err error
			if part, rest, err = NextReplyPart(rest); err != nil {
				t.Fatalf("%s: %v", template, err)
			}
			got += "|" + string('0'+byte(part.Is)) + part.Text
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", template, got, want)
		}
	}
	f("", "")
	f("1", "|01")
	f("{event}:OK", "|1|0:OK")
	f("{field:eventId}:OK", "|7eventId|0:OK")
	f("success=true;", "|0success=true;")
	f(`{"id":"{event}","x":{"y":[{}]}}`, `|0{"id":"|1|0","x":{"y":[{}]}}`)
	f("{status}{reason}{call_id}{value}{currency}", "|2|3|4|5|6")
	f("{field:a:b c}{", "|7a:b c|0{")
	f("{ event} {1}", "|0{ event} {1}")
}

func TestReplyTemplatesRefused(t *testing.T) {
	f := func(a Answer, want ...string) {
		t.Helper()
		_, err := Compile(Spec{ID: "x", Reply: ReplySpec{Classes: map[string]Answer{"ok": a}}})
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%+v: got %v, want %q", a, err, w)
			}
		}
	}
	f(Answer{Body: "x{nothing}"}, "reply.classes.ok.body", "{nothing}", "{event}, {status}, {reason}, {call_id}, {value}, {currency} and {field:NAME}")
	f(Answer{Body: "{evnt}"}, "{evnt}", "did you mean {event}?")
	f(Answer{Body: "{event"}, `"{event"`, "not closed")
	f(Answer{Body: "{field:}"}, "{field:}", "name of a field")
	f(Answer{Body: "{field:" + strings.Repeat("x", 129) + "}"}, "1 to 128 bytes")
	f(Answer{Body: "{field:a\nb}"}, "name of a field")
	f(Answer{Body: "{ok:true}"}, "a brace with a blank behind it")
	f(Answer{ContentType: "text/plain\r\nSet-Cookie: a=b"}, "reply.classes.ok.content_type")
	if _, err := Compile(Spec{ID: "x", Reply: ReplySpec{Classes: map[string]Answer{"unauthorized": {Status: 403}, "limited": {Body: "later"}}}}); err != nil {
		t.Error(err)
	}
}

// FuzzReplyTemplate: whatever a template is, it is refused or falls into parts
// that make it up again, and none of them is empty.
func FuzzReplyTemplate(f *testing.F) {
	for _, s := range []string{"", "{", "{}", "{event}", "{field:a}:OK", `{"a":"{value}"}`, "{{event}}", "{a{b}", "{é}", "{field:}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, template string) {
		made := ""
		for rest := template; rest != ""; {
			part, after, err := NextReplyPart(rest)
			if err != nil {
				if CheckReply(template) == nil {
					t.Fatalf("%q: %v, but the check finds nothing", template, err)
				}
				return
			}
			if len(after) >= len(rest) || part.Is == ReplyText && part.Text == "" || part.Is == ReplyField && part.Text == "" {
				t.Fatalf("%q: part %+v of %q leaves %q", template, part, rest, after)
			}
			switch part.Is {
			case ReplyText:
				made += part.Text
			case ReplyField:
				made += "{" + replyFieldPrefix + part.Text + "}"
			default:
				made += "{" + replyNames[part.Is] + "}"
			}
			rest = after
		}
		if made != template || CheckReply(template) != nil {
			t.Errorf("%q became %q", template, made)
		}
	})
}
