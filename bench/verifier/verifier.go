// Package verifier drives nodes with traffic, remembers every request and
// answer in a log of its own, and says in the end whether the nodes kept their
// promises. It is a process apart, so that whatever happens to a node does not
// happen to it.
//
//	Drive    sends scripts of bench/traffic: the steps of one strictly one after
//	         another, several scripts side by side, the steps of a script to
//	         whichever node's turn it is. A request is logged before it is sent,
//	         its answer before the next. What got no answer, or 429 or 5xx, is
//	         sent again, the same bytes, as real senders do, to the next node.
//	Check    reads log, activity, calls and ledger, and compares with a model.
//
// The rule: every 2xx has exactly one event with a verdict; no event without a
// request; every call and every account hold what the model says, to the
// millionth; all balances sum to zero; no event posted twice; an activity store
// holds exactly the verdicts that the ledger decided.
package verifier

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tallyhook/tallyhook/bench/node"
	"github.com/tallyhook/tallyhook/bench/traffic"
)

// Run is what a log must tell so that its traffic can be made again. It holds
// no token and no key.
type Run struct {
	Seed    uint64      `json:"seed"`
	Base    time.Time   `json:"base"`
	Mix     traffic.Mix `json:"mix"`
	Sources []string    `json:"sources"` // ids, in the order of traffic.Buyers
}

// Node is where a node listens and how to prove who asks. It is safe for
// concurrent use.
type Node struct {
	ingest string // host:port
	key    string
	api    *node.API
	aside  atomic.Bool
}

// NewNode names the node that listens on the two addresses, for the holder of
// an admin key.
func NewNode(ingest, admin, key string) *Node {
	return &Node{ingest: ingest, key: key, api: node.NewAPI(admin, key, checkersMax)}
}

// SetAside says whether a node gets no more requests, as a balancer does with
// one that is not ready. What is under way there stays.
func (n *Node) SetAside(aside bool) { n.aside.Store(aside) }

// DedupeWindow is set on the verifier's sources: longer than any run, so that
// no repeat is old news. The model uses the same.
const DedupeWindow = 2 * time.Hour

// ParkFor is set on them too: what waits for a call keeps waiting, and rows do
// not change while they are read.
const ParkFor = 24 * time.Hour

// Setup applies the traffic's network and makes one source per buyer, half of
// which answer after the sync and half with the verdict. It gives their ids
// and the paths of their URLs.
func (n *Node) Setup(ctx context.Context) (ids, paths []string, err error) {
	if err := n.api.Do(ctx, "POST", "/api/v1/apply", json.RawMessage(traffic.NetworkJSON()), new(struct{})); err != nil {
		return nil, nil, fmt.Errorf("apply the network: %w", err)
	}
	for i, buyer := range traffic.Buyers {
		spec := map[string]any{
			"id": "verify-" + buyer, "name": "Verifier, " + buyer, "buyer": buyer,
			"reply":         [2]string{"accepted", "verdict"}[i%2],
			"limits":        map[string]int{"per_token_per_min": -1, "per_ip_per_min": -1},
			"dedupe_window": DedupeWindow.String(), "park_for": ParkFor.String(),
		}
		var made struct{ ID, URL string }
		if err := n.api.Do(ctx, "POST", "/api/v1/sources", spec, &made); err != nil {
			return nil, nil, fmt.Errorf("create source: %w", err)
		}
		u, err := url.Parse(made.URL)
		if err != nil || !strings.HasPrefix(u.Path, "/v1/postbacks/") {
			return nil, nil, fmt.Errorf("source %s: the answer holds no postback URL", made.ID)
		}
		ids, paths = append(ids, made.ID), append(paths, u.Path)
	}
	return ids, paths, nil
}

const knownPoll = 20 * time.Millisecond

// Known waits until every node that is not set aside has at least as many
// sources in force as the first one: what was set up there has reached them all.
func Known(ctx context.Context, nodes []*Node, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	first, err := nodes[0].api.Status(ctx)
	if err != nil {
		return err
	}
	for i, n := range nodes[1:] {
		for !n.aside.Load() {
			s, err := n.api.Status(ctx)
			if err == nil && s.Sources >= first.Sources {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("node %d knows %d of %d sources after %s: %w", i+1, s.Sources, first.Sources, limit, cmp.Or(err, ctx.Err()))
			case <-time.After(knownPoll):
			}
		}
	}
	return nil
}
