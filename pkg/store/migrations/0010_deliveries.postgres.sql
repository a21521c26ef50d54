-- +goose Up
CREATE TABLE deliveries ( -- parked and dead ones
    id           bigint PRIMARY KEY, -- grows in the order in which a lane's are sent
    destination  text COLLATE "C" NOT NULL,
    trigger_id   bigint NOT NULL,
    source       text NOT NULL,
    dead         smallint NOT NULL, -- 1 = not tried by itself any more
    lanes        smallint NOT NULL, -- 0, 1 or 2
    lane1        bigint NOT NULL,
    lane2        bigint NOT NULL,
    of_table     bigint NOT NULL, -- 0 = of none
    barrier      smallint NOT NULL,
    refusals     bigint NOT NULL,
    next_at      bigint NOT NULL, -- this and other times: microseconds since 1970, 0 = none
    attempts     bigint NOT NULL,
    parked_at    bigint NOT NULL,
    failed_at    bigint NOT NULL,
    failure      text COLLATE "C" NOT NULL, -- class of the last one
    code         text NOT NULL,
    error        text NOT NULL,
    tries        text NOT NULL, -- JSON list: the last attempts
    message_id   text NOT NULL,
    signal_name  text COLLATE "C" NOT NULL,
    model        text NOT NULL,
    committed_at bigint NOT NULL,
    content_type text NOT NULL,
    ordering_key bytea NOT NULL,
    key_hash     bigint NOT NULL, -- of ordering_key
    size         bigint NOT NULL, -- bytes in memory
    sealed       text NOT NULL, -- name of the key that sealed the next three, '' = they are in clear
    rendered     bytea NOT NULL, -- JSON: what the row gave to headers and parameters
    body         bytea NOT NULL,
    event        bytea -- what the body is still to be rendered from
);
CREATE INDEX deliveries_place ON deliveries (destination, dead, id);
CREATE INDEX deliveries_key ON deliveries (key_hash);
CREATE INDEX deliveries_dead ON deliveries (dead, failed_at);

-- +goose Down
DROP TABLE deliveries;
