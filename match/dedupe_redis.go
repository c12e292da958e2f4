package match

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/event"
)

// RedisDeduperConfig says where a RedisDeduper lives; of Client's options the
// same holds as for a RedisIndex.
type RedisDeduperConfig struct {
	Client redis.UniversalClient // single, Sentinel or Cluster
	Prefix string                // of every key, with the store's id in it; short, it stands in each of them
	Window time.Duration         // for how long a claim is remembered; default 24 h
}

// RedisDeduper is the Deduper that nodes share: one key per claim, about 150
// bytes of the server's memory, which the server forgets by itself.
//
//	PREFIX d DIGEST  →  stream sequence [number]     uvarints; the number of the
//	         16 bytes                                report is left out when 0
type RedisDeduper struct {
	client redis.UniversalClient
	prefix string
	window int64 // milliseconds
}

var _ Deduper = (*RedisDeduper)(nil)

// NewRedisDeduper makes a deduper on an open client; it asks nothing yet.
func NewRedisDeduper(c RedisDeduperConfig) *RedisDeduper {
	if c.Window <= 0 {
		c.Window = 24 * time.Hour
	}
	return &RedisDeduper{client: c.Client, prefix: c.Prefix + "d", window: max(1, c.Window.Milliseconds())}
}

// Claim implements Deduper, in one round trip. Commands on one key are carried
// out in the order of the batch, so an earlier event of it owns what a later
// one repeats. What another program wrote under a key is no claim.
func (d *RedisDeduper) Claim(ctx context.Context, keys []event.Digest, ids []event.ID, owners []event.ID) error {
	pipe := d.client.Pipeline()
	replies := make([]*redis.StringCmd, len(keys))
	var room [96]byte
	for i := range keys {
		owners[i] = ids[i]
		if keys[i].IsZero() {
			continue
		}
		b := append(append(room[:0], d.prefix...), keys[i][:]...)
		n := len(b)
		s := string(appendOwner(b, ids[i]))
		replies[i] = redis.NewStringCmd(ctx, "set", s[:n], s[n:], "nx", "get", "px", d.window)
		_ = pipe.Process(ctx, replies[i]) // a pipeline only takes it in
	}
	if pipe.Len() == 0 {
		return nil
	}
	_, err := pipe.Exec(ctx) // says Nil when any key was free
	for i, r := range replies {
		if r == nil || errors.Is(r.Err(), redis.Nil) {
			continue
		}
		if err := r.Err(); err != nil {
			return fmt.Errorf("claim identities on Redis: %w", err)
		}
		if owner, ok := parseOwner(r.Val()); ok {
			owners[i] = owner
		}
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("claim identities on Redis: %w", err)
	}
	return nil
}

func appendOwner(dst []byte, id event.ID) []byte {
	dst = binary.AppendUvarint(dst, uint64(id.Stream))
	dst = binary.AppendUvarint(dst, id.Seq)
	if id.N > 0 {
		dst = binary.AppendUvarint(dst, uint64(id.N))
	}
	return dst
}

// parseOwner reads what appendOwner wrote; false for anything else.
func parseOwner(s string) (id event.ID, ok bool) {
	p := []byte(s)
	stream, n := binary.Uvarint(p)
	if n <= 0 || stream == 0 || stream > 1<<32-1 {
		return id, false
	}
	seq, m := binary.Uvarint(p[n:])
	if m <= 0 {
		return id, false
	}
	id = event.ID{Stream: uint32(stream), Seq: seq}
	if p = p[n+m:]; len(p) == 0 {
		return id, true
	}
	number, m := binary.Uvarint(p)
	if m != len(p) || number == 0 || number > 1<<16-1 {
		return event.ID{}, false
	}
	id.N = uint16(number)
	return id, true
}
