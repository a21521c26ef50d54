-- +goose Up
CREATE TABLE audit ( -- who changed what
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL, -- microseconds since 1970
    token   TEXT NOT NULL, -- its name, '' = there are no tokens
    verb    TEXT NOT NULL,
    object  TEXT NOT NULL,
    detail  TEXT NOT NULL,
    request TEXT NOT NULL -- its id
);

-- +goose Down
DROP TABLE audit;
