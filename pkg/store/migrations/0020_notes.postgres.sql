-- +goose Up
CREATE TABLE notes ( -- what a source remembers beside its position
    source text NOT NULL,
    name   text NOT NULL,
    note   text NOT NULL,
    PRIMARY KEY (source, name)
);

-- +goose Down
DROP TABLE notes;
