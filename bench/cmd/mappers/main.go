// Command mappers runs one part of package mappers and prints what it found as
// one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/tallyhook/tallyhook/bench/mappers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var c mappers.Config
	part := flag.String("part", "calls", "calls, distinct or active")
	langs := flag.String("langs", "c", "of active, with commas between them")
	flag.StringVar(&c.Root, "root", ".", "`folder` of the module's sources")
	flag.StringVar(&c.Go, "go", "", "`file` of the example in Go, built")
	flag.DurationVar(&c.Round, "round", 0, "processor time of a turn")
	flag.IntVar(&c.Rounds, "rounds", 0, "turns of each")
	flag.StringVar(&c.Cache, "cache", "", "`folder` of native code, for active")
	flag.IntVar(&c.Count, "count", 100, "mappers of active")
	flag.Parse()
	c.Langs = strings.Split(*langs, ",")
	if err := run(ctx, *part, c); err != nil {
		fmt.Fprintln(os.Stderr, "mappers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, part string, c mappers.Config) (err error) {
	var found any
	switch part {
	case "calls":
		found, err = mappers.MeasureCalls(ctx, c)
	case "distinct":
		found, err = mappers.MeasureDistinct(ctx, c)
	case "active":
		found, err = mappers.MeasureActive(ctx, c)
	default:
		err = fmt.Errorf("part %q: have calls, distinct, active", part)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}
