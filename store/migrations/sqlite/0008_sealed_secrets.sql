-- +goose Up

-- A secret that requests are signed with must be read again: sealed (store.Seal)
-- for the place source_secret|SOURCE/HASH in hexadecimal/KEY_ID|sealed. NULL is one of
-- which only the digest is kept. hash is SHA-256 of such a secret; of a sealed one, which
-- people may have chosen, it is HMAC-SHA-256 with a pepper of the sealing key.
ALTER TABLE source_secret ADD COLUMN sealed BLOB;

-- Of a public key its id, '' of a secret. Public keys do not end: until is 0.
ALTER TABLE source_secret ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
