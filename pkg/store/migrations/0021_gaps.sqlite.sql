-- +goose Up
CREATE TABLE gaps ( -- parts of sources' logs that were not sent, or sent and then lost by the database
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    source          TEXT NOT NULL,
    kind            TEXT NOT NULL,
    table_schema    TEXT NOT NULL, -- '' = all tables
    table_name      TEXT NOT NULL,
    after_position  TEXT NOT NULL, -- '' = not known
    before_position TEXT NOT NULL,
    reason          TEXT NOT NULL,
    noticed_at      INTEGER NOT NULL -- microseconds since 1970
);
CREATE INDEX gaps_source ON gaps (source, id);

-- +goose Down
DROP TABLE gaps;
