package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/journal"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// Limits of reaching the store.
const (
	storeWaitMax    = 5 * time.Second // at the start, before a node goes on from what it has on disk
	attachPauseMin  = 250 * time.Millisecond
	attachPauseMax  = 5 * time.Second
	objectsTimeMax  = 5 * time.Second // of asking the store for its objects
	reloadInterval  = time.Second     // how often objects changed elsewhere are looked for
	snapshotFile    = "objects.snapshot"
	journalFolder   = "journal"
	storeAwayAdvice = "postbacks are taken in by what this node last knew of sources and keys, verdicts wait"
)

// openStore opens the primary store and, on the first start, makes what an
// operator needs to begin. When the store is away, a node that has been part of
// it takes in from the objects that it kept on its own disk.
func (n *node) openStore(ctx context.Context) error {
	if err := os.MkdirAll(n.opt.Data, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	var err error
	if n.db, err = store.Dial(n.opt.Store); err != nil {
		return usageError{err}
	}
	n.onClose(n.db.Close)
	seal, err := store.LoadSeal(n.opt.KeyFile, true)
	if err != nil {
		return err
	}
	n.objects = &store.Objects{DB: n.db, Seal: seal}
	snap, errSnap := n.objects.LoadSnapshot(filepath.Join(n.opt.Data, snapshotFile))
	if snap == nil {
		if err := n.prepare(ctx); err != nil { // as long as it takes: a migration may
			if errors.Is(errSnap, store.ErrWrongKey) { // the store's being away is not what keeps this node from starting
				return errors.Join(errSnap, err)
			}
			return err
		}
		n.prepared = true
		if errSnap != nil && !errors.Is(errSnap, fs.ErrNotExist) {
			n.log.Warn("what was kept of sources and keys could not be read and was written anew", "error", errSnap)
		}
		return nil
	}
	n.db.ID = snap.StoreID
	short, cancel := context.WithTimeout(ctx, storeWaitMax)
	defer cancel()
	if err = n.prepare(short); err == nil {
		n.prepared = true
		return nil
	}
	if !errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
		return err
	}
	n.log.Warn("the store is away: "+storeAwayAdvice, "error", err, "known_since", snap.TakenAt)
	return n.use(snap)
}

// prepare brings the store up to this build and takes its objects.
func (n *node) prepare(ctx context.Context) error {
	if err := n.db.Prepare(ctx); err != nil {
		return err
	}
	if err := n.objects.Check(ctx); err != nil {
		return err
	}
	first, err := begin(ctx, n.objects, n.opt)
	if err != nil {
		return err
	}
	n.first = first
	return n.reload(ctx)
}

// reload puts the store's objects in force, and on the node's disk for a start
// without the store.
func (n *node) reload(ctx context.Context) error {
	n.reloading.Lock() // what was read later shall be in force, and on disk
	defer n.reloading.Unlock()
	snap, err := n.objects.Snapshot(ctx)
	if err != nil {
		return err
	}
	if err := n.use(snap); err != nil {
		return err
	}
	if !n.db.Postgres() {
		return nil // it is on this disk itself
	}
	if err := n.objects.SaveSnapshot(filepath.Join(n.opt.Data, snapshotFile), snap); err != nil {
		n.log.Warn("what is known of sources and keys could not be kept on this disk: a start without the store will know less", "error", err)
	}
	return nil
}

// use puts objects in force.
func (n *node) use(snap *store.Snapshot) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var before *source.Directory
	if n.live != nil {
		before = n.live.Load()
	}
	dir, err := snap.Directory(time.Now(), before)
	if err != nil {
		return err
	}
	if n.live == nil {
		n.live = source.NewLive(dir)
	} else {
		n.live.Swap(dir)
	}
	n.snap.Store(snap)
	if n.mappers != nil {
		n.mappers.update(snap)
	}
	n.expires, _ = snap.NextExpiry(time.Now())
	return nil
}

// knows says whether a key is good for telling calls.
func (n *node) knows(hash [32]byte) bool {
	key, ok := n.snap.Load().KeyByHash(hash)
	return ok && key.Role == store.RoleAdmin
}

// openJournal opens the journal; a new one obtains its stream from the store.
func (n *node) openJournal(ctx context.Context) (err error) {
	n.journal, err = journal.Open(journal.Config{
		Dir: filepath.Join(n.opt.Data, journalFolder), StoreID: n.db.ID, Log: n.log,
		NewStream: func() (uint32, error) {
			stream, err := n.db.NewStream(ctx, n.name(), time.Now())
			if err != nil {
				return 0, fmt.Errorf("a new journal needs the store: %w", err)
			}
			return stream, nil
		},
		BytesMax: int64(n.cfg.JournalMaxMB) << 20, RetainFor: n.cfg.JournalRetain,
	})
	if err != nil {
		return err
	}
	n.onClose(n.journal.Close)
	return nil
}

// stream is the journal as the pipeline sees it.
type stream struct {
	*journal.Reader
	j *journal.Journal
}

func (s stream) Commit(next uint64) error { return s.j.Commit(next) }

// attach reads from the store where this node's stream goes on.
func (n *node) attach(ctx context.Context) error {
	info, err := n.db.Stream(ctx, n.journal.Stream())
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("the journal in %s belongs to stream %d, which the store does not know; move the folder away to begin a new one: %w",
			filepath.Join(n.opt.Data, journalFolder), n.journal.Stream(), err)
	}
	if err != nil {
		return err
	}
	reader, err := n.journal.Reader(info.NextSeq)
	if err != nil {
		return err
	}
	n.onClose(func() error { reader.Close(); return nil })
	if n.db.Postgres() { // take the stream over, so that others know of this node, and connect before the first sender waits
		if _, err := (explained{n.ledger, n.db}).Post(ctx, &event.Batch{Stream: n.journal.Stream()}); err != nil {
			n.log.Warn("the ledger could not be reached at once; it is tried again", "error", err)
		}
	}
	n.pipeline.Journal = stream{reader, n.journal}
	n.pipeline.Backlog = &waitingRecords{mapper: n.mappers.mapper,
		store: &sink.Backlog{DB: n.db.Read, Stream: n.journal.Stream(), Now: time.Now}}
	n.pipeline.Start(n.journal.Stream(), info.NextSeq)
	n.attached.Store(true)
	return nil
}

// runStream runs the pipeline, once the store has been reached.
func (n *node) runStream(ctx context.Context) error {
	for pause := attachPauseMin; !n.attached.Load(); pause = min(2*pause, attachPauseMax) {
		err := n.reach(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
	close(n.reached)
	select { // so that the first postbacks need not wait for their mappers
	case <-n.mappers.warm:
	case <-time.After(mapperWarmMax):
	case <-ctx.Done():
		return nil
	}
	if n.cfg.PausePipeline {
		return nil
	}
	return n.pipeline.Run(ctx)
}

// reach prepares the store, unless that was done, and attaches to it. A
// migration takes as long as it takes.
func (n *node) reach(ctx context.Context) error {
	if !n.prepared {
		if err := n.prepare(ctx); err != nil {
			return err
		}
		n.prepared = true
		n.log.Info("the store is back: verdicts are made again")
	}
	return n.attach(ctx)
}

// watchObjects notices changes that another process made, and secrets that
// have run out.
func (n *node) watchObjects(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	go n.db.Listen(ctx, func() {
		select {
		case changed <- struct{}{}:
		default: // one is enough
		}
	})
	tick := time.NewTicker(reloadInterval)
	defer tick.Stop()
	quiet := false // the fault was said
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
		err := n.lookForChanges(ctx)
		if err != nil && ctx.Err() == nil && !quiet {
			n.log.Warn("objects could not be read again; those in force stay", "error", err)
		}
		quiet = err != nil
	}
}

func (n *node) lookForChanges(ctx context.Context) error {
	n.mu.Lock()
	ended := !n.expires.IsZero() && !time.Now().Before(n.expires)
	n.mu.Unlock()
	if ended { // no store is needed for a secret to end
		if err := n.use(n.snap.Load()); err != nil {
			return err
		}
	}
	if !n.attached.Load() {
		return nil // runStream says what is wrong
	}
	ctx, cancel := context.WithTimeout(ctx, objectsTimeMax)
	defer cancel()
	version, err := n.objects.Version(ctx)
	if err != nil || version == n.live.Load().Version {
		return err
	}
	return n.reload(ctx)
}
