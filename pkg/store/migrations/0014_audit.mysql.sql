-- +goose Up
CREATE TABLE IF NOT EXISTS audit ( -- who changed what
    id      BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at      BIGINT NOT NULL, -- microseconds since 1970
    token   VARCHAR(255) NOT NULL, -- its name, '' = there are no tokens
    verb    VARCHAR(40) NOT NULL,
    object  MEDIUMTEXT NOT NULL,
    detail  MEDIUMTEXT NOT NULL,
    request VARCHAR(64) NOT NULL -- its id
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE audit;
