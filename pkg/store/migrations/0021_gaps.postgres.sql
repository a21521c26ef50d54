-- +goose Up
CREATE TABLE gaps ( -- parts of sources' logs that were not sent, or sent and then lost by the database
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source          text NOT NULL,
    kind            text COLLATE "C" NOT NULL,
    table_schema    text NOT NULL, -- '' = all tables
    table_name      text NOT NULL,
    after_position  text NOT NULL, -- '' = not known
    before_position text NOT NULL,
    reason          text NOT NULL,
    noticed_at      bigint NOT NULL -- microseconds since 1970
);
CREATE INDEX gaps_source ON gaps (source, id);

-- +goose Down
DROP TABLE gaps;
