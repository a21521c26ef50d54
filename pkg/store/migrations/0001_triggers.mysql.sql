-- +goose Up
CREATE TABLE IF NOT EXISTS triggers (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, -- never given out again
    name       VARCHAR(255) UNIQUE,                        -- NULL = unnamed
    origin     VARCHAR(20) NOT NULL,                       -- api, or file: then only files change it
    revision   BIGINT NOT NULL,
    document   MEDIUMTEXT NOT NULL,                        -- JSON, as the API has it
    sealed     VARCHAR(64) NOT NULL,                       -- name of the key, '' = its secrets are in clear
    warnings   MEDIUMTEXT NOT NULL,                        -- JSON list
    created_at VARCHAR(27) NOT NULL,
    updated_at VARCHAR(27) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS destinations (
    number     BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, -- never given out again
    id         VARCHAR(40) NOT NULL UNIQUE,                -- part of every delivery's id
    trigger_id BIGINT NOT NULL,
    INDEX destinations_trigger (trigger_id),
    FOREIGN KEY (trigger_id) REFERENCES triggers (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS activations (
    trigger_id   BIGINT NOT NULL,
    place        INTEGER NOT NULL,
    source       VARCHAR(255) NOT NULL,
    app_label    TEXT NOT NULL,
    model_name   TEXT NOT NULL,
    signal_name  VARCHAR(20) NOT NULL,
    table_schema TEXT NOT NULL,
    table_name   TEXT NOT NULL,
    state        VARCHAR(20) NOT NULL,
    seq          VARCHAR(20) NOT NULL, -- 64 bits without sign
    position     MEDIUMTEXT NOT NULL,
    blocker      MEDIUMTEXT NOT NULL,
    depends_on   MEDIUMTEXT NOT NULL, -- JSON list of columns; null = not known
    refused      BOOLEAN NOT NULL,
    PRIMARY KEY (trigger_id, place),
    FOREIGN KEY (trigger_id) REFERENCES triggers (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS sources (
    name         VARCHAR(255) NOT NULL PRIMARY KEY,
    identity     TEXT NOT NULL,
    end_position MEDIUMTEXT NOT NULL,
    tx_position  MEDIUMTEXT NOT NULL,
    tx_done      BIGINT NOT NULL,
    holder       VARCHAR(255) NOT NULL DEFAULT '', -- who may read it and send for it; '' = nobody does
    epoch        BIGINT NOT NULL DEFAULT 0,        -- grows with each holder
    beat         BIGINT NOT NULL DEFAULT 0,        -- grows with each sign of life
    applied      BIGINT NOT NULL DEFAULT 0,        -- version of the triggers that the holder has in force
    INDEX sources_holder (holder)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS probe (
    one        INTEGER NOT NULL PRIMARY KEY,
    written_at VARCHAR(27) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS changes ( -- one row, at which writers queue
    one     INTEGER NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL -- of the triggers
) ENGINE = InnoDB;
INSERT IGNORE INTO changes (one, version) VALUES (1, 0);

CREATE TABLE IF NOT EXISTS encryption_keys (
    name  VARCHAR(64) NOT NULL PRIMARY KEY,
    proof TEXT NOT NULL -- what the key sealed when it first was to seal
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE encryption_keys;
DROP TABLE changes;
DROP TABLE probe;
DROP TABLE sources;
DROP TABLE activations;
DROP TABLE destinations;
DROP TABLE triggers;
