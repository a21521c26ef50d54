-- +goose Up
CREATE TABLE backfills ( -- jobs that send the rows that tables have already
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text COLLATE "C" NOT NULL UNIQUE,
    source      text NOT NULL,
    trigger_ids text NOT NULL, -- JSON
    max_rate    double precision NOT NULL, -- rows a second, 0 = no limit
    wish        text COLLATE "C" NOT NULL, -- run, pause, cancel
    created_at  bigint NOT NULL, -- microseconds since 1970
    state       text COLLATE "C" NOT NULL,
    detail      text NOT NULL,
    tables      text NOT NULL, -- JSON, with how far each is read
    rate        double precision NOT NULL, -- rows a second
    started_at  bigint NOT NULL, -- 0 = not yet
    finished_at bigint NOT NULL,
    ended       smallint NOT NULL
);
CREATE INDEX backfills_open ON backfills (source, ended, seq);

-- +goose Down
DROP TABLE backfills;
