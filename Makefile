# Tallyhook. Needs Go, git and make; everything else is fetched by Go.

SHELL       := /bin/bash
export CGO_ENABLED := 0
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS     := -s -w -X main.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10s
PACKAGES    := ./...

# Every test is run with the race detector, except those that it tells nothing
# about, which are run without it, and only there: fault runs and kills, whose
# nodes are processes that are built without it; stories on real servers, whose
# other half, on the embedded store, is raced; and what is built only without
# it (scripts/unraced), because it counts allocations or would take too long.
# What is raced is not run a second time: nothing else in it is different.
UNRACED     := ./bench/faults ./bench/crash
RACED       := $(shell go list ./... 2>/dev/null | grep -v -e /bench/faults -e /bench/crash)
ON_SERVERS  := Test(Mapper)?StoriesOnServers

# How long the tests of one package may take, on a machine that others use too.
PATIENCE    := 40m

.PHONY: help run build test race unraced fuzz bench check demo crash faults services plugins

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## start a node on ./data: embedded store, no other service
	./bin/tallyhook serve

build: ## build bin/tallyhook, one static binary
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/tallyhook ./cmd/tallyhook

# One package at a time where real servers and nodes share the machine: what is
# late there is late for want of a processor.
test: check services ## all tests: formatting, vet, staticcheck, every suite with the race detector, end to end, on real servers
	@if scripts/compiler; then $(MAKE) --no-print-directory race unraced; \
	else $(MAKE) --no-print-directory race && go test -p 1 -timeout $(PATIENCE) $(PACKAGES); fi; rc=$$?; scripts/services down; exit $$rc

plugins: ## build the example mappers in C, Rust and AssemblyScript, bit for bit as they are committed
	plugins/build

services: ## install (where they are not there) and start the Redis, Postgres and ClickHouse that tests use
	scripts/services up -idle 2h

race: ## every suite with the race detector, where a C compiler is at hand
	@if scripts/compiler; then CGO_ENABLED=1 go test -race -timeout $(PATIENCE) -skip "^$(ON_SERVERS)$$" $(RACED); \
	elif [ "$$CI" = true ]; then echo "make race: the race detector needs a C compiler" >&2; exit 1; \
	else echo "make race: SKIPPED, the race detector needs a C compiler" >&2; fi

unraced: ## what is run without the race detector, where the rest is run with it
	go test -p 1 -timeout $(PATIENCE) $(UNRACED)
	go test -p 1 -timeout $(PATIENCE) -run "$$(scripts/unraced tests)|^$(ON_SERVERS)$$" ./cmd/tallyhook $$(scripts/unraced packages | grep -vx ./cmd/tallyhook)
	go test $$(scripts/unraced whole)

check: ## gofmt, vet, staticcheck, import directions, go.mod tidy
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted" >&2; exit 1; }
	go vet $(PACKAGES)
	go run $(STATICCHECK) $(PACKAGES)
	go mod tidy -diff
	go test -run TestImportsRunOneWay ./cmd/tallyhook

fuzz: ## every fuzz target for FUZZTIME (default 10s)
	@set -e; for f in $$(git grep -lE '^func Fuzz' -- '*_test.go'); do \
	  for t in $$(grep -oE '^func Fuzz[A-Za-z0-9]+' $$f | cut -c6-); do \
	    echo "== $$(dirname $$f) $$t"; go test -run xxx -fuzz "^$$t$$" -fuzztime $(FUZZTIME) ./$$(dirname $$f); done; done

bench: build ## measure this machine; writes bench/results/
	./bin/tallyhook bench

crash: build ## kill -9 a node 200 times under load and verify that nothing was lost or doubled
	TALLYHOOK_CRASH_KILLS=200 go test -count=1 -timeout 60m -run TestKill9 -v ./bench/crash

faults: ## every fault run at full size: servers away for minutes, killed, cut, frozen; about two hours
	FAULTS_FULL=1 go test -count=1 -timeout 6h -v ./bench/faults

demo: build ## play realistic traffic into a node on a temporary folder
	./bin/tallyhook demo
