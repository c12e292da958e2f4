package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

type serveCmd struct {
	JournalMaxMB       int           `name:"journal-max-mb" default:"16384" help:"What the journal may take of the disk, in MiB."`
	JournalRetain      time.Duration `default:"24h" help:"How long records are kept after they were booked."`
	AuthFailuresPerMin int           `name:"auth-failures-per-min" default:"100" help:"Unknown tokens and wrong secrets that one address may send a minute, -1 is no limit."`
	ConnsPerIPMax      int           `name:"conns-per-ip-max" default:"0" help:"Connections that one address may hold; 0 is 1024, or none behind trusted proxies; -1 is no limit."`
	NodeName           string        `help:"Name of this node in listings. Default: the host's." placeholder:"NAME"`
	HashCallers        bool          `help:"Keep no readable caller numbers in the activity store and the shared index: keyed digests and the last four digits instead."`
	RawKeep            time.Duration `default:"720h" help:"How long raw requests are kept beside their verdicts, 0 is for ever."`
	VerdictsKeep       time.Duration `default:"0" help:"How long verdicts are kept in the primary store, 0 is for ever; those not shipped to the activity store stay. Postings stay in any case."`
	ActivityKeepDays   int           `default:"400" help:"How many days the activity store keeps verdicts, 0 is for ever."`
	LogFormat          string        `enum:"text,json" default:"text" help:"text or json."`
	LogLevel           logLevel      `default:"info" help:"debug, info, warn or error."`
	AddressesFile      string        `help:"Write the addresses in use to this file as JSON when the node is ready." placeholder:"FILE"`
	PausePipeline      bool          `help:"For measuring the intake only: journal everything, decide nothing until the next start without it."`
}

// logLevel is a level of the log by its name.
type logLevel slog.Level

// UnmarshalText reads a level's name.
func (l *logLevel) UnmarshalText(text []byte) error {
	if err := (*slog.Level)(l).UnmarshalText(text); err != nil {
		return fmt.Errorf("want debug, info, warn or error, not %q", text)
	}
	return nil
}

// Run serves until SIGTERM or an interrupt, then drains.
func (s serveCmd) Run(a *app) error {
	log := s.logger(a)
	if s.AuthFailuresPerMin == 0 {
		return usagef("auth-failures-per-min 0: want at least 1, or -1 for no limit")
	}
	if s.JournalMaxMB < 512 {
		return usagef("journal-max-mb %d: want 512 at least", s.JournalMaxMB)
	}
	if s.ActivityKeepDays < 0 || s.RawKeep < 0 || s.VerdictsKeep < 0 || (s.VerdictsKeep > 0 && s.VerdictsKeep < time.Hour) || (s.RawKeep > 0 && s.RawKeep < time.Hour) {
		return usagef("raw-keep %s, verdicts-keep %s, activity-keep-days %d: want 0 for ever, or an hour or a day at least", s.RawKeep, s.VerdictsKeep, s.ActivityKeepDays)
	}
	n, err := openNode(a.ctx, a.opt, s, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := n.close(); err != nil {
			log.Error("closing failed", "error", err)
		}
	}()
	n.greet(a)
	if s.AddressesFile != "" {
		if err := writeAddresses(s.AddressesFile, addressesOf(n.listen, n.admin)); err != nil {
			return err
		}
	}
	if err := n.run(a.ctx); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

func (s serveCmd) logger(a *app) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.Level(s.LogLevel)}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.errOut, o))
	}
	return slog.New(slog.NewTextHandler(a.errOut, o))
}

// writeAddresses writes the file whole or not at all.
func writeAddresses(path string, to addresses) error {
	text, err := json.Marshal(to)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	return os.Rename(tmp, path)
}

// firstStart is what the first start of a store made.
type firstStart struct{ source store.SourceInfo }

const defaultSource = "default"

// begin makes what a new store lacks: a source to begin with and a key for the
// operator. It gives nil when nothing had to be made.
func begin(ctx context.Context, objects *store.Objects, opt *Options) (*firstStart, error) {
	if err := ensureAdminKey(ctx, objects, opt.AdminKeyFile); err != nil {
		return nil, err
	}
	_, err := objects.GetSource(ctx, defaultSource)
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	list, _, err := objects.ListSources(ctx, "", 1)
	if err != nil || len(list) > 0 {
		return nil, err
	}
	info, _, err := objects.CreateSource(ctx, "first start", source.Spec{ID: defaultSource, Name: "Default"}, false)
	if errors.Is(err, store.ErrExists) {
		return nil, nil // it was deleted on purpose
	}
	if err != nil {
		return nil, err
	}
	return &firstStart{info}, nil
}

// ensureAdminKey makes a key for the operator unless the file holds one that
// the store knows.
func ensureAdminKey(ctx context.Context, objects *store.Objects, path string) error {
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		_, ok, err := objects.KeyByHash(ctx, keyDigest(strings.TrimSpace(string(text))))
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("the key in %s is not one of this store's; move the file away to have a new key made", path)
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read admin key: %w", err)
	}
	_, key, err := objects.CreateKey(ctx, "first start", store.KeySpec{Name: "admin.key", Role: store.RoleAdmin})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep admin key: %w", err)
	}
	if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep admin key: %w", err)
	}
	return nil
}

// greet tells an operator where things are and what to try.
func (n *node) greet(a *app) {
	at := addressesOf(n.listen, n.admin)
	base := n.base()
	n.log.Info("tallyhook runs", "version", version, "listen", at.Listen, "admin", at.Admin, "data", n.opt.Data, "stream", n.journal.Stream())
	fmt.Fprintf(a.out, "\nTallyhook takes postbacks on %s://%s, console and admin API on http://%s\n", n.opt.scheme(), at.Listen, at.Admin)
	fmt.Fprintf(a.out, "  calls      POST %s/v1/calls   Authorization: Bearer, key in %s\n", base, n.opt.AdminKeyFile)
	if n.first == nil {
		fmt.Fprintf(a.out, "  sources    tallyhook source list --data %s --admin %s\n\n", n.opt.Data, at.Admin)
		return
	}
	url := base + "/v1/postbacks/" + string(n.first.source.Token)
	fmt.Fprintf(a.out, "  postbacks  %s   give this URL to your buyer (source %q)\n", url, n.first.source.ID)
	fmt.Fprintf(a.out, `
Try it: tell it a call, then what the buyer pays for it.

  curl -w '\n' -H "Authorization: Bearer $(cat %s)" -d '{"call_id":"call-1","ref_id":"abc123","caller":"+13055551234","duration":120,"started_at":"%s"}' %s/v1/calls; \
  curl -w '\n' '%s?caller_id=%%2B13055551234&duration=90&payout=50&ref_id=abc123'

`, n.opt.AdminKeyFile, time.Now().UTC().Add(-3*time.Minute).Format(time.RFC3339), base, url)
}
