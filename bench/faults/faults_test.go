package faults

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/tallyhook/tallyhook/bench/node"
)

// binary builds the node once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tallyhook-faults-bin-")
	if err != nil {
		return "", err
	}
	built = dir
	return node.Build(context.Background(), "../..", dir, "./cmd/tallyhook")
})

// built is the folder of the binary, to be removed in the end.
var built string

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built) // in the temporary folder
	}
	os.Exit(code)
}

// run is one run, small unless FAULTS_FULL=1.
func run(t *testing.T, f func(t testing.TB, bin string, size Size)) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	size := Small
	if os.Getenv("FAULTS_FULL") == "1" {
		size = Full
	}
	f(t, bin, size)
}

func TestThreeNodes(t *testing.T) { run(t, ThreeNodes) }

func TestStoreAway(t *testing.T)    { away(t, "store") }
func TestIndexAway(t *testing.T)    { away(t, "index") }
func TestActivityAway(t *testing.T) { away(t, "activity") }

func away(t *testing.T, role string) {
	run(t, func(t testing.TB, bin string, size Size) { Away(t, bin, size, role) })
}

func TestRestartWithoutStore(t *testing.T) { run(t, RestartWithoutStore) }
func TestStoreRestarts(t *testing.T)       { run(t, StoreRestarts) }
func TestLostCommits(t *testing.T)         { run(t, LostCommits) }
func TestTwoWriters(t *testing.T)          { run(t, TwoWriters) }
func TestFrozenHolder(t *testing.T)        { run(t, FrozenHolder) }
func TestLostInserts(t *testing.T)         { run(t, LostInserts) }
func TestEngineKilled(t *testing.T)        { run(t, EngineKilled) }
func TestCacheForgets(t *testing.T)        { run(t, CacheForgets) }
func TestCacheFailsOver(t *testing.T)      { run(t, CacheFailsOver) }
func TestSharedLimit(t *testing.T)         { run(t, SharedLimit) }

func TestSwapUnderLoad(t *testing.T)      { run(t, SwapUnderLoad) }
func TestSwapOnServers(t *testing.T)      { run(t, SwapOnServers) }
func TestKillWhileUploading(t *testing.T) { run(t, KillWhileUploading) }
func TestMapperUnreadable(t *testing.T)   { run(t, MapperUnreadable) }
func TestMapperAway(t *testing.T)         { run(t, MapperAway) }
func TestMapperHeir(t *testing.T)         { run(t, MapperHeir) }
func TestHostileNeighbour(t *testing.T)   { run(t, HostileNeighbour) }
func TestSlowCandidate(t *testing.T)      { run(t, SlowCandidate) }
func TestLongBacklog(t *testing.T)        { run(t, LongBacklog) }
