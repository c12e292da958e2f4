package faults

import (
	"cmp"
	"crypto/md5"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// Sizes of the runs with rewards on accounts.
const (
	rewardUsers   = 25
	rewards       = 500 // transactions
	rewardTries   = 3   // each is sent so often, whatever is answered
	rewardReverse = 5   // one of so many is taken back
	rewardSenders = 8
	rewardKills   = 5

	rewardSecret = "fa072672-d432-11c4-885a-EB1CdEc4Bb13"
)

// reward is a transaction of an offerwall.
type reward struct {
	user, token string
	value       int64
	reversed    bool
}

// told is one request about a reward.
type told struct {
	*reward
	back bool // takes it back
}

func (r told) query() url.Values {
	value := r.value
	if r.back {
		value = -value
	}
	signed := md5.Sum(fmt.Appendf(nil, "%s.%s.%d.%s", rewardSecret, r.user, value, r.token))
	return url.Values{"user_id": {r.user}, "value": {fmt.Sprint(value)}, "token": {r.token}, "signature": {fmt.Sprintf("%x", signed)}}
}

// Rewards sends rewards that settle on accounts from eight
// senders, each three times and a fifth of them reversed, some before they
// came, while nodes are killed five times in the midst. Each user has what the
// transactions leave.
func Rewards(t testing.TB, bin string, size Size) { together(t, bin, size, sendRewards) }

// RewardsLone is Rewards of one node.
func RewardsLone(t testing.TB, bin string, size Size) { alone(t, bin, size, sendRewards) }

func sendRewards(w *world) {
	path := w.sourceOf(map[string]any{"id": "wall", "name": "Wall", "preset": "pubscale", "secret": rewardSecret,
		"allow_ips": []string{"any"}, "reply": "accepted"})
	w.knownEverywhere()
	list, queue := planRewards(w)
	take := newTaker(w)
	acked, wait := make([]string, len(queue)), sync.WaitGroup{}
	next := make(chan int, len(queue))
	for sender := range rewardSenders {
		to := slices.Clone(w.nodes)
		if sender%2 == 1 {
			slices.Reverse(to)
		}
		wait.Go(func() {
			for i := range next {
				var err error
				if acked[i], err = take.get(to, path, queue[i].query()); err != nil {
					w.Errorf("%s of %s: %v", queue[i].token, queue[i].user, err)
				}
			}
		})
	}
	for part := range rewardKills + 1 { // each is given out when the kill before is over
		from, to := part*len(queue)/(rewardKills+1), (part+1)*len(queue)/(rewardKills+1)
		for i := from; i < to; i++ {
			next <- i
		}
		if part == rewardKills {
			break
		}
		m, at := w.nodes[part%len(w.nodes)], int64(from+rand.IntN((to-from)/2))
		for end := time.Now().Add(takenMax); take.taken.Load() < at && time.Now().Before(end); {
			time.Sleep(100 * time.Microsecond)
		}
		w.killAfterAck(take, m)
		w.restart(m)
	}
	close(next)
	wait.Wait()
	judgeRewards(w, list, acked)
	w.say("%d taken, %d tried again", take.taken.Load(), take.again.Load())
}

// planRewards makes the transactions and the order in which they are told.
func planRewards(w *world) (list []*reward, queue []told) {
	seed := uint64(time.Now().UnixMicro())
	w.say("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range rewards {
		tx := &reward{user: fmt.Sprintf("user-%02d", r.IntN(rewardUsers)), token: fmt.Sprintf("token-%03d", i), value: 1 + r.Int64N(500), reversed: i%rewardReverse == 0}
		list = append(list, tx)
		for range rewardTries {
			queue = append(queue, told{tx, false})
			if tx.reversed {
				queue = append(queue, told{tx, true})
			}
		}
	}
	r.Shuffle(len(queue), func(i, k int) { queue[i], queue[k] = queue[k], queue[i] })
	return list, queue
}

// judgeRewards holds the store against the model: what was not taken back is on
// its user's account, once.
func judgeRewards(w *world, list []*reward, acked []string) {
	w.Helper()
	db := w.books()
	w.decided(db, "every reward is decided", `SELECT count(*) FROM parked`)
	known := w.verdicts(db)
	for _, event := range acked {
		if !known[event] {
			w.Errorf("LOST: event %s was acknowledged and has no verdict", event)
		}
	}
	want, total := map[string]int64{}, int64(0)
	for _, tx := range list {
		if !tx.reversed {
			want["user:"+tx.user+" COINS"] -= tx.value * unit
			total += tx.value * unit
		}
	}
	got := w.balances(db, "account")
	for owner, v := range got {
		if v != want[owner] {
			w.Errorf("%s has %s, want %s", owner, decimal(-v), decimal(-want[owner]))
		}
	}
	for owner, v := range want {
		if _, there := got[owner]; !there {
			w.Errorf("%s has no account, want %s", owner, decimal(-v))
		}
	}
	w.holds("network_rewards", "-", "COINS", total)
	became := map[string]int{}
	w.each(db, `SELECT status, reason, count(*) FROM verdict WHERE final = 1 GROUP BY status, reason`, func(row func(...any) error) error {
		var status, reason string
		var n int
		err := row(&status, &reason, &n)
		became[cmp.Or(reason, status)] += n
		return err
	})
	w.say("became %v", became)
	reversed := len(list) / rewardReverse
	if n := became["booked"]; n != len(list)-became["reversed_on_arrival"] {
		w.Errorf("%d transactions were booked and %d were taken back before they came, of %d", n, became["reversed_on_arrival"], len(list))
	}
	if a, b := became["taken_back"], became["reversal_beforehand"]; a == 0 || b == 0 || a+b != reversed || b != became["reversed_on_arrival"] {
		w.Errorf("%d transactions were taken back and %d before they came, want some of each and %d together", a, b, reversed)
	}
	if n, want := w.count(db, `SELECT count(*) FROM posting`), int64(became["booked"]+became["taken_back"]); n != want {
		w.Errorf("there are %d postings, want %d", n, want)
	}
	w.invariants()
}
