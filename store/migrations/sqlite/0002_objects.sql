-- +goose Up

-- Sources. spec is the JSON of source.Spec as the operator wrote it, without
-- the defaults; the token is found by its SHA-256 and kept sealed beside it
-- (seal.go). A deleted source keeps its row: its events still name it.
CREATE TABLE source (
  id           TEXT    PRIMARY KEY,
  spec         TEXT    NOT NULL,
  token_hash   BLOB    NOT NULL UNIQUE,
  token_sealed BLOB    NOT NULL,
  deleted      INTEGER NOT NULL DEFAULT 0,
  created_at   INTEGER NOT NULL,  -- microseconds since the Unix epoch, as everywhere
  updated_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Webhook secrets, digests only. The current one has until = 0; the one
-- before it lives until then.
CREATE TABLE source_secret (
  source TEXT    NOT NULL REFERENCES source(id),
  hash   BLOB    NOT NULL,
  until  INTEGER NOT NULL,
  PRIMARY KEY (source, hash)
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
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT    NOT NULL,
  hash       BLOB    NOT NULL UNIQUE,
  role       TEXT    NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

-- Who changed what. detail is the JSON list of changed fields, never a secret.
CREATE TABLE audit (
  no     INTEGER PRIMARY KEY AUTOINCREMENT,
  at     INTEGER NOT NULL,
  actor  TEXT    NOT NULL,
  action TEXT    NOT NULL,  -- create, update, rotate_token, rotate_secret, drop_secrets, delete
  object TEXT    NOT NULL,  -- kind/id
  detail TEXT    NOT NULL
) STRICT;
