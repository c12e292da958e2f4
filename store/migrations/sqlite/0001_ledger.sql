-- +goose Up

-- What identifies this store, and numbers that rise.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- One row per journal that ever fed this store. next_seq is the first record
-- whose verdicts are not committed; received_at that of the last one that is.
CREATE TABLE stream (
  stream      INTEGER PRIMARY KEY AUTOINCREMENT,
  node        TEXT    NOT NULL,
  created_at  INTEGER NOT NULL,
  next_seq    INTEGER NOT NULL DEFAULT 1,
  received_at INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Calls. Times are microseconds since the Unix epoch; NULL is unknown. ranks
-- holds, for every field, the rank of the upsert that set it (sink/merge.go).
CREATE TABLE call (
  no          INTEGER PRIMARY KEY,
  call_id     TEXT    NOT NULL UNIQUE,
  ref_id      TEXT,
  key         TEXT,
  network_ids TEXT,             -- JSON object, network → id
  caller      TEXT,             -- E.164
  started_at  INTEGER,
  ended_at    INTEGER,
  duration    INTEGER,          -- seconds
  campaign    TEXT,
  publisher   TEXT,
  buyer       TEXT,
  qualified   INTEGER,          -- 1, 0, NULL
  ranks       BLOB    NOT NULL,
  change_seq  INTEGER NOT NULL  -- of the last upsert, rising with every one
) STRICT;

-- Every name of a call as a 64-bit digest (event.KeyOf). at is the call's
-- start for callers, 0 for other kinds, so that a caller's calls lie in order.
CREATE TABLE call_key (
  hash INTEGER NOT NULL,
  at   INTEGER NOT NULL,
  no   INTEGER NOT NULL,
  PRIMARY KEY (hash, at, no)
) STRICT, WITHOUT ROWID;

-- What is booked on a call, and by which event (its rank).
CREATE TABLE call_state (
  no                INTEGER PRIMARY KEY,
  currency          TEXT    NOT NULL,
  value             INTEGER NOT NULL,
  share             INTEGER NOT NULL,
  status            TEXT    NOT NULL,  -- booked, unqualified, reversed
  rule              INTEGER NOT NULL,  -- 0 is none
  buyer_account     INTEGER NOT NULL,  -- 0 until a posting used one
  publisher_account INTEGER NOT NULL,
  priced_by         INTEGER NOT NULL,  -- event.Report.PricedBy
  rank_at           INTEGER NOT NULL,
  rank_stream       INTEGER NOT NULL,
  rank_seq          INTEGER NOT NULL,
  rank_n            INTEGER NOT NULL,
  last_posting      INTEGER NOT NULL
) STRICT;

CREATE TABLE account (
  id       INTEGER PRIMARY KEY,
  kind     TEXT NOT NULL,  -- buyer_receivable, network_revenue, network_publisher_cost, publisher_pending
  owner    TEXT NOT NULL,  -- buyer or publisher id, '' for the network's own
  currency TEXT NOT NULL,
  UNIQUE (kind, owner, currency)
) STRICT;

CREATE TABLE balance (
  account      INTEGER PRIMARY KEY REFERENCES account(id),
  debits       INTEGER NOT NULL CHECK (debits >= 0),
  credits      INTEGER NOT NULL CHECK (credits >= 0),
  last_posting INTEGER NOT NULL
) STRICT;

-- A posting is what one event did to one call's money. Its number rises by
-- one; the event may cause no second one.
CREATE TABLE posting (
  no          INTEGER PRIMARY KEY,
  stream      INTEGER NOT NULL,
  seq         INTEGER NOT NULL,
  n           INTEGER NOT NULL,
  call        INTEGER NOT NULL REFERENCES call(no),
  cause       TEXT    NOT NULL,  -- conversion, reversal, adjustment, call
  source      TEXT    NOT NULL,
  received_at INTEGER NOT NULL,
  currency    TEXT    NOT NULL,
  value       INTEGER NOT NULL,  -- of the call, afterwards
  share       INTEGER NOT NULL,
  delta       INTEGER NOT NULL,
  share_delta INTEGER NOT NULL,
  rule        INTEGER NOT NULL,
  UNIQUE (stream, seq, n)
) STRICT;

CREATE INDEX posting_call ON posting (call, no);

-- The lines of a posting: balanced by construction, each moves one amount
-- from one account to another.
CREATE TABLE transfer (
  posting        INTEGER NOT NULL REFERENCES posting(no),
  line           INTEGER NOT NULL,
  debit_account  INTEGER NOT NULL REFERENCES account(id),
  credit_account INTEGER NOT NULL REFERENCES account(id),
  amount         INTEGER NOT NULL CHECK (amount > 0),
  currency       TEXT    NOT NULL,
  PRIMARY KEY (posting, line),
  CHECK (debit_account <> credit_account)
) STRICT, WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER posting_no_update BEFORE UPDATE ON posting BEGIN SELECT RAISE(ABORT, 'postings are never changed'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER posting_no_delete BEFORE DELETE ON posting BEGIN SELECT RAISE(ABORT, 'postings are never deleted'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER transfer_no_update BEFORE UPDATE ON transfer BEGIN SELECT RAISE(ABORT, 'transfers are never changed'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER transfer_no_delete BEFORE DELETE ON transfer BEGIN SELECT RAISE(ABORT, 'transfers are never deleted'); END;
-- +goose StatementEnd

-- Strong identities, kept for ever. A row whose event ended in a status that
-- releases its identity is deleted. seq 0 is a tombstone: a reversal came
-- before what it takes back. Weak identities stand in the verdict log itself
-- (verdict.weak) and are looked up in a temporary table that the ledger keeps
-- abreast of it (sink/weak_sqlite.go).
CREATE TABLE identity (
  key         BLOB    PRIMARY KEY,  -- event.Digest
  stream      INTEGER NOT NULL,
  seq         INTEGER NOT NULL,
  n           INTEGER NOT NULL,
  money       BLOB    NOT NULL,     -- event.Digest of the money fields
  received_at INTEGER NOT NULL,
  call        INTEGER NOT NULL,     -- booked on, 0 is none
  reversed_by TEXT    NOT NULL      -- id of the reversal event, '' is none; set on the conversion's key, also beforehand
) STRICT, WITHOUT ROWID;

-- The verdict log: every revision of every verdict, numbered without a gap.
-- report is JSON (event.AppendReportJSON); raw is the redacted request
-- (sink/raw.go), kept with n = 0 and revision 1 only.
CREATE TABLE verdict (
  change_seq  INTEGER PRIMARY KEY,
  stream      INTEGER NOT NULL,
  seq         INTEGER NOT NULL,
  n           INTEGER NOT NULL,
  revision    INTEGER NOT NULL,
  final       INTEGER NOT NULL,
  status      TEXT    NOT NULL,
  reason      TEXT    NOT NULL,
  detail      TEXT,               -- JSON (event.Detail)
  weak        BLOB,               -- event.Digest that this revision holds or, unmatched, gives back
  weak_until  INTEGER,            -- when it is forgotten
  source      TEXT    NOT NULL,
  received_at INTEGER NOT NULL,
  decided_at  INTEGER NOT NULL,
  kind        TEXT    NOT NULL,
  strategy    TEXT    NOT NULL,
  candidates  INTEGER NOT NULL,   -- that fitted
  considered  TEXT,               -- JSON list of the candidates, when there was not exactly one
  call        INTEGER,            -- call.no
  call_id     TEXT,
  call_caller TEXT,
  caller      TEXT,               -- as reported; E.164 if it could be read
  duration    INTEGER,
  payout      INTEGER,            -- as reported
  currency    TEXT,
  value       INTEGER,            -- of the call, afterwards
  delta       INTEGER NOT NULL,
  share_delta INTEGER NOT NULL,
  mapper      TEXT    NOT NULL,
  peer        TEXT    NOT NULL,
  us_queue    INTEGER NOT NULL,   -- received until read
  us_map      INTEGER NOT NULL,
  us_match    INTEGER NOT NULL,
  us_total    INTEGER NOT NULL,   -- received until decided
  report      TEXT,
  raw         BLOB
) STRICT;
CREATE UNIQUE INDEX verdict_event ON verdict (stream, seq, n, revision);
CREATE INDEX verdict_weak ON verdict (weak_until) WHERE weak IS NOT NULL;
CREATE INDEX verdict_call ON verdict (call, change_seq) WHERE call IS NOT NULL;

-- Events that wait for their call, and the names under which it may come.
CREATE TABLE parked (
  stream   INTEGER NOT NULL,
  seq      INTEGER NOT NULL,
  n        INTEGER NOT NULL,
  deadline INTEGER NOT NULL,
  identity BLOB    NOT NULL,  -- that the event holds: 1 strong or 2 weak, then event.Digest
  PRIMARY KEY (stream, seq, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX parked_deadline ON parked (deadline);
CREATE TABLE parked_key (
  hash   INTEGER NOT NULL,
  stream INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  n      INTEGER NOT NULL,
  PRIMARY KEY (hash, stream, seq, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX parked_key_event ON parked_key (stream, seq, n);

-- Payout rules: what a publisher is paid of a call's value in a campaign.
-- A changed rule is a new row; the current one has the greatest id.
CREATE TABLE rule (
  id         INTEGER PRIMARY KEY,
  campaign   TEXT    NOT NULL,
  publisher  TEXT    NOT NULL,
  payout     TEXT    NOT NULL,  -- event.ParseRule; '' ends the assignment
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX rule_assignment ON rule (campaign, publisher, id);

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
  v.report, v.detail, v.change_seq
FROM verdict v LEFT JOIN call c ON c.no = v.call
WHERE NOT EXISTS (
  SELECT 1 FROM verdict w
  WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n AND w.revision > v.revision);
-- +goose StatementEnd
