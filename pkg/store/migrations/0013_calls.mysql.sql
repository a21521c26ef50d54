-- +goose Up
CREATE TABLE IF NOT EXISTS calls ( -- what other instances ask of the active one
    id       BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    asked_at BIGINT NOT NULL, -- microseconds since 1970
    body     MEDIUMTEXT NOT NULL, -- JSON
    answer   MEDIUMTEXT -- JSON; NULL = none yet
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE calls;
