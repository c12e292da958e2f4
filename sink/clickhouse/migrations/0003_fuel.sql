-- What a partner's mapper burnt for the record, told with its first report.
ALTER TABLE activity_log ADD COLUMN IF NOT EXISTS fuel UInt64 CODEC(T64, ZSTD(1)) AFTER mapper;
ALTER TABLE activity_interim ADD COLUMN IF NOT EXISTS fuel UInt64 CODEC(T64, ZSTD(1)) AFTER mapper;

CREATE OR REPLACE VIEW activity AS
SELECT
  concat(toString(stream), '-', toString(seq), if(n = 0, '', concat('.', toString(n)))) AS event,
  received_at, decided_at, source, status, reason, final, revision, kind, strategy, candidates,
  call_id != '' AS matched,
  call_id, call_caller, call_ended_at, call_duration, campaign, publisher, buyer,
  caller, duration, currency,
  toDecimal128(payout_micros, 6) / 1000000 AS payout,
  toDecimal128(value_micros, 6) / 1000000 AS value,
  toDecimal128(delta_micros, 6) / 1000000 AS delta,
  toDecimal128(share_delta_micros, 6) / 1000000 AS share_delta,
  payout_micros, value_micros, delta_micros, share_delta_micros,
  mapper, fuel, peer, us_queue, us_map, us_match, us_total,
  JSONExtractString(report, 'ref_id') AS ref_id,
  JSONExtractString(report, 'call_id') AS reported_call_id,
  JSONExtractString(report, 'network_call_id') AS network_call_id,
  JSONExtractString(report, 'status') AS reported_status,
  JSONExtractString(report, 'transaction_id') AS transaction_id,
  JSONExtract(report, 'extra', 'Map(String, String)') AS extra,
  report, detail, stream, seq, n, change_seq, batch
FROM activity_log FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

CREATE OR REPLACE VIEW activity_revisions AS
SELECT
  concat(toString(stream), '-', toString(seq), if(n = 0, '', concat('.', toString(n)))) AS event,
  received_at, decided_at, source, status, reason, final, revision, kind, strategy, candidates,
  call_id != '' AS matched,
  call_id, call_caller, call_ended_at, call_duration, campaign, publisher, buyer,
  caller, duration, currency,
  toDecimal128(payout_micros, 6) / 1000000 AS payout,
  toDecimal128(value_micros, 6) / 1000000 AS value,
  toDecimal128(delta_micros, 6) / 1000000 AS delta,
  toDecimal128(share_delta_micros, 6) / 1000000 AS share_delta,
  payout_micros, value_micros, delta_micros, share_delta_micros,
  mapper, fuel, peer, us_queue, us_map, us_match, us_total,
  report, detail, stream, seq, n, change_seq, batch
FROM (
  SELECT * FROM activity_log FINAL WHERE final = 1
  UNION ALL
  SELECT * FROM activity_interim FINAL
)
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

CREATE OR REPLACE VIEW mapper_versions AS
SELECT toDate(received_at) AS day, source, mapper, count() AS received,
  countIf(call_id != '') AS matched, countIf(status = 'invalid') AS invalid, countIf(status = 'failed') AS failed,
  quantile(0.99)(us_map) AS us_map_p99, quantileIf(0.99)(fuel, fuel > 0) AS fuel_p99, sum(fuel) AS fuel_total, min(received_at) AS first_at, max(received_at) AS last_at
FROM activity_log FINAL
GROUP BY day, source, mapper
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;
