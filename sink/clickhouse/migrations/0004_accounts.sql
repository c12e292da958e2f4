-- The account that an event settles on, and what it is credited as the sender
-- reported it.
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
  JSONExtractString(report, 'account') AS account,
  toDecimal128OrNull(JSONExtractString(report, 'reward'), 6) AS reward,
  toInt64(toDecimal128OrNull(JSONExtractString(report, 'reward'), 6) * 1000000) AS reward_micros,
  JSONExtractString(report, 'reward_currency') AS reward_currency,
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
  JSONExtractString(report, 'account') AS account,
  toDecimal128OrNull(JSONExtractString(report, 'reward'), 6) AS reward,
  toInt64(toDecimal128OrNull(JSONExtractString(report, 'reward'), 6) * 1000000) AS reward_micros,
  JSONExtractString(report, 'reward_currency') AS reward_currency,
  report, detail, stream, seq, n, change_seq, batch
FROM (
  SELECT * FROM activity_log FINAL WHERE final = 1
  UNION ALL
  SELECT * FROM activity_interim FINAL
)
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- What accounts are credited is in a currency of its own and no share of the
-- value: events that settle on them, which have no call, count for the value alone.
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
    count() AS events, uniqExactIf(call_id, call_id != '') AS calls,
    sum(toInt128(delta_micros)) AS value_sum, sumIf(toInt128(share_delta_micros), call_id != '') AS share_sum
  FROM activity_log FINAL
  WHERE delta_micros != 0 OR share_delta_micros != 0
  GROUP BY hour, buyer, campaign, publisher, source, currency
) AS m
LEFT JOIN (SELECT id, argMax(name, version) AS name FROM buyer_names GROUP BY id) AS b ON b.id = m.buyer
LEFT JOIN (SELECT id, argMax(name, version) AS name FROM campaign_names GROUP BY id) AS c ON c.id = m.campaign
LEFT JOIN (SELECT id, argMax(name, version) AS name FROM publisher_names GROUP BY id) AS p ON p.id = m.publisher
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;
