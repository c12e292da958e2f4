// Package learn proposes how a source should read its sender, from what the
// sender has sent.
//
//	requests ─► reports of named values ─► preset ─► fields ─► notations
//	                                          └► identity, kinds, signature ─► diff
//
// It is a pure function of its input: the same requests give the same
// proposal. What the values prove, or what a name and the values agree on, is
// proposed; where several fields would do, or a guess would cost money when it
// is wrong, the finding stays open and a person decides; so does what only
// refused requests say, which may be anybody's. Every change is tried with
// source.Compile before it is proposed. No secret, no signature and no
// whole phone number is in what it says.
package learn

import (
	"fmt"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

// Limits of one proposal.
const (
	RequestsMax     = 100       // looked at, the newest
	FieldsMax       = 1024      // of one request; the rest is passed over
	ReportsMax      = 256       // of all requests together; arrays hold several
	SecretsMax      = 4         // tried
	DetectRunsMax   = 3         // requests and secrets for which every shape of signature is tried, each up to a second
	VerifiedMax     = 20        // requests that a found scheme is checked against
	ExampleBytesMax = 48        // of a value that is shown
	bodyBytesMax    = 256 << 10 // of a body that is taken apart
)

// Request is one request as it was captured, the newest first in Input.
type Request struct {
	At          time.Time
	Method      string
	Target      string // path and raw query as in the request line; the path may be left out
	Host        string // as the sender called us, "" when that is not known
	Scheme      string // "" is https
	ContentType string
	Headers     []event.Pair
	Body        []byte
	Peer        string
	Reason      string // why it was refused, as the machine word of the check that failed, or the status of its verdict
	Refused     bool   // it was not taken
	Cut         bool   // its body is not whole
	Masked      bool   // its secrets were taken out, so nothing can be verified with it
	HeadersCut  bool   // only some of its headers are kept, so one that is signed may be missing
}

// Secret is one by which requests may be signed.
type Secret struct {
	Text []byte // as the sender shows it
	Live bool   // the source has it already
}

// Input is what a proposal is made of.
type Input struct {
	Spec       source.Spec // as the operator wrote it, without defaults
	Requests   []Request
	Secrets    []Secret
	Statuses   map[string][]string // what a person says that words in status mean: kind, or ignore → words; it goes before what is known of them
	PublicBase string              // what stands before the path in what senders were told: https://in.example.com
	Mask       []string            // further texts that are never shown, such as the token in the path
}

// State says what a finding leads to.
type State string

// States of a finding.
const (
	AsIs     State = "as_is"    // the source does so already
	Proposed State = "proposed" // the diff does so
	Open     State = "open"     // a person has to choose; the diff does nothing
	Note     State = "note"     // worth knowing
)

// Finding is one thing that the requests tell.
type Finding struct {
	What       string      `json:"what"` // preset, signature, identity, statuses, allow_ips, the name of a field's slot, or of a transform; field is one that nothing takes
	State      State       `json:"state"`
	Proposed   string      `json:"proposed,omitempty"` // what it would be set to, or is; the field that nothing takes
	Why        string      `json:"why"`
	Seen       int         `json:"seen"`              // reports or requests that show it
	Of         int         `json:"of"`                // of so many
	Example    string      `json:"example,omitempty"` // cut, callers to their last four digits
	Candidates []Candidate `json:"candidates,omitempty"`
}

// Candidate is one way to settle an open finding.
type Candidate struct {
	Name    string `json:"name"`
	Example string `json:"example,omitempty"`
	Seen    int    `json:"seen"`
}

// Proposal is what to change and why.
type Proposal struct {
	Requests int         `json:"requests"` // that were looked at
	Reports  int         `json:"reports"`  // that they hold
	Preset   string      `json:"preset"`   // that fits best
	Findings []Finding   `json:"findings"`
	Diff     string      `json:"diff"` // of the source's YAML, "" when nothing is to be changed
	YAML     string      `json:"yaml"` // of the source as it would be, for apply
	Spec     source.Spec `json:"-"`    // the same; it compiles

	// Halt says why the proposal must not be put in force as it is, "" when it may.
	Halt string `json:"-"`

	// Secret is the index in Input.Secrets of the one that the requests are
	// signed with, -1 when there is none.
	Secret int `json:"-"`
}

// Propose looks at what came and says how the source should read it. It fails
// when nothing was captured, the source as it is does not compile, or Statuses
// cannot be meant.
func Propose(in Input) (*Proposal, error) {
	if len(in.Requests) == 0 {
		return nil, fmt.Errorf("source %q: nothing to learn from: have its sender send one request", in.Spec.ID)
	}
	src, err := source.Compile(clone(in.Spec))
	if err != nil {
		return nil, err
	}
	in.Requests = in.Requests[:min(len(in.Requests), RequestsMax)]
	in.Secrets = in.Secrets[:min(len(in.Secrets), SecretsMax)]
	d := &draft{in: &in, spec: clone(in.Spec), src: src, out: &Proposal{Requests: len(in.Requests), Secret: -1}}
	d.signs = d.detect()
	d.sift()
	d.out.Reports = d.data.reports + d.strange.reports
	d.preset()
	if d.src.MapperName != "" {
		d.note("mapper", d.src.Spec.Mapper, "the source's mapper reads its postbacks, so names of fields and notations are not looked at")
	} else if d.data.reports == 0 {
		d.note("fields", "", "no request holds a field that can be read: send one with a query, a form or JSON")
	} else {
		d.slots()
		d.notations()
		if err := d.kinds(); err != nil {
			return nil, err
		}
		d.identity()
	}
	d.signature()
	if d.src.MapperName == "" {
		d.unused()
	}
	d.peers()
	if d.unproven {
		d.spec = clone(in.Spec)
	}
	d.out.Spec, d.out.YAML = d.spec, yamlOf(d.spec)
	d.out.Diff = diff(in.Spec, d.spec)
	d.out.Preset = d.src.Spec.Preset
	return d.out, nil
}

// draft is a proposal in the making.
type draft struct {
	in    *Input
	spec  source.Spec    // with what is proposed so far
	src   *source.Source // the same, compiled
	signs []sign
	out   *Proposal

	requests []Request // those that count
	data     *data     // what they say
	strange  *data     // what the others say
	unproven bool      // none of them showed that it is the sender's: nothing is proposed
}

// change proposes f when the source still compiles with it. Otherwise the
// finding stays open and says why.
func (d *draft) change(f Finding, edit func(*source.Spec)) bool {
	next := clone(d.spec)
	edit(&next)
	src, err := source.Compile(clone(next))
	if err != nil {
		f.State = Open
		f.Why += "; the source would not do with it: " + d.hide(err.Error())
		d.add(f)
		return false
	}
	d.spec, d.src = next, src
	f.State = Proposed
	if d.unproven {
		f.State = Open
		f.Why += unprovenWhy
	}
	d.add(f)
	return true
}

func (d *draft) add(f Finding) { d.out.Findings = append(d.out.Findings, f) }

func (d *draft) note(what, proposed, why string) {
	d.add(Finding{What: what, State: Note, Proposed: proposed, Why: why, Of: len(d.in.Requests)})
}

// peers names who has sent, for a list of addresses. It is never proposed: who
// sends today may send from elsewhere tomorrow, and a stranger may have sent.
func (d *draft) peers() {
	const shown = 16
	seen, list := map[string]int{}, []string{}
	for i := range d.in.Requests {
		p := d.in.Requests[i].Peer
		if p == "" {
			continue
		}
		if seen[p]++; seen[p] == 1 {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return
	}
	f := Finding{What: "allow_ips", State: Note, Seen: len(list), Of: len(d.in.Requests)}
	if len(d.src.Allow) > 0 {
		outside := 0
		for _, p := range list {
			if !allowed(d.src, p) {
				outside++
				f.Candidates = append(f.Candidates, Candidate{Name: p, Seen: seen[p]})
			}
		}
		if outside == 0 {
			return
		}
		f.State, f.Seen = Open, outside
		f.Why = "requests came from addresses that are not on the source's list: add those that are the sender's; until then they are refused"
	} else {
		f.Why = "nothing but these addresses has sent; put those that are the sender's into allow_ips, if it names them too"
		for _, p := range list {
			f.Candidates = append(f.Candidates, Candidate{Name: p, Seen: seen[p]})
		}
	}
	f.Candidates = f.Candidates[:min(len(f.Candidates), shown)]
	d.add(f)
}

func allowed(src *source.Source, peer string) bool {
	p, err := source.ParsePrefix(peer)
	if err != nil {
		return false
	}
	for _, a := range src.Allow {
		if a.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// request is what a verifier sees of r.
func (d *draft) request(r *Request) *signature.Request {
	q := &signature.Request{Method: r.Method, URL: r.Target, Host: r.Host, Scheme: r.Scheme, PublicBase: d.in.PublicBase, ContentType: r.ContentType, Body: r.Body,
		Header: func(name string) (string, bool) {
			var values []string
			for _, h := range r.Headers {
				if strings.EqualFold(h.Name, name) {
					values = append(values, h.Value)
				}
			}
			return strings.Join(values, ", "), len(values) > 0
		}}
	for _, h := range r.Headers {
		q.HeaderNames = append(q.HeaderNames, h.Name)
	}
	return q
}
