package traffic

import (
	"encoding/json"
	"strconv"
	"time"
)

// The network that the traffic belongs to. Every publisher works in every
// campaign, by the rule that RuleOf gives.
var (
	Buyers     = []string{"acme-hvac", "north-legal", "bluepeak", "homeline"}
	Campaigns  = []string{"hvac", "legal", "insurance"}
	Publishers = []string{"clickwave", "radio-nine", "dialworks", "leadfield", "mapletree"}
)

var rules = []string{"percent 80", "flat 12.5", "*0.8-1", "percent 33.3333", "/3+0.25"}

// RuleOf gives the payout rule of a publisher in a campaign, "" for unknown ones.
func RuleOf(campaign, publisher string) string {
	for i, c := range Campaigns {
		for j, p := range Publishers {
			if c == campaign && p == publisher {
				return rules[(i+j)%len(rules)]
			}
		}
	}
	return ""
}

// NetworkJSON is the network as the admin API applies it, and `tallyhook apply
// -f` too, since JSON is YAML.
func NetworkJSON() []byte {
	type party struct {
		ID string `json:"id"`
	}
	type assignment struct {
		Publisher string `json:"publisher"`
		Payout    string `json:"payout"`
	}
	type campaign struct {
		ID          string       `json:"id"`
		Assignments []assignment `json:"assignments"`
	}
	var n struct {
		Buyers     []party    `json:"buyers"`
		Publishers []party    `json:"publishers"`
		Campaigns  []campaign `json:"campaigns"`
	}
	for _, id := range Buyers {
		n.Buyers = append(n.Buyers, party{id})
	}
	for _, id := range Publishers {
		n.Publishers = append(n.Publishers, party{id})
	}
	for _, id := range Campaigns {
		c := campaign{ID: id}
		for _, p := range Publishers {
			c.Assignments = append(c.Assignments, assignment{p, RuleOf(id, p)})
		}
		n.Campaigns = append(n.Campaigns, c)
	}
	text, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		panic("bug: the network does not marshal: " + err.Error())
	}
	return text
}

// areas are area codes of the United States; with the exchanges below they
// give 42 million numbers that a numbering plan accepts.
var areas = []int{201, 202, 203, 205, 206, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224, 225, 228, 229,
	231, 234, 239, 240, 248, 251, 252, 253, 254, 256, 260, 262, 267, 269, 270, 276, 281, 301, 302, 303,
	304, 305, 307, 308, 309, 310, 312, 313, 314, 315, 316, 317, 318, 319, 320, 321, 323, 325, 330, 331}

const exchangeFirst, exchangeCount = 555, 70

// appendNumber appends the i-th number in E.164. The first 600,000 are in the
// exchange 555, which is kept for fiction.
func appendNumber(b []byte, i uint64) []byte {
	line, rest := i%10_000, i/10_000
	area, rest := areas[rest%uint64(len(areas))], rest/uint64(len(areas))
	b = append(b, "+1"...)
	b = strconv.AppendInt(b, int64(area), 10)
	b = strconv.AppendUint(b, exchangeFirst+rest%exchangeCount, 10)
	for d := uint64(1000); d > 0; d /= 10 {
		b = append(b, '0'+byte(line/d%10))
	}
	return b
}

// AppendCall appends c as the calls URL takes it: what is known at its start,
// at its end, or both.
func AppendCall(b []byte, c *Call, start, end bool) []byte {
	field := func(name, value string) {
		b = append(append(append(append(append(b, '"'), name...), `":"`...), value...), `",`...)
	}
	b = append(b, '{')
	if start {
		field("ref_id", c.RefID)
		field("caller", c.Caller)
		b = append(c.StartedAt.AppendFormat(append(b, `"started_at":"`...), time.RFC3339), `",`...)
		field("campaign", c.Campaign)
		field("publisher", c.Publisher)
		field("buyer", Buyers[c.Buyer])
	}
	if end {
		ended := c.StartedAt.Add(time.Duration(c.Seconds) * time.Second)
		b = append(ended.AppendFormat(append(b, `"ended_at":"`...), time.RFC3339), `","duration":`...)
		b = append(strconv.AppendInt(b, int64(c.Seconds), 10), ',')
	}
	b = append(append(b, `"call_id":"`...), c.ID...)
	return append(b, `"}`...)
}
