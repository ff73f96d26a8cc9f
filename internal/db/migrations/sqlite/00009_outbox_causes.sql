-- +goose Up
-- outbox: why a message is sent (outbox.Cause). The highest goes first. What waits
-- for a recipient has its order by it, and what has gone to him lately is counted so.
ALTER TABLE outbox ADD COLUMN cause INTEGER NOT NULL DEFAULT 0;
CREATE INDEX outbox_first ON outbox (channel, cause DESC, next_attempt_at, seq) WHERE sent_at IS NULL AND failed_at IS NULL;
DROP INDEX outbox_waiting;
CREATE INDEX outbox_waiting ON outbox (recipient_key, cause, seq) WHERE sent_at IS NULL AND failed_at IS NULL;
DROP INDEX outbox_got;
CREATE INDEX outbox_got ON outbox (recipient_key, cause, sent_at) WHERE sent_at IS NOT NULL;

-- +goose Down
DROP INDEX outbox_got;
CREATE INDEX outbox_got ON outbox (recipient_key, sent_at) WHERE sent_at IS NOT NULL;
DROP INDEX outbox_waiting;
CREATE INDEX outbox_waiting ON outbox (recipient_key, seq) WHERE sent_at IS NULL AND failed_at IS NULL;
DROP INDEX outbox_first;
ALTER TABLE outbox DROP COLUMN cause;
