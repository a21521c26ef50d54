-- +goose Up
CREATE TABLE calls ( -- what other instances ask of the active one
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asked_at bigint NOT NULL, -- microseconds since 1970
    body     text NOT NULL, -- JSON
    answer   text -- JSON; NULL = none yet
);

-- +goose Down
DROP TABLE calls;
