-- +goose Up
CREATE TABLE IF NOT EXISTS gaps ( -- parts of sources' logs that were not sent, or sent and then lost by the database
    id              BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    source          VARCHAR(255) NOT NULL,
    kind            VARCHAR(20) NOT NULL,
    table_schema    TEXT NOT NULL, -- '' = all tables
    table_name      TEXT NOT NULL,
    after_position  MEDIUMTEXT NOT NULL, -- '' = not known
    before_position MEDIUMTEXT NOT NULL,
    reason          MEDIUMTEXT NOT NULL,
    noticed_at      BIGINT NOT NULL, -- microseconds since 1970
    INDEX gaps_source (source, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE gaps;
