-- +goose Up
CREATE TABLE backfills ( -- jobs that send the rows that tables have already
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    source      TEXT NOT NULL,
    trigger_ids TEXT NOT NULL, -- JSON
    max_rate    REAL NOT NULL, -- rows a second, 0 = no limit
    wish        TEXT NOT NULL, -- run, pause, cancel
    created_at  INTEGER NOT NULL, -- microseconds since 1970
    state       TEXT NOT NULL,
    detail      TEXT NOT NULL,
    tables      TEXT NOT NULL, -- JSON, with how far each is read
    rate        REAL NOT NULL, -- rows a second
    started_at  INTEGER NOT NULL, -- 0 = not yet
    finished_at INTEGER NOT NULL,
    ended       INTEGER NOT NULL
);
CREATE INDEX backfills_open ON backfills (source, ended, seq);

-- +goose Down
DROP TABLE backfills;
