package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tallyhook/tallyhook/bench/load"
	"github.com/tallyhook/tallyhook/bench/node"
	"github.com/tallyhook/tallyhook/bench/services/server"
	"github.com/tallyhook/tallyhook/bench/traffic"
)

// servers measures the whole way of a postback on a node with real Redis,
// Postgres (syncing its commits) and ClickHouse, into a store that holds calls
// and identities already.
func (b *bench) servers(ctx context.Context) error {
	out := new(Servers)
	b.result.Servers = out
	if b.cfg.Root == "" {
		out.Note = "left out: no sources at hand to build the ClickHouse server from"
		return nil
	}
	s := &serversRun{streamRun: streamRun{bench: b}, out: out, running: map[server.Kind]*server.Server{}}
	defer s.end()
	for _, kind := range server.Kinds {
		one, err := server.Start(ctx, kind, server.Config{Durable: true})
		if errors.Is(err, server.ErrUnavailable) {
			out.Note = fmt.Sprintf("left out: %v", err)
			return nil
		}
		if err != nil {
			return err
		}
		s.running[kind] = one
		out.Versions = append(out.Versions, string(kind)+" "+one.Version)
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.preload(ctx); err != nil {
		return fmt.Errorf("preload: %w", err)
	}
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{{"verdicts", s.verdicts}, {"burst", s.burst}, {"counts", s.counts}, {"verify", s.verify}} {
		if err := part.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

type serversRun struct {
	streamRun // without its result
	running   map[server.Kind]*server.Server
	store     string // URL
	out       *Servers
	base      time.Time
	scripts   uint64              // told
	paths     map[string][]string // by reply, then buyer
}

// end ends what begin and servers have started.
func (s *serversRun) end() {
	if s.node != nil {
		s.node.Kill()
		os.RemoveAll(s.node.Data)
	}
	for kind, one := range s.running {
		if err := one.Close(); err != nil {
			s.say("end %s: %v", kind, err)
		}
	}
}

// Replies of the two sets of sources.
const (
	replyVerdict  = "verdict"
	replyAccepted = "accepted"
)

// identityField is in every postback of this part, the same in a repeat: what
// the store keeps for ever is an identity.
const identityField = "event_uid"

// begin makes an empty database and starts a node on it.
func (s *serversRun) begin(ctx context.Context) (err error) {
	if err := s.createDatabase(ctx); err != nil {
		return err
	}
	p, _, err := s.start(ctx, "", "--store", s.store, "--index", s.running[server.Redis].URL, "--activity", s.running[server.ClickHouse].URL)
	if err != nil {
		return err
	}
	s.node, s.base = p, s.cfg.Now()
	if s.api, err = apiOf(p); err != nil {
		return err
	}
	if s.key, err = p.Key(); err != nil {
		return err
	}
	if err := s.api.Do(ctx, "POST", "/api/v1/apply", json.RawMessage(traffic.NetworkJSON()), new(struct{})); err != nil {
		return fmt.Errorf("apply the network: %w", err)
	}
	s.paths = map[string][]string{}
	for _, reply := range []string{replyVerdict, replyAccepted} {
		for _, buyer := range traffic.Buyers {
			path, err := createSource(ctx, s.api, reply+"-"+buyer, map[string]any{"buyer": buyer, "reply": reply, "identity": identityField})
			if err != nil {
				return err
			}
			s.paths[reply] = append(s.paths[reply], path)
		}
	}
	return nil
}

func (s *serversRun) createDatabase(ctx context.Context) error {
	u, err := url.Parse(s.running[server.Postgres].URL)
	if err != nil {
		return errors.New("the URL of Postgres cannot be read")
	}
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return fmt.Errorf("connect to Postgres: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `CREATE DATABASE bench`); err != nil {
		return fmt.Errorf("create a database: %w", err)
	}
	u.Path = "/bench"
	s.store = u.String()
	return nil
}

// cpu reads what each process has used so far.
func (s *serversRun) cpu() (c [4]time.Duration, err error) {
	lists := []func() []int{func() []int { return []int{s.node.PID()} }}
	for _, kind := range server.Kinds {
		lists = append(lists, s.running[kind].Processes)
	}
	for i, list := range lists {
		if c[i], err = load.ReadCPU(list); err != nil {
			return c, err
		}
	}
	return c, nil
}

// counts tells the events by verdict, as ClickHouse has them.
func (s *serversRun) counts(ctx context.Context) (err error) {
	s.out.Statuses, err = statuses(ctx, s.api)
	return err
}

// verify stops the node and has its ledger verified.
func (s *serversRun) verify(ctx context.Context) error {
	if err := s.node.Stop(stopMax); err != nil {
		return err
	}
	cmd, err := node.Command(ctx, s.cfg.Binary, s.node.Data, "ledger", "verify", "--store", s.store)
	if err != nil {
		return err
	}
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ledger verify: %w\n%s", err, out)
	}
	s.out.VerifySeconds = time.Since(begin).Seconds()
	s.say("ledger verified in %.1f s", s.out.VerifySeconds)
	return nil
}
