-- +goose Up

-- Mappers that partners wrote. active, previous and shadow are numbers of
-- versions, 0 is none; made_by is the id of the key that made it, 0 when it
-- was not a partner's.
CREATE TABLE mapper (
  name       TEXT    PRIMARY KEY,
  tier       TEXT    NOT NULL,            -- standard, large
  active     INTEGER NOT NULL DEFAULT 0,
  previous   INTEGER NOT NULL DEFAULT 0,
  shadow     INTEGER NOT NULL DEFAULT 0,
  newest     INTEGER NOT NULL DEFAULT 0,  -- highest number given to a version
  made_by    INTEGER NOT NULL DEFAULT 0,
  created_by TEXT    NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Modules by the SHA-256 of their bytes, each kept once. Those of refused
-- versions are not kept.
CREATE TABLE mapper_module (
  sha256 BLOB PRIMARY KEY,
  code   BLOB NOT NULL
) STRICT;

-- Versions of a mapper, numbered from 1. upload is the digest of everything
-- that was pushed and of the tier, so that the same push finds its version;
-- live that of what runs, module and config (objects_mapper.go).
CREATE TABLE mapper_version (
  mapper     TEXT    NOT NULL REFERENCES mapper(name),
  version    INTEGER NOT NULL,
  state      TEXT    NOT NULL,            -- uploaded, admitted, refused, active, retired
  tier       TEXT    NOT NULL,            -- under which it is admitted
  upload     BLOB    NOT NULL,
  live       BLOB    NOT NULL,
  module     BLOB    NOT NULL,            -- its SHA-256
  bytes      INTEGER NOT NULL,            -- of the module
  config     INTEGER NOT NULL,            -- bytes of config
  vectors    INTEGER NOT NULL,            -- bytes of vectors
  fuel_limit INTEGER NOT NULL DEFAULT 0,  -- a call may burn, 0 until admitted
  replaced   INTEGER NOT NULL DEFAULT 0,  -- version that was active before this one became it
  pushed_by  TEXT    NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  verdict    TEXT    NOT NULL DEFAULT '', -- JSON of admission's findings
  PRIMARY KEY (mapper, version),
  UNIQUE (mapper, upload)
) STRICT;
CREATE INDEX mapper_version_live ON mapper_version (live);
CREATE INDEX mapper_version_module ON mapper_version (module);

-- What was pushed beside the module.
CREATE TABLE mapper_upload (
  mapper  TEXT    NOT NULL,
  version INTEGER NOT NULL,
  config  BLOB    NOT NULL,
  vectors BLOB    NOT NULL,
  PRIMARY KEY (mapper, version),
  FOREIGN KEY (mapper, version) REFERENCES mapper_version(mapper, version)
) STRICT;

-- How often a candidate gave the same as the active version, field by field,
-- and the last difference.
CREATE TABLE mapper_shadow (
  mapper    TEXT    NOT NULL REFERENCES mapper(name),
  active    INTEGER NOT NULL,
  candidate INTEGER NOT NULL,
  field     TEXT    NOT NULL,
  same      INTEGER NOT NULL,
  different INTEGER NOT NULL,
  example   TEXT    NOT NULL,
  PRIMARY KEY (mapper, candidate, active, field)
) STRICT, WITHOUT ROWID;

-- The mapper that a source names, taken out of its spec: "" is the built-in
-- one, version 0 follows the active one.
ALTER TABLE source ADD COLUMN mapper TEXT NOT NULL DEFAULT '';
ALTER TABLE source ADD COLUMN mapper_version INTEGER NOT NULL DEFAULT 0;
CREATE INDEX source_mapper ON source (mapper, mapper_version) WHERE mapper <> '';

-- What a partner's key reaches: a JSON list of ids of sources.
ALTER TABLE access_key ADD COLUMN sources TEXT NOT NULL DEFAULT '[]';
ALTER TABLE access_key ADD COLUMN may_activate INTEGER NOT NULL DEFAULT 0;
