-- +goose Up
CREATE TABLE IF NOT EXISTS backfills ( -- jobs that send the rows that tables have already
    seq         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id          VARCHAR(40) NOT NULL UNIQUE,
    source      VARCHAR(255) NOT NULL,
    trigger_ids MEDIUMTEXT NOT NULL, -- JSON
    max_rate    DOUBLE NOT NULL, -- rows a second, 0 = no limit
    wish        VARCHAR(20) NOT NULL, -- run, pause, cancel
    created_at  BIGINT NOT NULL, -- microseconds since 1970
    state       VARCHAR(20) NOT NULL,
    detail      MEDIUMTEXT NOT NULL,
    tables      MEDIUMTEXT NOT NULL, -- JSON, with how far each is read
    rate        DOUBLE NOT NULL, -- rows a second
    started_at  BIGINT NOT NULL, -- 0 = not yet
    finished_at BIGINT NOT NULL,
    ended       SMALLINT NOT NULL,
    INDEX backfills_open (source, ended, seq)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE backfills;
