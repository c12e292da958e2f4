package source

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"github.com/tallyhook/tallyhook/event"
)

// Limits of a Spec.
const (
	NameBytesMax  = 200
	NamesPerSlot  = 32
	WindowMax     = 366 * 24 * time.Hour
	ToleranceMax  = 24 * time.Hour
	ReplyBytesMax = 4096
	FieldBytesMax = 128
	ParkForMax    = 31 * 24 * time.Hour
	PerMinuteMax  = 60_000_000
	AmountMaxMost = 100_000_000 * event.Unit // far from what a balance can hold in sum
)

var (
	idForm       = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	currencyForm = regexp.MustCompile(`^[A-Z0-9]{3,12}$`)
)

// Compile checks s, fills in its preset and defaults, and gives the Source.
// Token and secrets are the caller's to set. Errors name the offending value.
func Compile(s Spec) (*Source, error) {
	src := &Source{Spec: s, Seen: new(Counters)}
	for _, step := range []func(*Source) error{compileNames, compileMapper, compilePreset, compileFields, compileStatuses, compileMatch, compileLimits, compileMoney, compileSettle, compileAuth, compileReply} {
		if err := step(src); err != nil {
			return nil, fmt.Errorf("source %q: %w", s.ID, err)
		}
	}
	return src, nil
}

func compileNames(src *Source) error {
	s := &src.Spec
	if !idForm.MatchString(s.ID) {
		return fmt.Errorf("id %q: want 1 to 63 of a-z, 0-9, dot, dash and underscore, starting with a letter or digit", s.ID)
	}
	if s.Name == "" {
		s.Name = s.ID
	}
	if len(s.Name) > NameBytesMax {
		return fmt.Errorf("name of %d bytes: at most %d", len(s.Name), NameBytesMax)
	}
	if s.Preset == "" {
		s.Preset = "generic"
	}
	src.Policy.Source, src.Policy.Buyer = s.ID, s.Buyer
	return nil
}

// compilePreset takes over what the preset knows of the sender. A mapper knows
// that itself.
func compilePreset(src *Source) error {
	preset, err := PresetOf(src.Spec.Preset)
	if err != nil {
		return err
	}
	if src.MapperName == "" {
		preset.fill(&src.Spec)
	} else if preset.Name != "generic" {
		return fmt.Errorf("preset %q: mapper %q knows the sender itself; leave one of the two out", preset.Name, src.Spec.Mapper)
	}
	return nil
}

func compileFields(src *Source) error {
	preset, err := PresetOf(src.Spec.Preset)
	if err != nil {
		return err
	}
	for _, from := range []map[string][]string{src.Spec.Fields, preset.Source.Fields} {
		for slot, names := range from {
			i, err := slotOf(slot)
			if err != nil {
				return err
			}
			for _, n := range names {
				if n = strings.ToLower(strings.TrimSpace(n)); n == "" || len(n) > FieldBytesMax {
					return fmt.Errorf("fields.%s: name %q: want 1 to %d bytes", slot, n, FieldBytesMax)
				}
				if i == SlotKey && !event.SecretName(n) {
					return fmt.Errorf("fields.key: name %q: want one that sounds like a secret's, such as key, or the keys would be kept readable", n)
				}
				if !slices.Contains(src.Names[i], n) {
					src.Names[i] = append(src.Names[i], n)
				}
			}
			if len(src.Names[i]) > NamesPerSlot {
				return fmt.Errorf("fields.%s: %d names: at most %d", slot, len(src.Names[i]), NamesPerSlot)
			}
		}
	}
	for slot, value := range src.Spec.Constants {
		i, err := slotOf(slot)
		if err != nil {
			return err
		}
		src.Constants[i] = value
	}
	t := src.Spec.Transforms
	if !slices.Contains([]string{"", "seconds", "ms", "mm:ss"}, t.Duration) {
		return fmt.Errorf("transforms.duration %q: want seconds, ms or mm:ss", t.Duration)
	}
	if t.TimeZone != "" {
		if src.Zone, err = time.LoadLocation(t.TimeZone); err != nil {
			return fmt.Errorf("transforms.time_zone %q: want a name such as America/New_York", t.TimeZone)
		}
	}
	src.Spec.Identity = strings.ToLower(src.Spec.Identity)
	return nil
}

func slotOf(name string) (Slot, error) {
	if i := slices.Index(slotNames[:], name); i >= 0 {
		return Slot(i), nil
	}
	if near := Nearest(name, slotNames[:]); near != "" {
		return 0, fmt.Errorf("field slot %q is not known: did you mean %q?", name, near)
	}
	return 0, fmt.Errorf("field slot %q is not known: have %s", name, strings.Join(slotNames[:], ", "))
}

func compileMatch(src *Source) error {
	m, p := &src.Spec.Match, &src.Policy
	for _, d := range []struct {
		name   string
		spec   *Duration
		def    time.Duration
		most   time.Duration
		policy *time.Duration
	}{
		{"match.window", &m.Window, event.DefaultWindow, WindowMax, &p.Window},
		{"match.duration_tolerance", &m.DurationTolerance, event.DefaultDurationTolerance, ToleranceMax, &p.DurationTolerance},
		{"dedupe_window", &src.Spec.DedupeWindow, event.DefaultDedupeWindow, WindowMax, &p.DedupeWindow},
		{"park_for", &src.Spec.ParkFor, event.DefaultParkFor, ParkForMax, &p.ParkFor},
	} {
		if *d.spec == 0 {
			*d.spec = Duration(d.def)
		}
		if *d.policy = time.Duration(*d.spec); *d.policy > d.most {
			return fmt.Errorf("%s %s: at most %s", d.name, *d.policy, d.most)
		}
	}
	if m.DefaultRegion == "" {
		m.DefaultRegion = DefaultRegion
	}
	if phonenumbers.GetCountryCodeForRegion(m.DefaultRegion) == 0 {
		return fmt.Errorf("match.default_region %q: want an ISO 3166 code such as US or GB", m.DefaultRegion)
	}
	src.Region = m.DefaultRegion
	return nil
}

func compileLimits(src *Source) error {
	l := &src.Spec.Limits
	perToken, perIP := DefaultPerTokenPerMin, 0
	switch l.Profile {
	case "":
	case "strict":
		perToken, perIP = StrictPerTokenPerMin, StrictPerIPPerMin
	default:
		return fmt.Errorf("limits.profile %q: want strict or nothing", l.Profile)
	}
	for _, v := range []struct {
		name string
		spec *int
		def  int
		out  *int
	}{
		{"limits.per_token_per_min", &l.PerTokenPerMin, perToken, &src.PerToken},
		{"limits.per_ip_per_min", &l.PerIPPerMin, perIP, &src.PerIP},
	} {
		if *v.spec < -1 || *v.spec > PerMinuteMax {
			return fmt.Errorf("%s %d: want 1 to %d, 0 for the default, -1 for none", v.name, *v.spec, PerMinuteMax)
		}
		if *v.spec == 0 {
			*v.spec = v.def
		}
		*v.out = max(0, *v.spec)
	}
	return nil
}

func compileMoney(src *Source) error {
	s, p := &src.Spec, &src.Policy
	if s.Currency == "" {
		s.Currency = event.DefaultCurrency
	}
	if s.Currency = strings.ToUpper(s.Currency); !currencyForm.MatchString(s.Currency) {
		return fmt.Errorf("currency %q: want a code of 3 to 12 letters or digits", s.Currency)
	}
	p.Currency, p.AmountMax = s.Currency, event.DefaultAmountMax
	if s.AmountMax != "" {
		v, err := event.ParseAmount(s.AmountMax)
		if err != nil || v <= 0 {
			return fmt.Errorf("amount_max %q: want a positive decimal such as 10000.00", s.AmountMax)
		}
		if v > AmountMaxMost {
			return fmt.Errorf("amount_max %q: at most %s", s.AmountMax, AmountMaxMost)
		}
		p.AmountMax = v
	}
	s.AmountMax = p.AmountMax.String()
	p.NegativeReverses = s.Transforms.NegativeReverses
	return nil
}

func compileReply(src *Source) error {
	r := &src.Spec.Reply
	if r.Mode == "" {
		r.Mode = ReplyVerdict
	}
	if r.Mode != ReplyVerdict && r.Mode != ReplyAccepted {
		return fmt.Errorf("reply %q: want verdict or accepted", r.Mode)
	}
	switch src.Spec.Ack {
	case "":
		src.Spec.Ack = AckJournal
	case AckJournal, AckCommitted:
	default:
		return fmt.Errorf("ack %q: want journal or committed", src.Spec.Ack)
	}
	r.Classes = maps.Clone(r.Classes)
	for class, a := range r.Classes {
		if _, err := event.ParseStatus(class); err != nil && !slices.Contains([]string{"accepted", "ok", "invalid", "paused", "unauthorized", "limited"}, class) {
			return fmt.Errorf("reply.classes %q: want accepted, ok, invalid, paused, unauthorized, limited or a status", class)
		}
		if a.Status != 0 && (a.Status < 200 || a.Status > 599) {
			return fmt.Errorf("reply.classes.%s.status %d: want 200 to 599", class, a.Status)
		}
		if len(a.Body) > ReplyBytesMax {
			return fmt.Errorf("reply.classes.%s.body of %d bytes: at most %d", class, len(a.Body), ReplyBytesMax)
		}
		if err := CheckReply(a.Body); err != nil {
			return fmt.Errorf("reply.classes.%s.body: %w", class, err)
		}
		if strings.ContainsFunc(a.ContentType, func(r rune) bool { return r < ' ' || r > '~' }) || len(a.ContentType) > FieldBytesMax {
			return fmt.Errorf("reply.classes.%s.content_type %q: want for example text/plain, at most %d bytes", class, a.ContentType, FieldBytesMax)
		}
		if a.Body != "" && a.ContentType == "" && !json.Valid([]byte(a.Body)) {
			a.ContentType = "text/plain; charset=utf-8"
			r.Classes[class] = a
		}
	}
	return nil
}
