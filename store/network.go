package store

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// Limits of a Network and its objects.
const (
	NetworkListMax = 100_000 // entries of each list, and assignments of a campaign
	PartyIDBytes   = 128
	NameBytesMax   = source.NameBytesMax
	faultsShownMax = 50
)

// Network is what network.yaml describes: who buys, who publishes, who is paid
// what share in which campaign, and by which sources the buyers report. Decode
// it with source.DecodeYAML or source.DecodeJSON.
type Network struct {
	Buyers     []Party       `json:"buyers,omitempty"`
	Publishers []Party       `json:"publishers,omitempty"`
	Campaigns  []Campaign    `json:"campaigns,omitempty"`
	Sources    []source.Spec `json:"sources,omitempty"`
}

// Party is a buyer or a publisher. Its id is what calls name it by.
type Party struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"` // the id when empty
}

// Campaign pays its publishers by the rules of its assignments.
type Campaign struct {
	ID          string       `json:"id"`
	Name        string       `json:"name,omitempty"` // the id when empty
	Assignments []Assignment `json:"assignments"`
	Conversion  *event.Group `json:"conversion,omitempty"` // when its calls convert; nil: by any payout that a buyer reports
}

// Assignment pays a publisher a share of every call's value in a campaign.
type Assignment struct {
	Publisher string `json:"publisher"`
	Payout    string `json:"payout"` // event.ParseRule
}

// faultList gathers everything that is wrong with a Network, each with its place.
type faultList struct {
	list []error
	more int
}

func (f *faultList) add(place string, err error) {
	switch {
	case err == nil:
	case len(f.list) < faultsShownMax:
		f.list = append(f.list, fmt.Errorf("%s: %w", place, err))
	default:
		f.more++
	}
}

func (f *faultList) err() error {
	if f.more > 0 {
		f.list = append(f.list, fmt.Errorf("and %d faults more", f.more))
	}
	return asInvalid(errors.Join(f.list...))
}

// normal copies n with its ids derived, names filled in and payouts trimmed,
// so that checking and comparing see one form. n itself stays as it was.
func (n *Network) normal() *Network {
	c := &Network{
		Buyers:     normalParties(n.Buyers),
		Publishers: normalParties(n.Publishers),
		Campaigns:  append([]Campaign(nil), n.Campaigns...),
		Sources:    append([]source.Spec(nil), n.Sources...),
	}
	for i := range c.Campaigns {
		k := &c.Campaigns[i]
		if k.Name == "" {
			k.Name = k.ID
		}
		k.Assignments = append([]Assignment(nil), k.Assignments...)
		for j := range k.Assignments {
			k.Assignments[j].Payout = strings.TrimSpace(k.Assignments[j].Payout)
		}
	}
	for i := range c.Sources {
		if s := &c.Sources[i]; s.ID == "" {
			s.ID = idOf(s.Name)
		}
	}
	return c
}

func normalParties(list []Party) []Party {
	list = append([]Party(nil), list...)
	for i := range list {
		if list[i].Name == "" {
			list[i].Name = list[i].ID
		}
	}
	return list
}

// check finds every fault of a normal n that shows without the store's
// sources. stored are the publishers that the store knows already.
func (n *Network) check(stored []string) *faultList {
	f := new(faultList)
	for _, list := range []struct {
		name string
		len  int
	}{{"buyers", len(n.Buyers)}, {"publishers", len(n.Publishers)}, {"campaigns", len(n.Campaigns)}, {"sources", len(n.Sources)}} {
		if list.len > NetworkListMax {
			f.add(list.name, fmt.Errorf("%d entries: at most %d", list.len, NetworkListMax))
			return f
		}
	}
	checkParties(f, "buyers", n.Buyers)
	checkParties(f, "publishers", n.Publishers)
	known := newNameSet(stored)
	for _, p := range n.Publishers {
		known.add(p.ID)
	}
	first := map[string]string{}
	for i := range n.Campaigns {
		c := &n.Campaigns[i]
		place := fmt.Sprintf("campaigns[%d]", i)
		checkParty(f, first, place, c.ID, c.Name)
		c.check(f, place, known)
	}
	first = map[string]string{}
	for i := range n.Sources {
		place := fmt.Sprintf("sources[%d]", i)
		_, err := source.Compile(n.Sources[i])
		f.add(place, err)
		f.add(place+".id", once(first, n.Sources[i].ID, place))
	}
	return f
}

func checkParties(f *faultList, list string, parties []Party) {
	first := map[string]string{}
	for i, p := range parties {
		checkParty(f, first, fmt.Sprintf("%s[%d]", list, i), p.ID, p.Name)
	}
}

func checkParty(f *faultList, first map[string]string, place, id, name string) {
	f.add(place+".id", checkID(id))
	f.add(place+".id", once(first, id, place))
	if name != id { // else the same fault would be told twice
		f.add(place+".name", checkName("name", name))
	}
}

func (c *Campaign) check(f *faultList, place string, known *nameSet) {
	if c.Conversion != nil {
		f.add(place, c.Conversion.Check())
	}
	if len(c.Assignments) > NetworkListMax {
		f.add(place+".assignments", fmt.Errorf("%d entries: at most %d", len(c.Assignments), NetworkListMax))
		return
	}
	first := map[string]string{}
	for j, a := range c.Assignments {
		at := fmt.Sprintf("%s.assignments[%d]", place, j)
		if !known.has[a.Publisher] {
			why := didYouMean(a.Publisher, known.list)
			if why == "" {
				why = ": add it to publishers"
			}
			f.add(at+".publisher", fmt.Errorf("%q is not known%s", a.Publisher, why))
		}
		f.add(at+".publisher", once(first, a.Publisher, at))
		_, err := event.ParseRule(a.Payout)
		f.add(at+".payout", err)
	}
}

// once notes where id stands and objects to a second place.
func once(first map[string]string, id, place string) error {
	if at, ok := first[id]; ok {
		return fmt.Errorf("%q stands in %s already", id, at)
	}
	first[id] = place
	return nil
}

// checkID bounds an id that calls carry. Networks make their own, so any
// printable text will do.
func checkID(id string) error {
	if id == "" || len(id) > PartyIDBytes || !printable(id) {
		return fmt.Errorf("%q: want 1 to %d bytes of printable text without blanks around it", cut(id), PartyIDBytes)
	}
	return nil
}

func checkName(what, name string) error {
	if name == "" || len(name) > NameBytesMax || !printable(name) {
		return fmt.Errorf("%s %q: want 1 to %d bytes of printable text without blanks around it", what, cut(name), NameBytesMax)
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && s == strings.TrimSpace(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// cut shortens what a message quotes.
func cut(s string) string {
	if len(s) <= NameBytesMax {
		return s
	}
	return s[:NameBytesMax] + "…"
}

// nameSet is a list of names with a look-up.
type nameSet struct {
	has  map[string]bool
	list []string
}

func newNameSet(names []string) *nameSet {
	s := &nameSet{has: map[string]bool{}}
	for _, n := range names {
		s.add(n)
	}
	return s
}

func (s *nameSet) add(name string) {
	if !s.has[name] {
		s.has[name] = true
		s.list = append(s.list, name)
	}
}
