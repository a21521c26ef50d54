-- +goose Up
CREATE TABLE IF NOT EXISTS notes ( -- what a source remembers beside its position
    source VARCHAR(255) NOT NULL,
    name   VARCHAR(400) NOT NULL,
    note   LONGTEXT NOT NULL,
    PRIMARY KEY (source, name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE notes;
