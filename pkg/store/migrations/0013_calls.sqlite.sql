-- +goose Up
CREATE TABLE calls ( -- what other instances ask of the active one
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    asked_at INTEGER NOT NULL, -- microseconds since 1970
    body     TEXT NOT NULL, -- JSON
    answer   TEXT -- JSON; NULL = none yet
);

-- +goose Down
DROP TABLE calls;
