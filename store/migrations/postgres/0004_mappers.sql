-- +goose Up

-- Mappers that partners wrote. active, previous and shadow are numbers of
-- versions, 0 is none; made_by is the id of the key that made it, 0 when it
-- was not a partner's.
CREATE TABLE mapper (
  name       text    COLLATE "C" PRIMARY KEY,
  tier       text    NOT NULL,            -- standard, large
  active     bigint  NOT NULL DEFAULT 0,
  previous   bigint  NOT NULL DEFAULT 0,
  shadow     bigint  NOT NULL DEFAULT 0,
  newest     bigint  NOT NULL DEFAULT 0,  -- highest number given to a version
  made_by    bigint  NOT NULL DEFAULT 0,
  created_by text    NOT NULL,
  created_at bigint  NOT NULL,
  updated_at bigint  NOT NULL
);

-- Modules by the SHA-256 of their bytes, each kept once. Those of refused
-- versions are not kept.
CREATE TABLE mapper_module (
  sha256 bytea PRIMARY KEY,
  code   bytea NOT NULL
);

-- Versions of a mapper, numbered from 1. upload is the digest of everything
-- that was pushed and of the tier, so that the same push finds its version;
-- live that of what runs, module and config (objects_mapper.go).
CREATE TABLE mapper_version (
  mapper     text    COLLATE "C" NOT NULL REFERENCES mapper(name),
  version    bigint  NOT NULL,
  state      text    NOT NULL,            -- uploaded, admitted, refused, active, retired
  tier       text    NOT NULL,            -- under which it is admitted
  upload     bytea   NOT NULL,
  live       bytea   NOT NULL,
  module     bytea   NOT NULL,            -- its SHA-256
  bytes      bigint  NOT NULL,            -- of the module
  config     bigint  NOT NULL,            -- bytes of config
  vectors    bigint  NOT NULL,            -- bytes of vectors
  fuel_limit bigint  NOT NULL DEFAULT 0,  -- a call may burn, 0 until admitted
  replaced   bigint  NOT NULL DEFAULT 0,  -- version that was active before this one became it
  pushed_by  text    NOT NULL,
  created_at bigint  NOT NULL,
  updated_at bigint  NOT NULL,
  verdict    text    NOT NULL DEFAULT '', -- JSON of admission's findings
  PRIMARY KEY (mapper, version),
  UNIQUE (mapper, upload)
);
CREATE INDEX mapper_version_live ON mapper_version (live);
CREATE INDEX mapper_version_module ON mapper_version (module);

-- What was pushed beside the module.
CREATE TABLE mapper_upload (
  mapper  text    COLLATE "C" NOT NULL,
  version bigint  NOT NULL,
  config  bytea   NOT NULL,
  vectors bytea   NOT NULL,
  PRIMARY KEY (mapper, version),
  FOREIGN KEY (mapper, version) REFERENCES mapper_version(mapper, version)
);

-- How often a candidate gave the same as the active version, field by field,
-- and the last difference.
CREATE TABLE mapper_shadow (
  mapper    text    COLLATE "C" NOT NULL REFERENCES mapper(name),
  active    bigint  NOT NULL,
  candidate bigint  NOT NULL,
  field     text    COLLATE "C" NOT NULL,
  same      bigint  NOT NULL,
  different bigint  NOT NULL,
  example   text    NOT NULL,
  PRIMARY KEY (mapper, candidate, active, field)
);

-- The mapper that a source names, taken out of its spec: "" is the built-in
-- one, version 0 follows the active one.
ALTER TABLE source ADD COLUMN mapper text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE source ADD COLUMN mapper_version bigint NOT NULL DEFAULT 0;
CREATE INDEX source_mapper ON source (mapper, mapper_version) WHERE mapper <> '';

-- What a partner's key reaches: a JSON list of ids of sources.
ALTER TABLE access_key ADD COLUMN sources text NOT NULL DEFAULT '[]';
ALTER TABLE access_key ADD COLUMN may_activate bigint NOT NULL DEFAULT 0;
