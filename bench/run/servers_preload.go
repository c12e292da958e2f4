package run

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	uploadedCalls     = 50_000 // rendered at once
	insertedAtOnce    = 100_000
	identityHistory   = 24 * time.Hour // over which the preloaded ones are spread
	callsTimeMax      = 10 * time.Minute
	preloadIdentities = `INSERT INTO identity (key, stream, seq, n, money, received_at, call, reversed_by)
SELECT substring(sha256(convert_to('preloaded ' || i, 'UTF8')) FOR 16), 0, i, 0, substring(sha256(convert_to('money ' || i, 'UTF8')) FOR 16), $3 + i, 0, ''
FROM generate_series($1::bigint, $2::bigint) AS i`
)

// preload tells the calls through the feed, as a network would have, and puts
// identities of a day straight into their table: no journal has stream 0, so
// they meet none of those to come.
func (s *serversRun) preload(ctx context.Context) error {
	if err := s.tell(ctx); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.store)
	if err != nil {
		return fmt.Errorf("connect to Postgres: %w", err)
	}
	defer conn.Close(ctx)
	begin, at := time.Now(), s.base.Add(-identityHistory).UnixMicro()
	for i := 1; i <= s.cfg.Identities; i += insertedAtOnce {
		if _, err := conn.Exec(ctx, preloadIdentities, i, min(i+insertedAtOnce-1, s.cfg.Identities), at); err != nil {
			return fmt.Errorf("identities: %w", err)
		}
	}
	s.out.Identities = s.cfg.Identities
	s.say("%d identities put in %.1f s", s.out.Identities, time.Since(begin).Seconds())
	// What the server would do by itself sooner or later shall not fall into the measurement.
	for _, statement := range []string{`VACUUM (ANALYZE) identity, call, call_key, stream`, `CHECKPOINT`} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// tell tells the calls of as many scripts as it takes.
func (s *serversRun) tell(ctx context.Context) error {
	var took time.Duration
	for s.out.Calls < s.cfg.Calls {
		calls := min(uploadedCalls, s.cfg.Calls-s.out.Calls)
		uploads, _, rest := corpusOf(s.cfg.Seed, s.scripts, s.base, calls, s.node.Ingest, "Authorization: Bearer "+s.key, s.paths[replyVerdict])
		begin := time.Now()
		if err := sendCalls(s.node.Ingest, uploads); err != nil {
			return err
		}
		if err := s.api.Drained(ctx, callsTimeMax); err != nil {
			return err
		}
		took += time.Since(begin)
		s.scripts, s.out.Calls = rest, s.out.Calls+calls
	}
	s.out.CallsPerSecond = ratio(float64(s.out.Calls), took.Seconds())
	s.say("%d calls told at %.0f/s", s.out.Calls, s.out.CallsPerSecond)
	return nil
}
