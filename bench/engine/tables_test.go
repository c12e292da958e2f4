//go:build linux

package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tallyhook/tallyhook/bench/services"
)

func replacingMergeTreeShowsTheLatestWithFinal(t *testing.T, database opener) {
	conn := dial(t, database(t), clickhouse.CompressionLZ4)
	exec(t, conn,
		"CREATE TABLE t (id UInt64, seq UInt64, v Int64) ENGINE = ReplacingMergeTree(seq) ORDER BY id",
		"INSERT INTO t VALUES (1, 2, 20)", "INSERT INTO t VALUES (1, 1, 10)", "INSERT INTO t VALUES (1, 2, 20)")
	want(t, conn, uint64(3), "SELECT count() FROM t")
	want(t, conn, int64(20), "SELECT sum(v) FROM t FINAL")
}

func insertTokenInsertsOnce(t *testing.T, database opener) {
	conn := dial(t, database(t), clickhouse.CompressionLZ4)
	exec(t, conn, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100")
	send := func(token string, values ...uint64) {
		t.Helper()
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": token}))
		if err := insert(ctx, conn, "t", values); err != nil {
			t.Fatal(err)
		}
	}
	send("a", 1, 2)
	send("a", 1, 2)
	want(t, conn, uint64(2), "SELECT count() FROM t")
	send("b", 1, 2)
	want(t, conn, uint64(4), "SELECT count() FROM t")
}

func materializedViewsAndTablesOfNames(t *testing.T, database opener) {
	rawURL := database(t)
	conn := dial(t, rawURL, clickhouse.CompressionLZ4)
	exec(t, conn,
		"CREATE TABLE t (source UInt64, value Int64) ENGINE = MergeTree ORDER BY source",
		"CREATE TABLE sums (source UInt64, value Int64) ENGINE = SummingMergeTree ORDER BY source",
		"CREATE MATERIALIZED VIEW fill TO sums AS SELECT source, sum(value) AS value FROM t GROUP BY source",
		"CREATE TABLE names (id UInt64, name String) ENGINE = ReplacingMergeTree ORDER BY id",
		"CREATE DICTIONARY name_of (id UInt64, name String) PRIMARY KEY id SOURCE(CLICKHOUSE(TABLE 'names' DB '"+rawURL[strings.LastIndexByte(rawURL, '/')+1:]+"')) LAYOUT(HASHED()) LIFETIME(0)",
		"INSERT INTO names VALUES (1, 'one')", "INSERT INTO t VALUES (1, 5), (1, 6)", "INSERT INTO t VALUES (1, 7)")
	want(t, conn, int64(18), "SELECT sum(value) FROM sums WHERE source = 1")
	want(t, conn, "one", "SELECT any(name) FROM t JOIN names FINAL ON names.id = t.source")
	want(t, conn, "one", "SELECT dictGet(name_of, 'name', 1)")
}

func timeToLiveRemovesOldRows(t *testing.T, database opener) {
	conn := dial(t, database(t), clickhouse.CompressionLZ4)
	exec(t, conn,
		"CREATE TABLE t (at DateTime64(6, 'UTC'), n UInt64 CODEC(Delta, ZSTD)) ENGINE = MergeTree PARTITION BY toDate(at) ORDER BY n TTL toDateTime(at) + INTERVAL 1 DAY",
		"INSERT INTO t VALUES (now64(6), 1), (now64(6) - INTERVAL 3 DAY, 2)", "OPTIMIZE TABLE t FINAL")
	want(t, conn, uint64(1), "SELECT sum(n) FROM t")
}

func dropWithSyncReturns(t *testing.T, database opener) {
	conn := dial(t, database(t), clickhouse.CompressionLZ4)
	exec(t, conn, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n", "INSERT INTO t VALUES (1)", "DROP TABLE t SYNC",
		"CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
	want(t, conn, uint64(0), "SELECT count() FROM t")
}

func TestFrozenEngineAnswersAfterThaw(t *testing.T) {
	s := services.OwnClickHouse(t)
	conn := dial(t, s.URL, clickhouse.CompressionLZ4)
	want(t, conn, uint8(1), "SELECT 1")
	s.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := conn.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a frozen engine: %v, want no answer in time", err)
	}
	s.Thaw()
	want(t, conn, uint8(2), "SELECT 2")
}

func TestKilledEngineFindsItsDataAgain(t *testing.T) {
	s := services.OwnClickHouse(t)
	conn := dial(t, s.URL, clickhouse.CompressionLZ4)
	exec(t, conn, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100")
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": "a"}))
	if err := insert(ctx, conn, "t", []uint64{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if err := conn.Ping(t.Context()); err == nil {
		t.Fatal("a killed engine answers")
	}
	s.Start()
	want(t, conn, uint64(3), "SELECT count() FROM t")
	if err := insert(ctx, conn, "t", []uint64{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	want(t, conn, uint64(3), "SELECT count() FROM t")
}
