// Command verifier drives nodes and judges them; see package verifier.
//
//	verifier drive --ingest ADDR,… --admin ADDR,… --key-file DATA/admin.key --log FILE
//	verifier check --ingest ADDR,… --admin ADDR,… --key-file DATA/admin.key --log FILE [--activity URL]
//
// Several nodes share a store, so that the key of one is good for all.
// drive goes on until --for is over or it gets SIGINT or SIGTERM, and finishes
// what it began. Exit code 0, 1 when something is wrong with the node, 2 when
// the verifier was called wrongly.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/tallyhook/tallyhook/bench/traffic"
	"github.com/tallyhook/tallyhook/bench/verifier"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

type options struct {
	ingest, admin          string // lists
	keyFile, log, activity string
	seed                   uint64
	rate                   float64
	conns                  int
	period                 time.Duration
}

func run(ctx context.Context, args []string) int {
	var o options
	f := flag.NewFlagSet("verifier", flag.ContinueOnError)
	f.StringVar(&o.ingest, "ingest", "127.0.0.1:8080", "addresses of the nodes' intakes, with commas")
	f.StringVar(&o.admin, "admin", "127.0.0.1:8081", "addresses of their admin APIs, in the same order")
	f.StringVar(&o.keyFile, "key-file", "", "file with an admin key")
	f.StringVar(&o.log, "log", "", "log of requests and answers")
	f.StringVar(&o.activity, "activity", "", "check: URL of the ClickHouse that activity is shipped to, http://…")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the traffic")
	f.Float64Var(&o.rate, "rate", 0, "requests a second at most, 0 for no bound")
	f.IntVar(&o.conns, "conns", 64, "connections")
	f.DurationVar(&o.period, "for", 0, "how long to send, 0 until a signal")
	commands := map[string]func(context.Context, options, []*verifier.Node) error{"drive": drive, "check": check}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprintln(os.Stderr, "usage: verifier drive|check [flags]; verifier drive -h lists them")
		return 2
	}
	if err := f.Parse(args[1:]); err != nil {
		return 2
	}
	if o.keyFile == "" || o.log == "" || f.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "verifier: --key-file and --log are needed, and nothing but flags")
		return 2
	}
	key, err := os.ReadFile(o.keyFile)
	if err == nil {
		var nodes []*verifier.Node
		if nodes, err = nodesOf(o, strings.TrimSpace(string(key))); err == nil {
			err = commands[args[0]](ctx, o, nodes)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "verifier:", err)
		return 1
	}
	return 0
}

func nodesOf(o options, key string) (nodes []*verifier.Node, err error) {
	ingest, admin := strings.Split(o.ingest, ","), strings.Split(o.admin, ",")
	if len(ingest) != len(admin) {
		return nil, fmt.Errorf("%d addresses in --ingest and %d in --admin: want one of each for every node", len(ingest), len(admin))
	}
	for i := range ingest {
		nodes = append(nodes, verifier.NewNode(ingest[i], admin[i], key))
	}
	return nodes, nil
}

// knownTimeMax bounds how long sources take to reach every node.
const knownTimeMax = 10 * time.Second

func drive(ctx context.Context, o options, nodes []*verifier.Node) error {
	ids, paths, err := nodes[0].Setup(ctx)
	if err != nil {
		return err
	}
	if err := verifier.Known(ctx, nodes, knownTimeMax); err != nil {
		return err
	}
	plan := verifier.Plan{Paths: paths, Conns: o.conns, Rate: o.rate,
		Run: verifier.Run{Seed: o.seed, Base: time.Now().UTC().Truncate(time.Second), Mix: traffic.DefaultMix(), Sources: ids}}
	log, err := verifier.CreateLog(o.log, plan.Run)
	if err != nil {
		return err
	}
	defer log.Close()
	if o.period > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.period)
		defer cancel()
	}
	fmt.Println("driving") // whoever started us may begin to do harm
	begin := time.Now()
	sent, err := verifier.Drive(ctx, nodes, plan, log)
	fmt.Printf("sent %d requests of %d scripts in %.1f s: %d acknowledged, %d unanswered, %d refused for now, %d sent again\n",
		sent.Requests, sent.Scripts, time.Since(begin).Seconds(), sent.Acked, sent.Unanswered, sent.Refused, sent.Retried)
	return err
}

func check(ctx context.Context, o options, nodes []*verifier.Node) error {
	report, err := verifier.Check(ctx, nodes, o.log, o.activity)
	if err != nil {
		return err
	}
	report.Print(os.Stdout)
	if !report.OK() {
		return fmt.Errorf("promises were broken: %d differences", report.Wrong)
	}
	return nil
}
