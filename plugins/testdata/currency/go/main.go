// Mapper says the currency that its configuration names, unless the request has one.
package main

import (
	"strconv"

	tallyhook "github.com/tallyhook/tallyhook/plugins/sdk/go"
)

var (
	kept     [12]byte
	currency []byte
	digits   [20]byte
)

// MapperInit keeps the configuration.
//
//go:wasmexport mapper_v1_init
func MapperInit(length uint32) uint32 {
	config := tallyhook.Trim(tallyhook.Config(length))
	if len(config) == 0 || len(config) > len(kept) {
		return 1
	}
	currency = kept[:copy(kept[:], config)]
	return 0
}

// MapperMap is what the host calls.
//
//go:wasmexport mapper_v1_map
func MapperMap(length uint32) uint64 { return tallyhook.Run(length, Map) }

func main() {}

// Map maps one request.
func Map(p *tallyhook.Postback, out *tallyhook.Reports) tallyhook.Answer {
	said := p.Get(tallyhook.Query, "cur")
	if len(said) == 0 {
		said = currency
	}
	out.Set(tallyhook.Currency, said)
	status := "live"
	if p.IsTest() {
		status = "test"
	}
	out.SetString(tallyhook.Status, status)
	out.Set(tallyhook.OccurredAt, strconv.AppendInt(digits[:0], p.ReceivedMillis(), 10))
	return tallyhook.Done
}
