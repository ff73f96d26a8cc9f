-- +goose Up
-- account: a device that was trusted then or before is not any more. 0: that
-- never happened.
ALTER TABLE users ADD COLUMN trust_after bigint NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE users DROP COLUMN trust_after;
