-- +goose Up
CREATE TABLE triggers (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- never given out again
    name       text COLLATE "C" UNIQUE,                         -- NULL = unnamed
    origin     text NOT NULL,                                   -- api, or file: then only files change it
    revision   bigint NOT NULL,
    document   text NOT NULL,                                   -- JSON, as the API has it
    sealed     text NOT NULL,                                   -- name of the key, '' = its secrets are in clear
    warnings   text NOT NULL,                                   -- JSON list
    created_at text NOT NULL,
    updated_at text NOT NULL
);

CREATE TABLE destinations (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- never given out again
    id         text COLLATE "C" NOT NULL UNIQUE,                -- part of every delivery's id
    trigger_id bigint NOT NULL REFERENCES triggers (id) ON DELETE CASCADE
);
CREATE INDEX destinations_trigger ON destinations (trigger_id);

CREATE TABLE activations (
    trigger_id   bigint NOT NULL REFERENCES triggers (id) ON DELETE CASCADE,
    place        integer NOT NULL,
    source       text NOT NULL,
    app_label    text NOT NULL,
    model_name   text NOT NULL,
    signal_name  text NOT NULL,
    table_schema text NOT NULL,
    table_name   text NOT NULL,
    state        text NOT NULL,
    seq          text NOT NULL, -- 64 bits without sign: more than bigint holds
    position     text NOT NULL,
    blocker      text NOT NULL,
    depends_on   text NOT NULL, -- JSON list of columns; null = not known
    refused      boolean NOT NULL,
    PRIMARY KEY (trigger_id, place)
);

CREATE TABLE sources (
    name         text COLLATE "C" PRIMARY KEY,
    identity     text NOT NULL,
    end_position text NOT NULL,
    tx_position  text NOT NULL,
    tx_done      bigint NOT NULL,
    holder       text COLLATE "C" NOT NULL DEFAULT '', -- who may read it and send for it; '' = nobody does
    epoch        bigint NOT NULL DEFAULT 0,            -- grows with each holder
    beat         bigint NOT NULL DEFAULT 0,            -- grows with each sign of life
    applied      bigint NOT NULL DEFAULT 0             -- version of the triggers that the holder has in force
);
CREATE INDEX sources_holder ON sources (holder);

CREATE TABLE probe (
    one        integer PRIMARY KEY CHECK (one = 1),
    written_at text NOT NULL
);

CREATE TABLE changes ( -- one row, at which writers queue
    one     integer PRIMARY KEY CHECK (one = 1),
    version bigint NOT NULL -- of the triggers
);
INSERT INTO changes (one, version) VALUES (1, 0);

CREATE TABLE encryption_keys (
    name  text PRIMARY KEY,
    proof text NOT NULL -- what the key sealed when it first was to seal
);

-- +goose Down
DROP TABLE encryption_keys;
DROP TABLE changes;
DROP TABLE probe;
DROP TABLE sources;
DROP TABLE activations;
DROP TABLE destinations;
DROP TABLE triggers;
