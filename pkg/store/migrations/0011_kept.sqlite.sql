-- +goose Up
ALTER TABLE deliveries RENAME COLUMN dead TO state; -- 0 parked, 1 dead, 2 sent
ALTER TABLE deliveries ADD COLUMN sent_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN row_table TEXT NOT NULL DEFAULT ''; -- schema.table
ALTER TABLE deliveries ADD COLUMN row_key BLOB NOT NULL DEFAULT x''; -- key_hash is its hash
ALTER TABLE deliveries ADD COLUMN unrendered INTEGER NOT NULL DEFAULT 0; -- 1 = the body is still to be rendered from event
ALTER TABLE deliveries ADD COLUMN bare INTEGER NOT NULL DEFAULT 0; -- 1 = what it says is not kept any more
UPDATE deliveries SET row_key = ordering_key, unrendered = event IS NOT NULL;
DROP INDEX deliveries_dead;
CREATE INDEX deliveries_over ON deliveries (state, sent_at, failed_at, size);
CREATE INDEX deliveries_sent ON deliveries (trigger_id, committed_at, id) WHERE state = 2;

CREATE TABLE history ( -- one row, or none: nothing is kept
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    since INTEGER NOT NULL -- all that was committed from then on and sent is kept
);

-- +goose Down
DROP TABLE history;
DROP INDEX deliveries_sent;
DROP INDEX deliveries_over;
DELETE FROM deliveries WHERE state = 2;
ALTER TABLE deliveries DROP COLUMN bare;
ALTER TABLE deliveries DROP COLUMN unrendered;
ALTER TABLE deliveries DROP COLUMN row_key;
ALTER TABLE deliveries DROP COLUMN row_table;
ALTER TABLE deliveries DROP COLUMN sent_at;
ALTER TABLE deliveries RENAME COLUMN state TO dead;
CREATE INDEX deliveries_dead ON deliveries (dead, failed_at);
