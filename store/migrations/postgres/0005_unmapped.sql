-- +goose Up

-- Records whose mapper could not be asked when they came. Each has one verdict,
-- parked with the reason mapper_unavailable, that holds its raw request; when it
-- has been mapped its reports are decided and the row goes.
CREATE TABLE unmapped (
  stream      bigint NOT NULL,
  seq         bigint NOT NULL,
  source      text   COLLATE "C" NOT NULL,
  flags       bigint NOT NULL,  -- event.Flags of the record
  received_at bigint NOT NULL,
  PRIMARY KEY (stream, seq)
);
CREATE INDEX unmapped_source ON unmapped (source, stream, seq);
CREATE INDEX unmapped_age ON unmapped (received_at);

-- What a partner's mapper burnt for the record, told with its first report.
ALTER TABLE verdict ADD COLUMN fuel bigint NOT NULL DEFAULT 0;

-- Replaced, not dropped: rights on it stay.
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
  v.report, v.detail, v.change_seq, v.fuel
FROM verdict v LEFT JOIN call c ON c.no = v.call
WHERE NOT EXISTS (
  SELECT 1 FROM verdict w
  WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n AND w.revision > v.revision);
