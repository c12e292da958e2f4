package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/mapper/moduletest"
)

const (
	killLeast  = 10 * time.Millisecond // from a ready node's first change to its end
	killMost   = time.Second
	killsAt    = 5  // for each round of the size
	turnsEach  = 10 // of changes, from one push to the next: so that kills meet these as often
	orphansMax = 10 * time.Second
)

// KillWhileUploading kills a node at any moment while its mapper's versions are
// pushed, activated, rolled back and shadowed, under load. Whatever was answered
// stands; what was not is either done or not; an upload of which nothing was
// found out is taken up by the same push.
func KillWhileUploading(t testing.TB, bin string, size Size) {
	w := newLone(t, bin, size)
	o := &operator{world: w, m: w.nodes[0], seed: uint64(time.Now().UnixNano()), archive: w.pairsVectors(), registry: registry{replaced: map[int]int{}}, states: map[int]string{}}
	o.rand = rand.New(rand.NewPCG(o.seed, 0))
	w.say("moments by seed %d", o.seed)
	if err := o.work(1); err != nil {
		t.Fatal(err)
	}
	w.drive()
	w.names(acme, "", verified()...)
	w.pause(size.Calm)
	for range killsAt * size.Rounds {
		done := make(chan error, 1)
		go func() { done <- o.work(-1) }()
		w.pause(killLeast + time.Duration(o.rand.Int64N(int64(killMost-killLeast))))
		w.kill(o.m)
		if err := <-done; err == nil || o.refused != nil {
			t.Fatalf("the operator ended with %v, %v", err, o.refused)
		}
		w.noOrphans()
		w.restart(o.m)
		o.consistent()
	}
	w.say("%d changes were granted; not answered: %v", o.granted, o.unanswered)
	w.pause(size.Calm)
	w.judge()
	w.atRest()
	w.leftBehind(o.m)
}

// operator pushes one version after another and changes which is active. What
// it was told is what the store must hold.
type operator struct {
	*world
	m       *member
	seed    uint64
	rand    *rand.Rand // of the moments; the goroutine that kills uses it
	archive []byte

	registry registry
	states   map[int]string // of versions that are there for certain
	newest   int

	pushing    int     // the version whose push has no answer yet, 0 for none
	doing      *action // the same of an action
	refused    error   // an answer other than a grant
	granted    int
	unanswered map[string]int
}

// code is a module of version n: the same code, other bytes.
func (o *operator) code(n int) []byte {
	text := moduletest.Cat("build", []byte(fmt.Sprintf("%d of %d", n, o.seed)))
	lang := []string{"c", "rust", "as"}[n%3]
	return append(o.pairsCode(lang), moduletest.Cat(0, moduletest.Uleb(uint64(len(text))), text)...)
}

// work goes on until something is not granted, or for so many pushes.
func (o *operator) work(pushes int) error {
	for n := 0; n != pushes; n++ {
		if err := o.pushNext(); err != nil {
			return err
		}
		list := []action{{"activate", o.newest}}
		if o.newest > 2 {
			list = append(list, action{"shadow", o.newest - 1}, action{"rollback", 0}, action{"shadow", o.newest}, action{"shadow", 0}, action{"activate", o.newest})
		}
		for _, a := range slices.Repeat(list, turnsEach) {
			if err := o.act(a); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *operator) pushNext() error {
	o.pushing = o.newest + 1
	v, err := o.push(o.m, acme, o.code(o.pushing), o.archive)
	if err != nil {
		return o.orRefused(err)
	}
	if v.Version != o.pushing || v.State != "admitted" {
		o.refused = fmt.Errorf("the push of %s@%d gives version %d, %s", acme, o.pushing, v.Version, v.State)
		return o.refused
	}
	o.newest, o.states[v.Version], o.pushing = v.Version, v.State, 0
	o.granted++
	return nil
}

func (o *operator) act(a action) error {
	if a.verb == "rollback" && o.registry.previous == 0 || a.verb == "shadow" && a.version == o.registry.active {
		return nil // would not be granted
	}
	o.doing = &a
	now, err := o.do(o.m, acme, a)
	if err != nil {
		return o.orRefused(fmt.Errorf("%s: %w", a, err))
	}
	o.registry, o.doing = o.registry.after(a), nil
	o.granted++
	if !o.registry.is(now) {
		o.refused = fmt.Errorf("%s gives %+v, want %+v", a, now, o.registry)
		return o.refused
	}
	return nil
}

// orRefused notes an error that is an answer.
func (o *operator) orRefused(err error) error {
	if strings.Contains(err.Error(), "status ") {
		o.refused = err
	}
	return err
}

// consistent compares the registry of a node that was killed with what was
// answered before.
func (o *operator) consistent() {
	o.Helper()
	var now mapperSeen
	if err := o.m.api.Do(o.Context(), http.MethodGet, "/api/v1/mappers/"+acme, nil, &now); err != nil {
		o.Fatal(err)
	}
	if o.unanswered == nil {
		o.unanswered = map[string]int{}
	}
	if a := o.doing; a != nil {
		after := o.registry.after(*a)
		if o.doing = nil; after.is(now) && !o.registry.is(now) {
			o.unanswered[a.verb+" done"]++
			o.registry = after
		} else {
			o.unanswered[a.verb+" not done"]++
		}
	}
	if !o.registry.is(now) {
		o.Fatalf("after a kill active, previous and shadow are %d, %d, %d, want %+v", now.Active, now.Previous, now.Shadow, o.registry)
	}
	o.legal(&now)
	if o.pushing == 0 {
		return
	}
	found := "not there"
	for _, v := range now.Versions {
		if v.Version == o.pushing {
			found = v.State
		}
	}
	o.unanswered["push: "+found]++
	number := o.pushing
	if err := o.pushNext(); err != nil {
		o.Fatalf("the push of %s@%d, which is %s after a kill, is not taken up: %v", acme, number, found, err)
	}
}

// legal says that versions are numbered without a gap and stand where they can.
func (o *operator) legal(now *mapperSeen) {
	o.Helper()
	count := len(now.Versions)
	if count != o.newest && (o.pushing == 0 || count != o.pushing) {
		o.Errorf("there are %d versions, want %d, or one more if one was pushed", count, o.newest)
	}
	for i, v := range now.Versions { // the newest first
		want := "admitted or retired"
		ok := v.State == "admitted" || v.State == "retired"
		switch v.Version {
		case now.Active:
			want, ok = "active", v.State == "active"
		case now.Previous:
			want, ok = "retired", v.State == "retired"
		case o.pushing:
			want, ok = "uploaded or admitted", v.State == "uploaded" || v.State == "admitted"
		}
		if !ok || v.Version != count-i {
			o.Errorf("%s@%d stands at place %d and is %s, want %d, %s", acme, v.Version, i, v.State, count-i, want)
		}
	}
}

// noOrphans waits until no process of the binary is left of a node that was
// killed: who looked at a module for it ends with it.
func (w *world) noOrphans() {
	w.Helper()
	for end := time.Now().Add(orphansMax); ; time.Sleep(watchPoll) {
		left := processesOf(w.bin)
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("%s after the kill of the only node these processes of it go on: %v", orphansMax, left)
		}
	}
}

// processesOf lists the processes that run a binary, where the system tells.
func processesOf(bin string) (list []string) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe")); err == nil && exe == bin {
			line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")) // for a person
			list = append(list, e.Name()+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return list
}

// leftBehind counts what writes that were cut short have left on a node's disk.
func (w *world) leftBehind(m *member) {
	w.Helper()
	files, bytes := 0, int64(0)
	err := filepath.WalkDir(filepath.Join(m.cfg.Data, "mappers"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && (strings.HasPrefix(e.Name(), ".") || strings.Contains(e.Name(), ".tmp")) {
			files, bytes = files+1, bytes+info.Size()
			w.say("left behind: %s, %d bytes", path, info.Size())
		}
		return err
	})
	if err != nil {
		w.Error(err)
	}
	w.say("%d unfinished files of %d bytes are left of the node's mappers", files, bytes)
}
