-- +goose Up
ALTER TABLE activations RENAME COLUMN signal TO signal_name; -- a word of MySQL's
CREATE TABLE changes (                                       -- one row
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL                                 -- of the triggers
);
INSERT INTO changes (one, version) VALUES (1, 0);

-- +goose Down
DROP TABLE changes;
ALTER TABLE activations RENAME COLUMN signal_name TO signal;
