-- +goose Up
ALTER TABLE deliveries ADD COLUMN content_sum bigint NOT NULL DEFAULT 0; -- of what is sent, before it is sealed; 0 = nobody knows

-- +goose Down
ALTER TABLE deliveries DROP COLUMN content_sum;
