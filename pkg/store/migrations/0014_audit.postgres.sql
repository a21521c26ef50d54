-- +goose Up
CREATE TABLE audit ( -- who changed what
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      bigint NOT NULL, -- microseconds since 1970
    token   text NOT NULL, -- its name, '' = there are no tokens
    verb    text NOT NULL,
    object  text NOT NULL,
    detail  text NOT NULL,
    request text NOT NULL -- its id
);

-- +goose Down
DROP TABLE audit;
