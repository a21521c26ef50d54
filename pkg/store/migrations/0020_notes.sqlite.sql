-- +goose Up
CREATE TABLE notes ( -- what a source remembers beside its position
    source TEXT NOT NULL,
    name   TEXT NOT NULL,
    note   TEXT NOT NULL,
    PRIMARY KEY (source, name)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE notes;
