-- +goose Up

-- How far the verdict log has been shipped, one row per kind of sink. A range
-- of changes is written here before it is sent, so that whoever goes on after
-- a crash sends the same rows again under the same name: (through, range_to]
-- is under way when range_to is greater than through.
CREATE TABLE shipping (
  sink     text   PRIMARY KEY,  -- clickhouse
  origin   text   NOT NULL,     -- the database that has them, by the id it was given; another one gets everything anew
  fence    bigint NOT NULL,     -- rises with every process that takes over: one that was replaced hits no row
  holder   text   NOT NULL,     -- its node
  seen_at  bigint NOT NULL,     -- when a node last worked on this, reached or not, microseconds
  through  bigint NOT NULL,     -- change_seq up to which everything is there
  range_to bigint NOT NULL,
  batch    bigint NOT NULL,     -- name of the range under way, a random number
  names    bigint NOT NULL,     -- version of the objects whose names are there
  lost     bigint NOT NULL      -- changes that retention dropped before they were shipped
) WITH (fillfactor = 50);
