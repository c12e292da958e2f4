-- +goose Up

-- Held events are listed in the order in which they began to wait.
CREATE INDEX held_since ON held (since, stream, seq, n);

-- The view names the account that an event settles on, and what it is credited
-- as the sender reported it. Amounts in reports are decimals with two to six
-- digits behind the point.
DROP VIEW activity;
-- +goose StatementBegin
CREATE VIEW activity AS
SELECT
  v.stream || '-' || v.seq || CASE WHEN v.n > 0 THEN '.' || v.n ELSE '' END AS event,
  strftime('%Y-%m-%dT%H:%M:%fZ', v.received_at / 1000000.0, 'unixepoch') AS received_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', v.decided_at / 1000000.0, 'unixepoch') AS decided_at,
  v.source, v.status, v.reason, v.final, v.revision, v.kind, v.strategy, v.candidates,
  v.call_id, v.call_caller, v.caller, v.duration,
  v.payout AS payout_micros, v.currency, v.value AS value_micros,
  v.delta AS delta_micros, v.share_delta AS share_delta_micros,
  c.campaign, c.publisher, c.buyer,
  v.mapper, v.peer, v.us_queue, v.us_map, v.us_match, v.us_total,
  v.report, v.detail, v.change_seq, v.fuel,
  CASE WHEN v.report LIKE '%"account":%' THEN json_extract(v.report, '$.account') END AS account,
  CASE WHEN v.report LIKE '%"reward":%' THEN
    CAST(replace(json_extract(v.report, '$.reward'), '.', '') AS INTEGER) *
    CASE length(json_extract(v.report, '$.reward')) - instr(json_extract(v.report, '$.reward'), '.')
      WHEN 2 THEN 10000 WHEN 3 THEN 1000 WHEN 4 THEN 100 WHEN 5 THEN 10 ELSE 1 END
  END AS reward_micros,
  CASE WHEN v.report LIKE '%"reward_currency":%' THEN json_extract(v.report, '$.reward_currency') END AS reward_currency
FROM verdict v LEFT JOIN call c ON c.no = v.call
WHERE NOT EXISTS (
  SELECT 1 FROM verdict w
  WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n AND w.revision > v.revision);
-- +goose StatementEnd
