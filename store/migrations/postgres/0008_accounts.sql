-- +goose Up

-- Held events are listed in the order in which they began to wait.
CREATE INDEX held_since ON held (since, stream, seq, n);

-- Accounts are listed by name, in the order of bytes.
CREATE INDEX account_name ON account (owner COLLATE "C", currency COLLATE "C") WHERE kind = 'account';

-- The view names the account that an event settles on, and what it is credited
-- as the sender reported it. Replaced, not dropped: rights on it stay.
CREATE OR REPLACE VIEW activity AS
SELECT
  v.stream || '-' || v.seq || CASE WHEN v.n > 0 THEN '.' || v.n ELSE '' END AS event,
  to_timestamp(v.received_at / 1000000.0) AS received_at,
  to_timestamp(v.decided_at / 1000000.0) AS decided_at,
  v.source, v.status, v.reason, v.final, v.revision, v.kind, v.strategy, v.candidates,
  v.call_id, v.call_caller, v.caller, v.duration,
  v.payout AS payout_micros, v.currency, v.value AS value_micros,
  v.delta AS delta_micros, v.share_delta AS share_delta_micros,
  c.campaign, c.publisher, c.buyer,
  v.mapper, v.peer, v.us_queue, v.us_map, v.us_match, v.us_total,
  v.report, v.detail, v.change_seq, v.fuel,
  CASE WHEN v.report LIKE '%"account":%' THEN v.report::json ->> 'account' END AS account,
  CASE WHEN v.report LIKE '%"reward":%' THEN ((v.report::json ->> 'reward')::numeric * 1000000)::bigint END AS reward_micros,
  CASE WHEN v.report LIKE '%"reward_currency":%' THEN v.report::json ->> 'reward_currency' END AS reward_currency
FROM verdict v LEFT JOIN call c ON c.no = v.call
WHERE NOT EXISTS (
  SELECT 1 FROM verdict w
  WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n AND w.revision > v.revision);
