-- +goose Up
CREATE TABLE IF NOT EXISTS deliveries ( -- parked and dead ones
    id           BIGINT PRIMARY KEY, -- grows in the order in which a lane's are sent
    destination  VARCHAR(40) NOT NULL,
    trigger_id   BIGINT NOT NULL,
    source       VARCHAR(255) NOT NULL,
    dead         SMALLINT NOT NULL, -- 1 = not tried by itself any more
    lanes        SMALLINT NOT NULL, -- 0, 1 or 2
    lane1        BIGINT NOT NULL,
    lane2        BIGINT NOT NULL,
    of_table     BIGINT NOT NULL, -- 0 = of none
    barrier      SMALLINT NOT NULL,
    refusals     BIGINT NOT NULL,
    next_at      BIGINT NOT NULL, -- this and other times: microseconds since 1970, 0 = none
    attempts     BIGINT NOT NULL,
    parked_at    BIGINT NOT NULL,
    failed_at    BIGINT NOT NULL,
    failure      VARCHAR(40) NOT NULL, -- class of the last one
    code         VARCHAR(255) NOT NULL,
    error        MEDIUMTEXT NOT NULL,
    tries        MEDIUMTEXT NOT NULL, -- JSON list: the last attempts
    message_id   VARCHAR(255) NOT NULL,
    signal_name  VARCHAR(40) NOT NULL,
    model        MEDIUMTEXT NOT NULL,
    committed_at BIGINT NOT NULL,
    content_type VARCHAR(255) NOT NULL,
    ordering_key LONGBLOB NOT NULL,
    key_hash     BIGINT NOT NULL, -- of ordering_key
    size         BIGINT NOT NULL, -- bytes in memory
    sealed       VARCHAR(64) NOT NULL, -- name of the key that sealed the next three, '' = they are in clear
    rendered     LONGBLOB NOT NULL, -- JSON: what the row gave to headers and parameters
    body         LONGBLOB NOT NULL,
    event        LONGBLOB, -- what the body is still to be rendered from
    INDEX deliveries_place (destination, dead, id),
    INDEX deliveries_key (key_hash),
    INDEX deliveries_dead (dead, failed_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE deliveries;
