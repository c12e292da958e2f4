-- +goose Up

-- writer is the process that posts for a stream: one that was replaced hits no
-- row. seen_at is when its node last said that it lives, microseconds.
ALTER TABLE stream ADD COLUMN writer TEXT NOT NULL DEFAULT '';
ALTER TABLE stream ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0;
