package store

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// changeChannel is what changes of objects are announced on.
const changeChannel = "tallyhook_objects"

// How long Listen waits before it connects again: doubled with every failure.
const (
	listenPauseMin = 200 * time.Millisecond
	listenPauseMax = 10 * time.Second
)

// Listen calls changed soon after a transaction that changed objects, and after
// every connection made, because a change may have gone unheard before it. It
// returns when ctx ends. changed must not block. On SQLite nothing calls: there
// it only waits. What it tells is a hint: the version (Objects.Version), asked
// for now and then, is what counts.
func (db *DB) Listen(ctx context.Context, changed func()) {
	if !db.Postgres() {
		<-ctx.Done()
		return
	}
	for pause := listenPauseMin; ctx.Err() == nil; pause = min(2*pause, listenPauseMax) {
		if db.listen(ctx, changed) {
			pause = listenPauseMin
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// listen serves one connection to its end and tells whether it ever listened.
func (db *DB) listen(ctx context.Context, changed func()) (listened bool) {
	conn, err := pgx.ConnectConfig(ctx, db.readPool.Config().ConnConfig)
	if err != nil {
		return false
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
		defer cancel()
		conn.Close(end)
	}()
	if _, err := conn.Exec(ctx, `LISTEN `+changeChannel); err != nil {
		return false
	}
	for {
		changed()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return true
		}
	}
}
