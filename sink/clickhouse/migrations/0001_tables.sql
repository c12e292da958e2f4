-- Whose activity this database holds. origin is made with it, so that a
-- database that was emptied is told from the one that had everything.
CREATE TABLE IF NOT EXISTS activity_origin (
  store   String,
  origin  String,
  made_at DateTime64(6, 'UTC')
) ENGINE = MergeTree ORDER BY made_at;

-- The newest revision of every event. A later revision, and a row that came
-- twice, replaces the one before when parts are merged; readers say FINAL, or
-- use the views. So nothing in the order, and nothing that a partition is made
-- of, may ever change for an event.
CREATE TABLE IF NOT EXISTS activity_log (
  source             LowCardinality(String) CODEC(ZSTD(1)),
  received_at        DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
  stream             UInt32 CODEC(T64, ZSTD(1)),
  seq                UInt64 CODEC(Delta, ZSTD(1)),
  n                  UInt16 CODEC(T64, ZSTD(1)),
  change_seq         UInt64 CODEC(Delta, ZSTD(1)),
  revision           UInt32 CODEC(T64, ZSTD(1)),
  final              UInt8 CODEC(T64, ZSTD(1)),
  status             LowCardinality(String) CODEC(ZSTD(1)),
  reason             LowCardinality(String) CODEC(ZSTD(1)),
  detail             String CODEC(ZSTD(1)),
  decided_at         DateTime64(6, 'UTC') CODEC(T64, ZSTD(1)),
  kind               LowCardinality(String) CODEC(ZSTD(1)),
  strategy           LowCardinality(String) CODEC(ZSTD(1)),
  candidates         UInt32 CODEC(T64, ZSTD(1)),
  call_id            String CODEC(ZSTD(1)),
  call_caller        String CODEC(ZSTD(1)),
  call_ended_at      Nullable(DateTime64(6, 'UTC')) CODEC(T64, ZSTD(1)),
  call_duration      Nullable(Int64) CODEC(T64, ZSTD(1)),
  campaign           LowCardinality(String) CODEC(ZSTD(1)),
  publisher          LowCardinality(String) CODEC(ZSTD(1)),
  buyer              LowCardinality(String) CODEC(ZSTD(1)),
  caller             String CODEC(ZSTD(1)),
  duration           Nullable(Int64) CODEC(T64, ZSTD(1)),
  payout_micros      Nullable(Int64) CODEC(GCD, T64, ZSTD(1)),
  currency           LowCardinality(String) CODEC(ZSTD(1)),
  value_micros       Nullable(Int64) CODEC(GCD, T64, ZSTD(1)),
  delta_micros       Int64 CODEC(GCD, T64, ZSTD(1)),
  share_delta_micros Int64 CODEC(GCD, T64, ZSTD(1)),
  mapper             LowCardinality(String) CODEC(ZSTD(1)),
  peer               LowCardinality(String) CODEC(ZSTD(1)),
  us_queue           UInt64 CODEC(T64, ZSTD(1)),
  us_map             UInt64 CODEC(T64, ZSTD(1)),
  us_match           UInt64 CODEC(T64, ZSTD(1)),
  us_total           UInt64 CODEC(T64, ZSTD(1)),
  report             String CODEC(ZSTD(1)),
  batch              UInt64 CODEC(ZSTD(1)),
  INDEX by_call call_id TYPE bloom_filter(0.01) GRANULARITY 2,
  INDEX by_caller caller TYPE bloom_filter(0.01) GRANULARITY 2
) ENGINE = ReplacingMergeTree(change_seq)
PARTITION BY toDate(received_at)
PRIMARY KEY (source, received_at)
ORDER BY (source, received_at, stream, seq, n)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

-- Revisions that were not final when they came: what an event was while it
-- waited for its call, or for a person. The final one is in activity_log.
CREATE TABLE IF NOT EXISTS activity_interim AS activity_log
ENGINE = ReplacingMergeTree(change_seq)
PARTITION BY toDate(received_at)
PRIMARY KEY (source, received_at)
ORDER BY (source, received_at, stream, seq, n, revision)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

-- Names as people know them, newest version of each. Deleted objects stay:
-- activity still speaks of them.
CREATE TABLE IF NOT EXISTS source_names (id String, name String, buyer String, preset String, version UInt64)
ENGINE = ReplacingMergeTree(version) ORDER BY id;
CREATE TABLE IF NOT EXISTS buyer_names (id String, name String, version UInt64) ENGINE = ReplacingMergeTree(version) ORDER BY id;
CREATE TABLE IF NOT EXISTS publisher_names (id String, name String, version UInt64) ENGINE = ReplacingMergeTree(version) ORDER BY id;
CREATE TABLE IF NOT EXISTS campaign_names (id String, name String, version UInt64) ENGINE = ReplacingMergeTree(version) ORDER BY id;
