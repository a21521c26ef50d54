-- +goose Up
CREATE TABLE triggers (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- never given out again
    name       TEXT UNIQUE,                       -- NULL = unnamed
    origin     TEXT NOT NULL,                     -- api, or file: then only files change it
    revision   INTEGER NOT NULL,
    document   TEXT NOT NULL,                     -- JSON, as the API has it
    warnings   TEXT NOT NULL,                     -- JSON list
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE TABLE destinations (
    number     INTEGER PRIMARY KEY AUTOINCREMENT, -- never given out again
    id         TEXT NOT NULL UNIQUE,              -- part of every delivery's id
    trigger_id INTEGER NOT NULL REFERENCES triggers (id) ON DELETE CASCADE
);
CREATE INDEX destinations_trigger ON destinations (trigger_id);

CREATE TABLE activations (
    trigger_id   INTEGER NOT NULL REFERENCES triggers (id) ON DELETE CASCADE,
    place        INTEGER NOT NULL,
    source       TEXT NOT NULL,
    app_label    TEXT NOT NULL,
    model_name   TEXT NOT NULL,
    signal       TEXT NOT NULL,
    table_schema TEXT NOT NULL,
    table_name   TEXT NOT NULL,
    state        TEXT NOT NULL,
    seq          TEXT NOT NULL, -- 64 bits without sign: more than INTEGER holds
    position     TEXT NOT NULL,
    blocker      TEXT NOT NULL,
    PRIMARY KEY (trigger_id, place)
) WITHOUT ROWID;

CREATE TABLE sources (
    name         TEXT PRIMARY KEY,
    identity     TEXT NOT NULL,
    end_position TEXT NOT NULL,
    tx_position  TEXT NOT NULL,
    tx_done      INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE probe (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    written_at TEXT NOT NULL
);

-- +goose Down
DROP TABLE probe;
DROP TABLE sources;
DROP TABLE activations;
DROP TABLE destinations;
DROP TABLE triggers;
