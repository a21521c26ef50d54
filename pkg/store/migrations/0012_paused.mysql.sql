-- +goose Up
SET @change = IF((SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'triggers' AND column_name = 'paused') = 0,
    'ALTER TABLE triggers ADD COLUMN paused VARCHAR(20) NOT NULL DEFAULT ''''', -- keep or drop what it fires; '' = it is not paused
    'DO 0');
PREPARE change_it FROM @change;
EXECUTE change_it;
DEALLOCATE PREPARE change_it;

-- +goose Down
ALTER TABLE triggers DROP COLUMN paused;
