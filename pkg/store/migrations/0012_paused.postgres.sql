-- +goose Up
ALTER TABLE triggers ADD COLUMN paused text NOT NULL DEFAULT ''; -- keep or drop what it fires; '' = it is not paused

-- +goose Down
ALTER TABLE triggers DROP COLUMN paused;
