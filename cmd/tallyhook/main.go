// Command tallyhook takes in buyers' payout postbacks, matches each to the
// call that it pays for and books it exactly once.
//
// main reads flags, environment and tallyhook.yaml, which share their names,
// and runs one subcommand; each has a file of its own. serve (node.go) wires
// the rooms into a node; every command that asks or changes something speaks
// the admin API, over the network to a running node or in this process when
// none runs (client.go).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tallyhook/tallyhook/source"
)

// version is set by the build.
var version = "dev"

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

type cli struct {
	Options     `embed:"" group:"Flags of every command:"`
	ShowVersion kong.VersionFlag `name:"version" env:"-" help:"Print the version." group:"Flags of every command:"`

	Serve    serveCmd    `cmd:"" help:"Run a node: take in postbacks, match, book, answer."`
	Demo     demoCmd     `cmd:"" help:"Run a node on a temporary folder, play realistic traffic into it and show what happens."`
	Apply    applyCmd    `cmd:"" help:"Bring sources, campaigns, publishers and buyers to what a file says; shows what changes."`
	Source   sourceCmd   `cmd:"" help:"List, show, create, rotate, pause and resume sources."`
	Mapper   mapperCmd   `cmd:"" help:"Write, test, upload and run mappers of partners."`
	Key      keyCmd      `cmd:"" help:"Make, list and end keys of the admin API."`
	Admit    admitCmd    `cmd:"" name:"mapper-admission" hidden:"" help:"Judge one module; runs as a child of a node or of mapper test."`
	Calls    callsCmd    `cmd:"" help:"Tell a running node about calls."`
	Store    storeCmd    `cmd:"" name:"store" help:"Bring the primary store's schema up, give nodes their role, say how it stands."`
	Node     nodeCmd     `cmd:"" help:"List the nodes that share the primary store."`
	Health   healthCmd   `cmd:"" help:"Ask a running node whether it can take in postbacks; exit 1 when it cannot."`
	Activity activityCmd `cmd:"" help:"List what became of postbacks, the newest first."`
	Event    eventCmd    `cmd:"" help:"Show everything about one event: request, report, candidates, verdict, postings."`
	Held     heldCmd     `cmd:"" help:"List events that wait for a person; release or reject them."`
	Account  accountCmd  `cmd:"" help:"List and show accounts, such as users' balances, on which sources settle."`
	Ledger   ledgerCmd   `cmd:"" help:"Show balances and transfers; verify the books."`
	Journal  journalCmd  `cmd:"" help:"List and verify the journal's segment files."`
	Query    queryCmd    `cmd:"" help:"Run one read-only SQL statement on the activity store."`
	Bench    benchCmd    `cmd:"" help:"Measure this machine: intake beside a bare handler, the whole stream, each step."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// Options are the settings that all commands share. Flags, TALLYHOOK_…
// variables and tallyhook.yaml carry the same names.
type Options struct {
	Config         kong.ConfigFlag `help:"Settings file; tallyhook.yaml is read when it is there." placeholder:"FILE"`
	Data           string          `default:"data" help:"Folder of the node: journal, embedded store, keys." placeholder:"DIR"`
	Listen         string          `default:":8080" help:"Address where senders post." placeholder:"ADDR"`
	Admin          string          `default:"127.0.0.1:8081" help:"Address of the console and the admin API." placeholder:"ADDR"`
	Store          string          `help:"Primary store and ledger: sqlite:PATH or postgres://… Default: tallyhook.db in the data folder." placeholder:"URL"`
	Index          string          `default:"memory:" help:"Call index, dedupe hints and rate limits: memory: or redis://… (also redis-sentinel://, redis-cluster://, and rediss… for TLS)." placeholder:"URL"`
	Activity       string          `name:"activity" help:"Activity store for analysts: clickhouse://… or http(s)://… of a ClickHouse. Default: views in the primary store." placeholder:"URL"`
	TrustedProxies []string        `help:"Addresses or networks whose X-Forwarded-For is believed." placeholder:"CIDR"`
	KeyFile        string          `help:"Key that seals tokens. Default: secret.key in the data folder, made on the first start." placeholder:"FILE"`
	AdminKeyFile   string          `help:"Key for the admin API. Default: admin.key in the data folder, made on the first start." placeholder:"FILE"`
	TLSCert        string          `name:"tls-cert" help:"Certificate for the address where senders post, PEM; it is then https. Changed files are taken up within seconds." placeholder:"FILE"`
	TLSKey         string          `name:"tls-key" help:"Key of that certificate, PEM." placeholder:"FILE"`
	ClientCA       string          `name:"client-ca" help:"Authorities of senders' certificates, PEM: needed by sources with a client_name." placeholder:"FILE"`
	PublicURL      string          `help:"Address under which senders reach this node, for the URLs to hand out. Default: made from listen." placeholder:"URL"`
}

// app is what a command runs with.
type app struct {
	ctx    context.Context
	opt    *Options
	out    io.Writer
	errOut io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	c := new(cli)
	exited, code, helpTo := false, 0, out
	if len(args) == 0 {
		args, helpTo = []string{"--help"}, errOut
	} else if args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	here, err := settingsHere()
	if err != nil {
		fmt.Fprintln(errOut, "tallyhook: "+err.Error())
		return exitUsage
	}
	parser, err := newParser(c, here, helpTo, errOut, func(n int) { exited, code = true, n })
	if err != nil {
		panic("bug: command line: " + err.Error())
	}
	if err := checkEnvironment(parser.Model, os.Environ()); err != nil {
		fmt.Fprintln(errOut, "tallyhook: "+err.Error())
		return exitUsage
	}
	k, err := parser.Parse(args)
	switch {
	case exited && helpTo == errOut:
		return exitUsage
	case exited:
		return code
	case err != nil:
		fmt.Fprintln(errOut, "tallyhook: "+plainly(err))
		return exitUsage
	}
	if err := c.Options.complete(); err != nil {
		fmt.Fprintln(errOut, "tallyhook: "+err.Error())
		return exitUsage
	}
	err = k.Run(&app{ctx: ctx, opt: &c.Options, out: out, errOut: errOut})
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintln(errOut, "tallyhook: "+err.Error())
		return exitUsage
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitFailed
	}
	fmt.Fprintln(errOut, "tallyhook: "+err.Error())
	return exitFailed
}

// newParser makes the parser of c. here are the settings of tallyhook.yaml,
// nil when there is no such file.
func newParser(c *cli, here *settings, out, errOut io.Writer, exit func(int)) (*kong.Kong, error) {
	options := []kong.Option{kong.Name("tallyhook"),
		kong.Description("Takes in payout postbacks, matches each to the call that it pays for, books it exactly once."),
		kong.Writers(out, errOut), kong.Exit(exit), kong.Vars{"version": version, "region": source.DefaultRegion, "presets": strings.Join(source.Presets(), ", ")},
		kong.DefaultEnvars("TALLYHOOK"), kong.Configuration(loadSettings),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true})}
	if here != nil {
		options = append(options, kong.Resolvers(here))
	}
	return kong.New(c, options...)
}

// plainly puts the parser's words for values into those of the product.
func plainly(err error) string {
	return strings.NewReplacer("expected a valid 64 bit int but got", "want a whole number, not",
		"expected duration but got", "want a time such as 90s or 24h, not").Replace(err.Error())
}

// usageError is a command line that parsed but cannot be meant.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

type versionCmd struct {
	JSON bool `help:"Print JSON."`
}

func (v versionCmd) Run(a *app) error {
	if v.JSON {
		return a.printJSON(map[string]string{"version": version})
	}
	fmt.Fprintln(a.out, version)
	return nil
}
