-- +goose Up
CREATE TABLE changes ( -- one row, at which writers queue
    one     integer PRIMARY KEY CHECK (one = 1),
    version bigint NOT NULL -- of the triggers
);
INSERT INTO changes (one, version) VALUES (1, 0);

-- +goose Down
DROP TABLE changes;
