package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tallyhook/tallyhook/"

// mayImport says which of our own packages each room may import. Imports run
// one way; ingest, mapper, match and sink never meet but in cmd.
var mayImport = map[string][]string{
	"event":                 {},
	"source":                {"event", "source/signature"},
	"source/learn":          {"event", "source", "source/signature"},
	"source/signature":      {},
	"ingest":                {"event", "source", "source/signature"},
	"mapper":                {"event", "source", "mapper/abi", "mapper/wasm"},
	"mapper/abi":            {},
	"mapper/rewrite":        {},
	"mapper/moduletest":     {},
	"mapper/wasm":           {"mapper/abi", "mapper/rewrite"},
	"mapper/vectors":        {"event", "source"},
	"mapper/admission":      {"event", "source", "mapper", "mapper/abi", "mapper/rewrite", "mapper/vectors", "mapper/wasm"},
	"plugins":               {},
	"plugins/sdk/go":        {},
	"plugins/examples":      {"plugins/sdk/go"},
	"match":                 {"event", "source"},
	"journal":               {"event"},
	"sink":                  {"event"},
	"store":                 {"event", "source", "source/signature"},
	"store/storetest":       {"store", "bench/services"},
	"pipeline":              {"event", "sink"},
	"console":               {"event", "source", "source/learn", "source/signature", "store", "sink", "mapper/vectors"},
	"deploy":                {},
	"sink/clickhouse":       {"event", "sink"},
	"bench/engine":          {},
	"bench/services":        {"bench/services/server"},
	"bench/services/server": {},
	"bench/faults":          {"bench/load", "bench/node", "bench/services", "bench/traffic", "bench/verifier", "mapper/moduletest", "mapper/vectors"},
	"bench/baseline":        {},
	"bench/load":            {},
	"bench/node":            {},
	"bench/crash":           {"bench/node"},
	"bench/traffic":         {"event"},
	"bench/verifier":        {"event", "bench/load", "bench/node", "bench/traffic"},
	"bench/mappers":         {"event", "source", "mapper", "mapper/abi", "mapper/rewrite", "mapper/wasm", "bench/load"},
	"bench/run":             {"bench/load", "bench/mappers", "bench/node", "bench/services/server", "bench/traffic", "mapper/vectors"},
	"bench/cmd":             {"bench/baseline", "bench/engine", "bench/mappers", "bench/services/server", "bench/traffic", "bench/verifier"},
	"cmd/tallyhook":         nil, // everything
}

func TestImportsRunOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		words := strings.Fields(line)
		room := strings.TrimPrefix(words[0], module)
		for _, many := range []string{"bench/cmd", "plugins/examples"} {
			if strings.HasPrefix(room, many+"/") {
				room = many
			}
		}
		allowed, known := mayImport[room]
		if !known {
			t.Errorf("%s is a room that the table of imports does not know", room)
		}
		for _, w := range words[1:] {
			own, ours := strings.CutPrefix(w, module)
			if ours && allowed != nil && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s: it may import %v only", room, own, allowed)
			}
		}
	}
}
