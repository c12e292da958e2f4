-- Every view reads FINAL. Two settings make that cheap and change no result: an
-- event's rows are all in one partition, since that is made of what never
-- changes; and a condition on the order's columns goes first, which holds for
-- all rows of an event or for none.

-- One row per event, its newest revision, whatever came twice. Every read that
-- names received_at touches the days it names only. Absent texts are '',
-- absent numbers NULL. Columns that are computed cost nothing unless named.
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
  mapper, peer, us_queue, us_map, us_match, us_total,
  JSONExtractString(report, 'ref_id') AS ref_id,
  JSONExtractString(report, 'call_id') AS reported_call_id,
  JSONExtractString(report, 'network_call_id') AS network_call_id,
  JSONExtractString(report, 'status') AS reported_status,
  JSONExtractString(report, 'transaction_id') AS transaction_id,
  JSONExtract(report, 'extra', 'Map(String, String)') AS extra,
  report, detail, stream, seq, n, change_seq, batch
FROM activity_log FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- One row per revision: what was said of an event first, and what became of it.
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
  mapper, peer, us_queue, us_map, us_match, us_total,
  report, detail, stream, seq, n, change_seq, batch
FROM (
  SELECT * FROM activity_log FINAL WHERE final = 1
  UNION ALL
  SELECT * FROM activity_interim FINAL
)
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- Roll-ups. They are views, not tables that are added to: a range that comes
-- twice, and a later revision, change no sum. Name the time, and they read
-- that time only.
CREATE OR REPLACE VIEW activity_per_minute AS
SELECT toStartOfMinute(received_at) AS minute, source, status, reason,
  count() AS received, countIf(call_id != '') AS matched
FROM activity_log FINAL
GROUP BY minute, source, status, reason
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

CREATE OR REPLACE VIEW money_per_hour AS
SELECT m.hour AS hour, m.buyer AS buyer, if(b.name = '', m.buyer, b.name) AS buyer_name,
  m.campaign AS campaign, if(c.name = '', m.campaign, c.name) AS campaign_name,
  m.publisher AS publisher, if(p.name = '', m.publisher, p.name) AS publisher_name,
  m.source AS source, m.currency AS currency, m.events AS events, m.calls AS calls,
  toDecimal128(m.value_sum, 6) / 1000000 AS value,
  toDecimal128(m.share_sum, 6) / 1000000 AS share,
  toDecimal128(m.value_sum - m.share_sum, 6) / 1000000 AS margin
FROM (
  SELECT toStartOfHour(received_at) AS hour, buyer, campaign, publisher, source, currency,
    count() AS events, uniqExact(call_id) AS calls,
    sum(toInt128(delta_micros)) AS value_sum, sum(toInt128(share_delta_micros)) AS share_sum
  FROM activity_log FINAL
  WHERE delta_micros != 0 OR share_delta_micros != 0
  GROUP BY hour, buyer, campaign, publisher, source, currency
) AS m
LEFT JOIN (SELECT id, argMax(name, version) AS name FROM buyer_names GROUP BY id) AS b ON b.id = m.buyer
LEFT JOIN (SELECT id, argMax(name, version) AS name FROM campaign_names GROUP BY id) AS c ON c.id = m.campaign
LEFT JOIN (SELECT id, argMax(name, version) AS name FROM publisher_names GROUP BY id) AS p ON p.id = m.publisher
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- From receipt to the first verdict, microseconds; what an event waits for its
-- call afterwards is not part of it.
CREATE OR REPLACE VIEW latency_per_minute AS
SELECT minute, source, verdicts, within_250ms,
  queue[1] AS us_queue_p50, queue[2] AS us_queue_p99, map[1] AS us_map_p50, map[2] AS us_map_p99,
  match[1] AS us_match_p50, match[2] AS us_match_p99, total[1] AS us_total_p50, total[2] AS us_total_p99
FROM (
  SELECT toStartOfMinute(received_at) AS minute, source, count() AS verdicts, countIf(us_total <= 250000) AS within_250ms,
    quantiles(0.5, 0.99)(us_queue) AS queue, quantiles(0.5, 0.99)(us_map) AS map,
    quantiles(0.5, 0.99)(us_match) AS match, quantiles(0.5, 0.99)(us_total) AS total
  FROM activity_revisions
  WHERE revision = 1
  GROUP BY minute, source
);

CREATE OR REPLACE VIEW mapper_versions AS
SELECT toDate(received_at) AS day, source, mapper, count() AS received,
  countIf(call_id != '') AS matched, countIf(status = 'invalid') AS invalid, countIf(status = 'failed') AS failed,
  quantile(0.99)(us_map) AS us_map_p99, min(received_at) AS first_at, max(received_at) AS last_at
FROM activity_log FINAL
GROUP BY day, source, mapper
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;
