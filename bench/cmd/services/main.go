// Command services starts the servers that the tests share, says what runs,
// and ends them. See scripts/services.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/tallyhook/tallyhook/bench/services/server"
)

const usage = `services: real Redis, PostgreSQL and ClickHouse for the tests

  scripts/services up [-idle 1h] [kind…]   start what does not run; install what is missing
  scripts/services down [kind…]            end what up started
  scripts/services status [kind…]          what runs, where, which version
  scripts/services env [kind…]             the same as shell variables, with passwords

Kinds: redis, postgres, clickhouse; none means all. A server that
TEST_REDIS_URL, TEST_POSTGRES_URL or TEST_CLICKHOUSE_URL names is used as it is,
and never ended. The servers end by themselves when no test has used them for
the time -idle (0: never). Where one cannot be had, up says so and goes on with
the others; with CI=true it then fails.`

// upTimeout covers the packages and the engine over a slow line.
const upTimeout = 15 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "services:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("not a command")

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	root, err := server.Root()
	if err != nil {
		return err
	}
	verb, args := args[0], args[1:]
	if verb == "keep" && len(args) == 2 { // what up starts: kind, time without use
		idle, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		return server.Keep(ctx, root, server.Kind(args[0]), idle)
	}
	flags := flag.NewFlagSet(verb, flag.ContinueOnError)
	flags.Usage = func() {}
	idle := flags.Duration("idle", time.Hour, "end a server after this long without use; 0: never")
	if err := flags.Parse(args); err != nil {
		return errUsage
	}
	kinds, err := readKinds(flags.Args())
	if err != nil {
		return err
	}
	switch verb {
	case "up":
		return up(ctx, root, kinds, *idle)
	case "down":
		return down(root, kinds)
	case "status":
		return status(ctx, root, kinds)
	case "env":
		return env(ctx, root, kinds)
	}
	return errUsage
}

func readKinds(args []string) ([]server.Kind, error) {
	if len(args) == 0 {
		return server.Kinds, nil
	}
	var kinds []server.Kind
	for _, arg := range args {
		kind, err := server.ParseKind(arg)
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, kind)
	}
	return kinds, nil
}

// up starts all at the same time and prints in order.
func up(ctx context.Context, root string, kinds []server.Kind, idle time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	running, errs := make([]server.Shared, len(kinds)), make([]error, len(kinds))
	var wg sync.WaitGroup
	for i, kind := range kinds {
		wg.Go(func() { running[i], errs[i] = server.Up(ctx, root, kind, idle, self, "keep") })
	}
	wg.Wait()
	var missing []string
	for i, kind := range kinds {
		if errs[i] == nil {
			fmt.Println(line(running[i]))
			continue
		}
		missing = append(missing, string(kind))
		fmt.Fprintf(os.Stderr, "\n*** %s IS NOT THERE, its tests will be skipped: %v\n\n", strings.ToUpper(string(kind)), errs[i])
		if !errors.Is(errs[i], server.ErrUnavailable) {
			err = fmt.Errorf("%s did not start", kind) // a fault, not a machine without it
		}
	}
	if len(missing) > 0 && os.Getenv("CI") == "true" {
		return fmt.Errorf("CI=true and there is no %s", strings.Join(missing, ", "))
	}
	return err
}

func down(root string, kinds []server.Kind) error {
	for _, kind := range kinds {
		was, err := server.Down(root, kind)
		if err != nil {
			return err
		}
		if was {
			fmt.Println(kind, "ended")
		}
	}
	return nil
}

func status(ctx context.Context, root string, kinds []server.Kind) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, kind := range kinds {
		s, ok, err := server.Running(ctx, root, kind)
		switch {
		case err != nil:
			fmt.Fprintf(w, "%s\t%v\n", kind, err)
		case !ok:
			fmt.Fprintf(w, "%s\tdoes not run\n", kind)
		default:
			fmt.Fprintln(w, line(s))
		}
	}
	return w.Flush()
}

// line describes a server without the password in its URL.
func line(s server.Shared) string {
	owner := "named by " + s.Kind.Variable()
	if s.Keeper != 0 {
		owner = fmt.Sprintf("process %d, kept by %d since %s, data %s", s.PID, s.Keeper, s.Since.Format(time.TimeOnly), s.Data)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s", s.Kind, s.Version, s.Address(), owner)
}

func env(ctx context.Context, root string, kinds []server.Kind) error {
	for _, kind := range kinds {
		s, ok, err := server.Running(ctx, root, kind)
		if err != nil {
			return err
		}
		if ok {
			fmt.Printf("export %s='%s'\n", kind.Variable(), strings.ReplaceAll(s.URL, "'", `'\''`))
		}
	}
	return nil
}
