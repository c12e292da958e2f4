package main

import (
	"context"
	"crypto/sha256"
	"net"
	"time"

	"github.com/tallyhook/tallyhook/console"
	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/pipeline"
	"github.com/tallyhook/tallyhook/sink"
)

// observe counts what a committed batch was.
func (n *node) observe(b *event.Batch, res sink.Result, t pipeline.Timings) {
	// Runs of one source and status are counted at once: most batches have few.
	for i := 0; i < len(b.Events); {
		first := &b.Events[i]
		same := 1
		for i+same < len(b.Events) {
			e := &b.Events[i+same]
			if e.IsCall != first.IsCall || e.Verdict.Status != first.Verdict.Status || e.Record.Source != first.Record.Source {
				break
			}
			same++
		}
		if !first.IsCall && first.Verdict.Status != event.NoStatus { // another node has decided it
			n.tally.Add(first.Record.Source, first.Verdict.Status, same)
		}
		i += same
	}
	if len(b.Records) == 0 {
		return
	}
	n.steps.Observe(console.StepQueue, time.Duration(b.BegunAt-b.Records[0].ReceivedAt)*time.Microsecond)
	n.steps.Observe(console.StepMap, t.Map)
	n.steps.Observe(console.StepMatch, t.Match)
	n.steps.Observe(console.StepPost, t.Post)
}

func (n *node) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failed == "" {
		n.failed = err.Error()
	}
}

// backlog is how many records on disk have no verdict yet.
func (n *node) backlog() uint64 {
	last, _ := n.journal.Last()
	next := n.pipeline.Committed()
	if !n.attached.Load() {
		next = n.journal.Status().Committed // as the journal remembers it
	}
	if next <= last {
		return last + 1 - next
	}
	return 0
}

// behind says that waiting for a verdict would be in vain.
func (n *node) behind() bool {
	return n.cfg.PausePipeline || !n.attached.Load() || n.pipeline.Stuck() != "" || n.backlog() > backlogBehind
}

// Status implements console.Node.
func (n *node) Status() console.NodeStatus {
	j := n.journal.Status()
	committed := n.pipeline.Committed()
	s := console.NodeStatus{Node: n.name(), Stream: j.Stream, StartedAt: n.started,
		Journal: console.JournalStatus{FirstSeq: j.First, LastSeq: j.Last, Bytes: j.Bytes, BytesMax: j.BytesMax, FreeBytes: j.FreeBytes,
			Segments: j.Segments, Full: j.Full != nil, Failed: j.Failed != nil,
			SyncSeconds: console.Histogram{Count: j.SyncSeconds.Count, Sum: j.SyncSeconds.Sum, Buckets: j.SyncSeconds.Cumulative()}},
		Pipeline: console.PipelineStatus{CommittedSeq: max(committed, 1) - 1, LagRecords: n.backlog(), LagSeconds: n.pipeline.Lag().Seconds(),
			Paused: n.cfg.PausePipeline, Retrying: n.pipeline.Stuck()},
		Index:    n.caches.indexStatus(),
		Backends: n.backends(), Shipping: n.shipping(), Limits: n.caches.limitsStatus(),
		Sources: n.live.Load().Live(),
	}
	s.Parked, s.Unmapped = n.count("parked"), n.count("unmapped")
	n.mu.Lock()
	s.Failed = n.failed
	n.mu.Unlock()
	return s
}

// count counts the rows of a small table, -1 while the store does not say.
func (n *node) count(table string) (rows int64) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if !n.attached.Load() || n.db.Read.QueryRowContext(ctx, `SELECT count(*) FROM `+table).Scan(&rows) != nil {
		return -1
	}
	return rows
}

// Refused implements console.Node.
func (n *node) Refused(id string) []console.Refusal {
	var list []console.Refusal
	for _, r := range n.ingest.Refused(id) {
		list = append(list, console.Refusal(r))
	}
	return list
}

// base is the address that senders' URLs begin with: listen may have asked for
// any free port.
func (n *node) base() string {
	bound := *n.opt
	bound.Listen = n.listen.Addr().String()
	return bound.postbackBase()
}

// keyDigest is how a key is looked up.
func keyDigest(key string) [32]byte { return sha256.Sum256([]byte(key)) }

// addresses is what --addresses-file holds once a node is ready.
type addresses struct {
	Listen string `json:"listen"`
	Admin  string `json:"admin"`
}

func addressesOf(listen, admin net.Listener) addresses {
	return addresses{reachable(listen.Addr().String()), reachable(admin.Addr().String())}
}
