package console

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

// What stands where nothing was set. The number is one that is kept for fiction.
const (
	sampleCaller   = "+12025550143"
	sampleSeconds  = 60
	sampleUser     = "test-user"
	sampleText     = "test"
	sampleIDPrefix = "test-"
)

var templateField = regexp.MustCompile(`\{([^{}@|]+)`)

// signedFields lists the fields that the source's signature names.
func (t *trial) signedFields() (list []string) {
	s := t.src.Spec.Signature
	if s == nil {
		return nil
	}
	add := func(field string) {
		origin, name, ok := strings.Cut(field, ":")
		if !ok {
			origin, name = "", field
		}
		if slices.Contains([]string{"", "query", "form", "json"}, origin) && name != "" && !t.isSignature(name) && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	if s.Input != "body" && s.Input != "url" && s.Input != "query" && s.Input != "sorted" {
		for _, m := range templateField.FindAllStringSubmatch(s.Input, -1) {
			add(m[1])
		}
	}
	if s.Sorted != nil {
		for _, name := range append(slices.Sorted(maps.Values(s.Sorted.Placeholders)), s.Sorted.Only...) {
			if !strings.Contains(s.Sorted.Fields[name], "optional") {
				add(name)
			}
		}
	}
	if s.Timestamp != nil {
		add(s.Timestamp.In)
	}
	if s.ID != nil {
		add(s.ID.In)
	}
	if s.Object != "" {
		add(s.Object)
	}
	return list
}

// samples fills in what the source needs and nobody has set. The sender's other
// macros are left out.
func (t *trial) samples() {
	signed := t.signedFields()
	for i := range t.params {
		p := &t.params[i]
		if p.set {
			continue
		}
		slot := p.slot(t.src)
		value, needed := t.sampleOf(slot)
		switch {
		case p.inPath:
			value, needed = t.sampleID(), true
		case strings.EqualFold(p.name, t.src.Spec.Identity):
			value, needed = t.sampleID(), true
		case t.reads(p.name) && t.first(p.name):
			value, needed = sampleUser, true
		case t.timestampIn(p.name) != "":
			value, needed = t.timestampIn(p.name), true
		case containsFold(signed, p.name) && value == "":
			value, needed = sampleText, true
		}
		if needed || containsFold(signed, p.name) {
			p.value, p.set = value, true
		}
	}
}

// first reports whether no other field of the same part of the account's name
// has a value already.
func (t *trial) first(name string) bool {
	for _, part := range t.src.Account {
		if containsFold(part.Fields, name) {
			return !slices.ContainsFunc(t.params, func(q trialParam) bool { return q.set && containsFold(part.Fields, q.name) })
		}
	}
	return false
}

// sampleOf gives a plausible value for a slot, in the source's notation, and
// whether a postback needs one.
func (t *trial) sampleOf(slot source.Slot) (value string, needed bool) {
	s := &t.src.Spec
	switch slot {
	case source.SlotPayout:
		return t.amount(1), !s.PayoutOptional || t.src.RewardIn == "" && t.src.Policy.ToAccount || t.src.RewardRate != 0
	case source.SlotReward:
		return t.amount(100), t.src.RewardIn != "" && t.src.RewardRate == 0
	case source.SlotCaller:
		return sampleCaller, !t.src.Policy.ToAccount && !t.names()
	case source.SlotDuration:
		switch s.Transforms.Duration {
		case "ms":
			value = strconv.Itoa(sampleSeconds * 1000)
		case "mm:ss":
			value = "1:00"
		default:
			value = strconv.Itoa(sampleSeconds)
		}
		return value, !t.src.Policy.ToAccount && !t.names()
	case source.SlotCurrency:
		return s.Currency, false
	case source.SlotStartedAt, source.SlotOccurredAt:
		return strconv.FormatInt(t.now.Unix(), 10), false
	case source.SlotStatus:
		return t.word(), t.src.Statuses != nil
	case source.SlotTransactionID:
		return t.sampleID(), false
	}
	return "", false
}

// names reports whether what was set names a call by an id.
func (t *trial) names() bool {
	return slices.ContainsFunc(t.params, func(p trialParam) bool {
		slot := p.slot(t.src)
		return p.set && (slot == source.SlotRefID || slot == source.SlotCallID || slot == source.SlotNetworkCallID)
	}) || t.path != ""
}

func (t *trial) amount(units int) string {
	switch x := t.src.Spec.Transforms; {
	case x.Cents:
		return strconv.Itoa(units * 100)
	case x.DecimalComma:
		return strconv.Itoa(units) + ",00"
	}
	return strconv.Itoa(units) + ".00"
}

// word is one of the sender's that means a conversion.
func (t *trial) word() string {
	words := slices.Clone(t.src.Spec.Statuses[event.Conversion.String()])
	slices.Sort(words)
	for _, w := range words {
		if w != source.AnyStatus {
			return w
		}
	}
	return sampleText
}

// sampleID is an identity that no other request has.
func (t *trial) sampleID() string { return sampleIDPrefix + strconv.FormatInt(t.now.UnixNano(), 36) }

// timestampIn gives the time of signing, when it stands in that field.
func (t *trial) timestampIn(name string) string {
	s := t.src.Spec.Signature
	if s == nil || s.Timestamp == nil || s.Timestamp.In == s.Signature.In {
		return ""
	}
	if _, in, ok := strings.Cut(s.Timestamp.In, ":"); strings.EqualFold(name, in) || !ok && strings.EqualFold(name, s.Timestamp.In) {
		switch s.Timestamp.Unit {
		case "ms":
			return s.Timestamp.Prefix + strconv.FormatInt(t.now.UnixMilli(), 10)
		case "rfc3339":
			return s.Timestamp.Prefix + t.now.UTC().Format("2006-01-02T15:04:05Z")
		}
		return s.Timestamp.Prefix + strconv.FormatInt(t.now.Unix(), 10)
	}
	return ""
}

// sampleHeaders adds the headers that are signed.
func (t *trial) sampleHeaders() {
	s := t.src.Spec.Signature
	if s == nil {
		return
	}
	put := func(in, value string) {
		if name, ok := strings.CutPrefix(in, "header:"); ok && value != "" {
			t.headers = append(t.headers, event.Pair{Name: name, Value: value})
		}
	}
	if s.Timestamp != nil {
		_, name, _ := strings.Cut(s.Timestamp.In, ":")
		put(s.Timestamp.In, t.timestampIn(name))
	}
	if s.ID != nil {
		put(s.ID.In, s.ID.Prefix+t.sampleID())
	}
	for _, m := range templateField.FindAllStringSubmatch(s.Input, -1) {
		if strings.HasPrefix(m[1], "header:") && !slices.ContainsFunc(t.headers, func(h event.Pair) bool { return "header:"+h.Name == m[1] }) {
			put(m[1], sampleText)
		}
	}
}

// secrets are those of the source; no explanation shows them, or its token.
func (t *trial) secrets() *signature.Secrets {
	var s signature.Secrets
	if t.src.Signing != nil {
		s = *t.src.Signing
	}
	s.Mask = []string{t.token}
	return &s
}

// sign signs the request as the sender would. It reports false when the
// request would be refused for want of a signature.
func (t *trial) sign(step func(name string, ok bool, format string, args ...any)) bool {
	v := t.src.Verifier
	if v == nil {
		return true
	}
	secrets := t.secrets()
	if len(secrets.Current)+len(secrets.Previous)+len(secrets.Keys) == 0 && t.src.Spec.SignatureOptional {
		step("sign", true, "the source has no secret yet, and takes unsigned requests until it has")
		return true
	}
	place, value, err := v.Sign(t.request(), secrets, t.now)
	if err != nil {
		step("sign", false, "the request could not be signed as the sender does it: %s", t.hide(unsignable(err)))
		return false
	}
	if !t.put(place, value) {
		step("sign", false, "the signature belongs into %s, where a trial cannot put it", place)
		return false
	}
	t.signed, t.proof = true, value
	step("sign", true, "signed with the source's current secret, in %s", place)
	return true
}

// unsignable says in words why a request could not be signed.
func unsignable(err error) string {
	why, about, _ := strings.Cut(strings.TrimPrefix(err.Error(), "sign: "), " ")
	form, ok := map[signature.Reason]string{
		signature.FieldMalformed:  "%q is signed, and what was set for it is not of the form that the scheme expects, such as a number: set another value",
		signature.FieldMissing:    "%q is signed, and it is not there: set it",
		signature.FieldRepeated:   "%q is signed, and it is there twice with different values: set it once",
		signature.SecretMissing:   "the source has no secret to sign with (secret_missing): give it the one that the sender shows",
		signature.SecretMalformed: "the source's secret is not of the encoding that its scheme names: set it again as the sender shows it",
	}[signature.Reason(why)]
	switch {
	case !ok:
		return err.Error()
	case strings.Contains(form, "%q"):
		return fmt.Sprintf(form, strings.TrimSpace(about))
	}
	return form
}

// put puts the signature where it belongs.
func (t *trial) put(place, value string) bool {
	origin, name, ok := strings.Cut(place, ":")
	switch {
	case place == "bearer" || place == "basic" || place == "basic-user" || place == "basic-password":
		t.headers = append(t.headers, event.Pair{Name: "Authorization", Value: value})
	case !ok:
		return false
	case origin == "header":
		t.headers = slices.DeleteFunc(t.headers, func(h event.Pair) bool { return strings.EqualFold(h.Name, name) })
		t.headers = append(t.headers, event.Pair{Name: name, Value: value})
	case origin == "query" && t.inBody != "":
		t.tail = append(t.tail, trialParam{name: name, value: value, set: true})
	case origin == "query", origin == "form" && t.inBody == "form", origin == "json" && t.inBody == "json":
		t.params = append(t.params, trialParam{name: name, value: value, set: true})
	default:
		return false
	}
	return true
}
