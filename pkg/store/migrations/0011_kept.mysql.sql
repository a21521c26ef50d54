-- +goose Up
SET @change = IF((SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'deliveries' AND column_name = 'state') = 0,
    'ALTER TABLE deliveries RENAME COLUMN dead TO state', -- 0 parked, 1 dead, 2 sent
    'DO 0');
PREPARE change_it FROM @change;
EXECUTE change_it;
SET @change = IF((SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'deliveries' AND column_name = 'bare') = 0,
    'ALTER TABLE deliveries
        ADD COLUMN sent_at BIGINT NOT NULL DEFAULT 0,
        ADD COLUMN row_table VARCHAR(300) NOT NULL DEFAULT '''',
        ADD COLUMN row_key LONGBLOB NULL,
        ADD COLUMN unrendered SMALLINT NOT NULL DEFAULT 0,
        ADD COLUMN bare SMALLINT NOT NULL DEFAULT 0,
        DROP INDEX deliveries_dead,
        ADD INDEX deliveries_over (state, sent_at, failed_at, size),
        ADD INDEX deliveries_sent (trigger_id, state, committed_at, id)',
    'DO 0');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;
UPDATE deliveries SET row_key = ordering_key, unrendered = event IS NOT NULL WHERE row_key IS NULL;

CREATE TABLE IF NOT EXISTS history ( -- one row, or none: nothing is kept
    one   INTEGER NOT NULL PRIMARY KEY,
    since BIGINT NOT NULL -- all that was committed from then on and sent is kept
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE history;
DELETE FROM deliveries WHERE state = 2;
ALTER TABLE deliveries
    DROP INDEX deliveries_sent, DROP INDEX deliveries_over,
    DROP COLUMN bare, DROP COLUMN unrendered, DROP COLUMN row_key, DROP COLUMN row_table, DROP COLUMN sent_at;
ALTER TABLE deliveries RENAME COLUMN state TO dead;
CREATE INDEX deliveries_dead ON deliveries (dead, failed_at);
