-- +goose Up

-- Sources. spec is the JSON of source.Spec; the token is found by its SHA-256
-- and kept sealed beside it; secrets is a JSON list of {hash, until}.
CREATE TABLE source (
  id           TEXT    PRIMARY KEY,
  spec         TEXT    NOT NULL,
  token_hash   BLOB    NOT NULL UNIQUE,
  token_sealed BLOB    NOT NULL,
  secrets      TEXT    NOT NULL,
  deleted      INTEGER NOT NULL DEFAULT 0,
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE campaign (
  id   TEXT PRIMARY KEY,
  name TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE publisher (
  id   TEXT PRIMARY KEY,
  name TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE buyer (
  id   TEXT PRIMARY KEY,
  name TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys of the admin API and of the calls feed; only digests are kept.
CREATE TABLE access_key (
  id         INTEGER PRIMARY KEY,
  name       TEXT    NOT NULL,
  hash       BLOB    NOT NULL UNIQUE,
  role       TEXT    NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

-- Who changed what.
CREATE TABLE audit (
  no     INTEGER PRIMARY KEY,
  at     INTEGER NOT NULL,
  actor  TEXT    NOT NULL,
  action TEXT    NOT NULL,
  object TEXT    NOT NULL,
  detail TEXT    NOT NULL
) STRICT;
