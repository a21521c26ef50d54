-- +goose Up
CREATE TABLE deliveries ( -- parked and dead ones
    id           INTEGER PRIMARY KEY, -- grows in the order in which a lane's are sent
    destination  TEXT NOT NULL,
    trigger_id   INTEGER NOT NULL,
    source       TEXT NOT NULL,
    dead         INTEGER NOT NULL, -- 1 = not tried by itself any more
    lanes        INTEGER NOT NULL, -- 0, 1 or 2
    lane1        INTEGER NOT NULL,
    lane2        INTEGER NOT NULL,
    of_table     INTEGER NOT NULL, -- 0 = of none
    barrier      INTEGER NOT NULL,
    refusals     INTEGER NOT NULL,
    next_at      INTEGER NOT NULL, -- this and other times: microseconds since 1970, 0 = none
    attempts     INTEGER NOT NULL,
    parked_at    INTEGER NOT NULL,
    failed_at    INTEGER NOT NULL,
    failure      TEXT NOT NULL, -- class of the last one
    code         TEXT NOT NULL,
    error        TEXT NOT NULL,
    tries        TEXT NOT NULL, -- JSON list: the last attempts
    message_id   TEXT NOT NULL,
    signal_name  TEXT NOT NULL,
    model        TEXT NOT NULL,
    committed_at INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    ordering_key BLOB NOT NULL,
    key_hash     INTEGER NOT NULL, -- of ordering_key
    size         INTEGER NOT NULL, -- bytes in memory
    sealed       TEXT NOT NULL, -- name of the key that sealed the next three, '' = they are in clear
    rendered     BLOB NOT NULL, -- JSON: what the row gave to headers and parameters
    body         BLOB NOT NULL,
    event        BLOB -- what the body is still to be rendered from
);
CREATE INDEX deliveries_place ON deliveries (destination, dead, id);
CREATE INDEX deliveries_key ON deliveries (key_hash);
CREATE INDEX deliveries_dead ON deliveries (dead, failed_at);

-- +goose Down
DROP TABLE deliveries;
