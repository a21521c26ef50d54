-- +goose Up
SET @change = IF((SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'deliveries' AND column_name = 'content_sum') = 0,
    'ALTER TABLE deliveries ADD COLUMN content_sum BIGINT NOT NULL DEFAULT 0', -- of what is sent, before it is sealed; 0 = nobody knows
    'DO 0');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;

-- +goose Down
ALTER TABLE deliveries DROP COLUMN content_sum;
