package learn

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/tallyhook/tallyhook/source"
)

// hint is a word, or several, in a field's name that speak for a slot.
type hint struct {
	slot   source.Slot
	points int
	words  []string // all of them, in any order
}

// Points by which names speak. From nameSure on, a name that no other field
// rivals and that the values bear out is proposed.
const (
	nameAlias = 100
	nameSure  = 60
	nameWeak  = 35
	valueOnly = 30
)

// hints are words that senders use beyond the names which the presets list.
var hints = func() (list []hint) {
	add := func(slot source.Slot, points int, words ...string) {
		for _, w := range words {
			list = append(list, hint{slot, points, strings.Split(w, "+")})
		}
	}
	add(source.SlotCaller, nameSure, "caller", "ani", "cli", "clid", "msisdn", "phone", "telephone", "tel", "mobile", "cell", "from", "customer+number", "lead+number", "consumer+number")
	add(source.SlotCaller, nameWeak, "number", "num")
	add(source.SlotCaller, -nameSure, "to", "did", "dnis", "called", "dialed", "dialled", "destination", "target", "tracking", "agent", "tollfree", "buyer")
	add(source.SlotDuration, nameSure, "duration", "dur", "seconds", "secs", "sec", "talk", "talktime", "billsec", "billable", "length", "ms+call", "millis")
	add(source.SlotDuration, -nameSure, "ring", "wait", "queue", "ivr", "hold")
	add(source.SlotPayout, nameSure, "payout", "payment", "pay", "price", "revenue", "rev", "commission", "comm", "cpa", "amount", "amt", "bid", "earning", "earnings", "earned", "sum", "paid", "cents", "payable")
	add(source.SlotPayout, nameWeak, "value", "usd", "eur", "money", "cost", "sale", "total")
	add(source.SlotPayout, -nameSure, "tax", "balance", "count", "qty", "id", "rate")
	add(source.SlotCurrency, nameSure, "currency", "curr", "cur", "ccy")
	add(source.SlotStartedAt, nameSure, "start", "started", "begin", "began", "call+time", "call+date", "call+timestamp", "call+dt", "connected+at", "answered+at")
	add(source.SlotOccurredAt, nameSure, "occurred", "event+time", "event+at", "conversion+time", "conversion+at", "conversion+datetime", "converted+at")
	add(source.SlotOccurredAt, nameWeak, "time", "timestamp", "ts", "datetime", "date")
	add(source.SlotOccurredAt, -nameSure, "start", "started", "click", "install", "end", "ended")
	add(source.SlotStatus, nameSure, "status", "state", "disposition", "outcome", "result")
	add(source.SlotTransactionID, nameSure, "transaction", "txn", "trans", "tx", "trx", "conversion+id", "order+id", "lead+id", "event+id")
	add(source.SlotTransactionID, -nameSure, "type", "time", "date", "at", "datetime")
	add(source.SlotRefID, nameSure, "click", "clickid", "subid", "sub", "ref", "refid", "external", "affsub", "aff+sub", "tracking+id", "reference")
	add(source.SlotRefID, -nameSure, "time", "date", "datetime", "at", "name", "url", "ip", "referrer", "referer")
	add(source.SlotCallID, nameWeak, "call+id", "call+uuid", "call+sid", "call+guid", "callid", "calluuid")
	add(source.SlotNetworkCallID, nameWeak, "call+id", "call+uuid", "call+sid", "call+guid", "callid", "calluuid", "callsid")
	add(source.SlotReward, nameSure, "reward", "points", "coins", "credits", "virtual+amount", "currency+amount")
	return list
}()

// words parts a name: data.callerNumber_2 is data, caller, number.
func words(name string) (list []string) {
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			list = append(list, strings.ToLower(b.String()))
			b.Reset()
		}
	}
	var before rune
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r):
			flush()
		case unicode.IsUpper(r) && unicode.IsLower(before):
			flush()
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
		before = r
	}
	flush()
	return list
}

// plainName leaves of a name its letters and digits, in lower case, so that
// caller_id, callerId and Caller-ID are one.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

// forms are the ways in which a nested name may be known: whole, its last
// part, and its last two.
func forms(name string) []string {
	list := []string{plainName(name)}
	parts := strings.Split(name, ".")
	if n := len(parts); n > 1 {
		list = append(list, plainName(parts[n-1]), plainName(strings.Join(parts[n-2:], "")))
	}
	return list
}

// aliases says for each plain name how many presets use it for which slot.
type aliases map[string]map[source.Slot]int

func knownAliases() aliases {
	all := aliases{}
	for _, name := range source.Presets() {
		p, err := source.PresetOf(name)
		if err != nil {
			panic("bug: " + err.Error())
		}
		for slot, names := range p.Source.Fields {
			i := slotOf(slot)
			if i < 0 {
				continue
			}
			for _, n := range names {
				key := plainName(n)
				if all[key] == nil {
					all[key] = map[source.Slot]int{}
				}
				all[key][source.Slot(i)]++
			}
		}
	}
	return all
}

func slotOf(name string) int {
	for s := range source.SlotCount {
		if s.String() == name {
			return int(s)
		}
	}
	return -1
}

// namePoints says how much a column's name speaks for a slot, and in words why.
func (a aliases) namePoints(c *column, slot source.Slot) (points int, why string) {
	for _, f := range forms(c.name) {
		if n := a[f][slot]; n > 0 {
			return nameAlias + min(n, 10), "senders call it so"
		}
	}
	have := words(c.name)
	best, worst := 0, 0
	for _, h := range hints {
		if h.slot != slot || !containsAll(have, h.words) {
			continue
		}
		if h.points < 0 {
			worst = min(worst, h.points)
		} else if h.points > best {
			best, why = h.points, "its name holds "+strings.Join(h.words, " and ")
		}
	}
	return best + worst, why
}

func containsAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
