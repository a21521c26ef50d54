-- +goose Up
ALTER TABLE activations RENAME COLUMN signal TO signal_name; -- a word of MySQL's
ALTER TABLE activations ADD COLUMN depends_on TEXT NOT NULL DEFAULT 'null'; -- JSON list of columns; null = not known
ALTER TABLE triggers ADD COLUMN sealed TEXT NOT NULL DEFAULT ''; -- name of the key, '' = its secrets are in clear

CREATE TABLE encryption_keys (
    name  TEXT PRIMARY KEY,
    proof TEXT NOT NULL -- what the key sealed when it first was to seal
) WITHOUT ROWID;

-- +goose Down
DROP TABLE encryption_keys;
ALTER TABLE triggers DROP COLUMN sealed;
ALTER TABLE activations DROP COLUMN depends_on;
ALTER TABLE activations RENAME COLUMN signal_name TO signal;
