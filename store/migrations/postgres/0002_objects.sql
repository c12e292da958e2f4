-- +goose Up

-- Ids sort by their bytes, as on SQLite, whatever the database's collation is.

-- Sources. spec is the JSON of source.Spec as the operator wrote it, without
-- the defaults; the token is found by its SHA-256 and kept sealed beside it
-- (seal.go). A deleted source keeps its row: its events still name it.
CREATE TABLE source (
  id           text   COLLATE "C" PRIMARY KEY,
  spec         text   NOT NULL,
  token_hash   bytea  NOT NULL UNIQUE,
  token_sealed bytea  NOT NULL,
  deleted      bigint NOT NULL DEFAULT 0,
  created_at   bigint NOT NULL,  -- microseconds since the Unix epoch, as everywhere
  updated_at   bigint NOT NULL
);

-- Webhook secrets, digests only. The current one has until = 0; the one
-- before it lives until then.
CREATE TABLE source_secret (
  source text   COLLATE "C" NOT NULL REFERENCES source(id),
  hash   bytea  NOT NULL,
  until  bigint NOT NULL,
  PRIMARY KEY (source, hash)
);

CREATE TABLE campaign (
  id   text COLLATE "C" PRIMARY KEY,
  name text NOT NULL
);

CREATE TABLE publisher (
  id   text COLLATE "C" PRIMARY KEY,
  name text NOT NULL
);

CREATE TABLE buyer (
  id   text COLLATE "C" PRIMARY KEY,
  name text NOT NULL
);

-- Keys of the admin API and of the calls feed; only digests are kept.
CREATE TABLE access_key (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text   NOT NULL,
  hash       bytea  NOT NULL UNIQUE,
  role       text   NOT NULL,
  created_at bigint NOT NULL
);

-- Who changed what. detail is the JSON list of changed fields, never a secret.
CREATE TABLE audit (
  no     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at     bigint NOT NULL,
  actor  text   NOT NULL,
  action text   NOT NULL,  -- create, update, rotate_token, rotate_secret, drop_secrets, delete
  object text   NOT NULL,  -- kind/id
  detail text   NOT NULL
);
