-- +goose Up
ALTER TABLE deliveries RENAME COLUMN dead TO state; -- 0 parked, 1 dead, 2 sent
ALTER TABLE deliveries
    ADD COLUMN sent_at bigint NOT NULL DEFAULT 0,
    ADD COLUMN row_table text NOT NULL DEFAULT '', -- schema.table
    ADD COLUMN row_key bytea NOT NULL DEFAULT '', -- key_hash is its hash
    ADD COLUMN unrendered smallint NOT NULL DEFAULT 0, -- 1 = the body is still to be rendered from event
    ADD COLUMN bare smallint NOT NULL DEFAULT 0; -- 1 = what it says is not kept any more
UPDATE deliveries SET row_key = ordering_key, unrendered = CASE WHEN event IS NULL THEN 0 ELSE 1 END;
DROP INDEX deliveries_dead;
CREATE INDEX deliveries_over ON deliveries (state, sent_at, failed_at, size);
CREATE INDEX deliveries_sent ON deliveries (trigger_id, committed_at, id) WHERE state = 2;

CREATE TABLE history ( -- one row, or none: nothing is kept
    one   integer PRIMARY KEY CHECK (one = 1),
    since bigint NOT NULL -- all that was committed from then on and sent is kept
);

-- +goose Down
DROP TABLE history;
DELETE FROM deliveries WHERE state = 2;
DROP INDEX deliveries_sent;
DROP INDEX deliveries_over;
ALTER TABLE deliveries DROP COLUMN bare, DROP COLUMN unrendered, DROP COLUMN row_key, DROP COLUMN row_table, DROP COLUMN sent_at;
ALTER TABLE deliveries RENAME COLUMN state TO dead;
CREATE INDEX deliveries_dead ON deliveries (dead, failed_at);
