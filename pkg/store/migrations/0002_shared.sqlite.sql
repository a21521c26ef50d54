-- +goose Up
ALTER TABLE activations RENAME COLUMN signal TO signal_name; -- a word of MySQL's
ALTER TABLE activations ADD COLUMN depends_on TEXT NOT NULL DEFAULT 'null'; -- JSON list of columns; null = not known
ALTER TABLE triggers ADD COLUMN sealed TEXT NOT NULL DEFAULT ''; -- name of the key, '' = its secrets are in clear
ALTER TABLE activations ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sources ADD COLUMN holder TEXT NOT NULL DEFAULT ''; -- who may read it and send for it; '' = nobody does
ALTER TABLE sources ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0; -- grows with each holder
ALTER TABLE sources ADD COLUMN beat INTEGER NOT NULL DEFAULT 0; -- grows with each sign of life
ALTER TABLE sources ADD COLUMN applied INTEGER NOT NULL DEFAULT 0; -- version of the triggers that the holder has in force

CREATE TABLE changes ( -- one row, at which writers queue
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL -- of the triggers
);
INSERT INTO changes (one, version) VALUES (1, 0);

CREATE TABLE encryption_keys (
    name  TEXT PRIMARY KEY,
    proof TEXT NOT NULL -- what the key sealed when it first was to seal
) WITHOUT ROWID;

-- +goose Down
DROP TABLE encryption_keys;
DROP TABLE changes;
ALTER TABLE sources DROP COLUMN applied;
ALTER TABLE sources DROP COLUMN beat;
ALTER TABLE sources DROP COLUMN epoch;
ALTER TABLE sources DROP COLUMN holder;
ALTER TABLE activations DROP COLUMN refused;
ALTER TABLE triggers DROP COLUMN sealed;
ALTER TABLE activations DROP COLUMN depends_on;
ALTER TABLE activations RENAME COLUMN signal_name TO signal;
