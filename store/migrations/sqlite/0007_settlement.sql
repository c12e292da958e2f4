-- +goose Up

-- A row of call is what money is booked on. target is NULL for a phone call;
-- for a transaction of a source that settles on accounts it is the account's
-- name, call_id is the source, a tab and the identity's digest (and, as a weak one
-- may come again, the event's id), and the row has no names in call_key and
-- change_seq 0: no postback finds it by what it says of calls.
ALTER TABLE call ADD COLUMN target TEXT;
CREATE INDEX call_target ON call (target, no) WHERE target IS NOT NULL;

-- A call of a campaign with a conversion group: until when a postback is in
-- time, NULL once that is decided, and what it became: 1 not converted, 2
-- converted, 3 both, the one after the other.
ALTER TABLE call ADD COLUMN convert_by INTEGER;
ALTER TABLE call ADD COLUMN converts INTEGER NOT NULL DEFAULT 0;
CREATE INDEX call_convert_by ON call (convert_by) WHERE convert_by IS NOT NULL;

-- What of a call's value is the sum of its components; word is the sender's own
-- status at the last one that counted, lower case; share_currency is that of the
-- share when it is not the value's.
ALTER TABLE call_state ADD COLUMN parts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE call_state ADD COLUMN word TEXT NOT NULL DEFAULT '';
ALTER TABLE call_state ADD COLUMN share_currency TEXT NOT NULL DEFAULT '';

-- Parts of a call's value that are kept apart, by the identity of who told them
-- (duplicates: add, adjustments: relative). value may be below zero.
CREATE TABLE component (
  call  INTEGER NOT NULL,
  key   BLOB NOT NULL,  -- 1, then event.Digest
  value INTEGER NOT NULL,
  PRIMARY KEY (call, key)
) STRICT, WITHOUT ROWID;

-- The currency of a posting's share when it is not that of its value.
ALTER TABLE posting ADD COLUMN share_currency TEXT;

-- What the events of a source have added to values in a day of UTC, for sources
-- with a daily_max. day counts from 1970.
CREATE TABLE day_total (
  source   TEXT NOT NULL,
  day      INTEGER NOT NULL,
  currency TEXT NOT NULL,
  amount   INTEGER NOT NULL,
  PRIMARY KEY (source, day, currency)
) STRICT, WITHOUT ROWID;

-- What people have decided of held events; the ledger takes a row away with the
-- verdict that follows from it.
CREATE TABLE ruling (
  stream  INTEGER NOT NULL,
  seq     INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  release INTEGER NOT NULL,  -- 1 to book it, 0 to refuse it
  value   INTEGER,           -- millionths in the call's currency, instead of what was reported
  actor   TEXT NOT NULL,
  at      INTEGER NOT NULL,
  PRIMARY KEY (stream, seq, n)
) STRICT, WITHOUT ROWID;

-- Held events, so that they can be listed without walking the verdict log.
CREATE TABLE held (
  stream   INTEGER NOT NULL,
  seq      INTEGER NOT NULL,
  n        INTEGER NOT NULL,
  source   TEXT NOT NULL,
  reason   TEXT NOT NULL,
  since    INTEGER NOT NULL,
  identity BLOB NOT NULL,  -- as in parked
  PRIMARY KEY (stream, seq, n)
) STRICT, WITHOUT ROWID;

-- Those from before this table: their identities are not known here any more.
INSERT INTO held (stream, seq, n, source, reason, since, identity)
SELECT v.stream, v.seq, v.n, v.source, v.reason, v.decided_at, zeroblob(17) FROM verdict v
WHERE v.status = 'held' AND NOT EXISTS (SELECT 1 FROM verdict w WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n AND w.revision > v.revision);

-- How calls of a campaign convert: JSON of event.Group, '' for not at all. A
-- changed group is a new row; the current one has the greatest id.
CREATE TABLE conversion_group (
  id         INTEGER PRIMARY KEY,
  campaign   TEXT NOT NULL,
  spec       TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX conversion_group_campaign ON conversion_group (campaign, id);

-- What became of calls of such campaigns, once each: not_converted when the
-- deadline had passed, converted when a value came, also after that. no rises without a gap.
CREATE TABLE conversion (
  no      INTEGER PRIMARY KEY,
  call    INTEGER NOT NULL,
  outcome TEXT NOT NULL,  -- converted, not_converted
  at      INTEGER NOT NULL,   -- the deadline, or received_at of the event
  stream  INTEGER NOT NULL,   -- of the event, 0 for not_converted
  seq     INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  UNIQUE (call, outcome)
) STRICT;
