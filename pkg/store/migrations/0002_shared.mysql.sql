-- +goose Up
CREATE TABLE IF NOT EXISTS changes ( -- one row, at which writers queue
    one     INTEGER NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL -- of the triggers
) ENGINE = InnoDB;
INSERT IGNORE INTO changes (one, version) VALUES (1, 0);

-- +goose Down
DROP TABLE changes;
