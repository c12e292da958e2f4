-- +goose Up

-- Times are microseconds since the Unix epoch, amounts are millionths of the
-- major unit; NULL is unknown. Tables and columns are those of the embedded
-- store, so that everything which only reads is one SQL text for both.

-- What identifies this store, and numbers that rise.
CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL);

-- One row per journal that ever fed this store. next_seq is the first record
-- whose verdicts are not committed; received_at that of the last one that is.
-- writer is the process that posts for it: one that was replaced hits no row.
CREATE TABLE stream (
  stream      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  node        text   NOT NULL,
  created_at  bigint NOT NULL,
  next_seq    bigint NOT NULL DEFAULT 1,
  received_at bigint NOT NULL DEFAULT 0,
  writer      text   NOT NULL DEFAULT '',
  seen_at     bigint NOT NULL DEFAULT 0,  -- when its node last said that it lives
  watermark   bigint NOT NULL DEFAULT 0   -- no record received before it is without verdicts
) WITH (fillfactor = 50);

CREATE TABLE call (
  no          bigint PRIMARY KEY,
  call_id     text   NOT NULL UNIQUE,
  ref_id      text,
  key         text,
  network_ids text,             -- JSON object, network → id
  caller      text,             -- E.164
  started_at  bigint,
  ended_at    bigint,
  duration    bigint,           -- seconds
  campaign    text,
  publisher   text,
  buyer       text,
  qualified   bigint,           -- 1, 0, NULL
  ranks       bytea  NOT NULL,
  change_seq  bigint NOT NULL   -- of the last upsert, rising with every one
);
-- Nodes and indexes ask which calls have changed since they last looked.
CREATE INDEX call_change ON call (change_seq);

-- Every name of a call as a 64-bit digest (event.KeyOf). at is the call's
-- start for callers, 0 for other kinds, so that a caller's calls lie in order.
CREATE TABLE call_key (
  hash bigint NOT NULL,
  at   bigint NOT NULL,
  no   bigint NOT NULL,
  PRIMARY KEY (hash, at, no)
);

-- What is booked on a call, and by which event (its rank).
CREATE TABLE call_state (
  no                bigint PRIMARY KEY,
  currency          text   NOT NULL,
  value             bigint NOT NULL,
  share             bigint NOT NULL,
  status            text   NOT NULL,  -- booked, unqualified, reversed
  rule              bigint NOT NULL,  -- 0 is none
  buyer_account     bigint NOT NULL,  -- 0 until a posting used one
  publisher_account bigint NOT NULL,
  priced_by         bigint NOT NULL,  -- event.Report.PricedBy
  rank_at           bigint NOT NULL,
  rank_stream       bigint NOT NULL,
  rank_seq          bigint NOT NULL,
  rank_n            bigint NOT NULL,
  last_posting      bigint NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE account (
  id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind     text NOT NULL,  -- buyer_receivable, network_revenue, network_publisher_cost, publisher_pending
  owner    text NOT NULL,  -- buyer or publisher id, '' for the network's own
  currency text NOT NULL,
  UNIQUE (kind, owner, currency)
);

-- Few rows that every batch changes: half of each page is left free, so that a
-- change stays on its page and touches no index.
CREATE TABLE balance (
  account      bigint PRIMARY KEY,
  debits       bigint NOT NULL CHECK (debits >= 0),
  credits      bigint NOT NULL CHECK (credits >= 0),
  last_posting bigint NOT NULL
) WITH (fillfactor = 50);

-- A posting is what one event did to one call's money. Its number rises by
-- one; the event may cause no second one.
CREATE TABLE posting (
  no          bigint PRIMARY KEY,
  stream      bigint NOT NULL,
  seq         bigint NOT NULL,
  n           bigint NOT NULL,
  call        bigint NOT NULL,
  cause       text   NOT NULL,  -- conversion, reversal, adjustment, call
  source      text   NOT NULL,
  received_at bigint NOT NULL,
  currency    text   NOT NULL,
  value       bigint NOT NULL,  -- of the call, afterwards
  share       bigint NOT NULL,
  delta       bigint NOT NULL,
  share_delta bigint NOT NULL,
  rule        bigint NOT NULL,
  UNIQUE (stream, seq, n)
);
CREATE INDEX posting_call ON posting (call, no);

-- The lines of a posting: balanced by construction, each moves one amount
-- from one account to another.
CREATE TABLE transfer (
  posting        bigint NOT NULL,
  line           bigint NOT NULL,
  debit_account  bigint NOT NULL,
  credit_account bigint NOT NULL,
  amount         bigint NOT NULL CHECK (amount > 0),
  currency       text   NOT NULL,
  PRIMARY KEY (posting, line),
  CHECK (debit_account <> credit_account)
);

-- Whoever is connected, its owner included: history is never rewritten.
-- +goose StatementBegin
CREATE FUNCTION history_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is never changed: book the difference instead', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER posting_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON posting FOR EACH STATEMENT EXECUTE FUNCTION history_stays();
CREATE TRIGGER transfer_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON transfer FOR EACH STATEMENT EXECUTE FUNCTION history_stays();

-- Strong identities, kept for ever. A row whose event ended in a status that
-- releases its identity is deleted. seq 0 is a tombstone: a reversal came
-- before what it takes back.
CREATE TABLE identity (
  key         bytea  PRIMARY KEY,  -- event.Digest
  stream      bigint NOT NULL,
  seq         bigint NOT NULL,
  n           bigint NOT NULL,
  money       bytea  NOT NULL,     -- event.Digest of the money fields
  received_at bigint NOT NULL,
  call        bigint NOT NULL,     -- booked on, 0 is none
  reversed_by text   NOT NULL      -- id of the reversal event, '' is none; set on the conversion's key, also beforehand
);

-- The verdict log: every revision of every verdict, numbered without a gap.
-- report is JSON (event.AppendReportJSON); raw is the redacted request
-- (sink/raw.go), kept with n = 0 and revision 1 only.
CREATE TABLE verdict (
  change_seq  bigint PRIMARY KEY,
  stream      bigint NOT NULL,
  seq         bigint NOT NULL,
  n           bigint NOT NULL,
  revision    bigint NOT NULL,
  final       bigint NOT NULL,
  status      text   NOT NULL,
  reason      text   NOT NULL,
  detail      text,               -- JSON (event.Detail)
  weak        bytea,              -- event.Digest that this revision holds or, unmatched, gives back
  weak_until  bigint,             -- when it is forgotten
  source      text   NOT NULL,
  received_at bigint NOT NULL,
  decided_at  bigint NOT NULL,
  kind        text   NOT NULL,
  strategy    text   NOT NULL,
  candidates  bigint NOT NULL,    -- that fitted
  considered  text,               -- JSON list of the candidates, when there was not exactly one
  call        bigint,             -- call.no
  call_id     text,
  call_caller text,
  caller      text,               -- as reported; E.164 if it could be read
  duration    bigint,
  payout      bigint,             -- as reported
  currency    text,
  value       bigint,             -- of the call, afterwards
  delta       bigint NOT NULL,
  share_delta bigint NOT NULL,
  mapper      text   NOT NULL,
  peer        text   NOT NULL,
  us_queue    bigint NOT NULL,    -- received until read
  us_map      bigint NOT NULL,
  us_match    bigint NOT NULL,
  us_total    bigint NOT NULL,    -- received until decided
  report      text,
  raw         bytea
);
-- raw is compressed already; trying again costs more than the rest of the row.
ALTER TABLE verdict ALTER COLUMN raw SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX verdict_event ON verdict (stream, seq, n, revision);
CREATE INDEX verdict_call ON verdict (call, change_seq) WHERE call IS NOT NULL;
-- A weak identity is looked up by the hours around its telling: the index grows
-- at its end, as the log does, although the digests are random.
CREATE INDEX verdict_weak ON verdict ((received_at / 3600000000), weak) WHERE weak IS NOT NULL;

-- Events that wait for their call, and the names under which it may come.
CREATE TABLE parked (
  stream   bigint NOT NULL,
  seq      bigint NOT NULL,
  n        bigint NOT NULL,
  deadline bigint NOT NULL,
  identity bytea  NOT NULL,  -- that the event holds: 1 strong or 2 weak, then event.Digest
  PRIMARY KEY (stream, seq, n)
);
CREATE INDEX parked_deadline ON parked (deadline);
CREATE TABLE parked_key (
  hash   bigint NOT NULL,
  stream bigint NOT NULL,
  seq    bigint NOT NULL,
  n      bigint NOT NULL,
  PRIMARY KEY (hash, stream, seq, n)
);
CREATE INDEX parked_key_event ON parked_key (stream, seq, n);

-- Payout rules: what a publisher is paid of a call's value in a campaign.
-- A changed rule is a new row; the current one has the greatest id.
CREATE TABLE rule (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  campaign   text   NOT NULL,
  publisher  text   NOT NULL,
  payout     text   NOT NULL,  -- event.ParseRule; '' ends the assignment
  created_at bigint NOT NULL
);
CREATE INDEX rule_assignment ON rule (campaign, publisher, id);

CREATE VIEW activity AS
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
  v.report, v.detail, v.change_seq
FROM verdict v LEFT JOIN call c ON c.no = v.call
WHERE NOT EXISTS (
  SELECT 1 FROM verdict w
  WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n AND w.revision > v.revision);
