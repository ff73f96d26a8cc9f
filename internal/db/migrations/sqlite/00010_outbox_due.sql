-- +goose Up
-- outbox: what is due is found by its cause too (outbox_first). This index only kept
-- SQLite from using that one, and had it sort all that waits for each claim.
DROP INDEX outbox_due;
CREATE INDEX outbox_unsent ON outbox (channel, seq) WHERE sent_at IS NULL;

-- +goose Down
DROP INDEX outbox_unsent;
CREATE INDEX outbox_due ON outbox (channel, next_attempt_at) WHERE sent_at IS NULL;
