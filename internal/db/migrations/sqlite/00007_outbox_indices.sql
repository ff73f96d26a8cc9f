-- +goose Up
-- The oldest that waits for a recipient, and what has gone to him lately, are
-- found without a look at all that he ever got.
DROP INDEX outbox_recipient;
CREATE INDEX outbox_waiting ON outbox (recipient_key, seq) WHERE sent_at IS NULL AND failed_at IS NULL;
CREATE INDEX outbox_got ON outbox (recipient_key, sent_at) WHERE sent_at IS NOT NULL;

-- +goose Down
DROP INDEX outbox_got;
DROP INDEX outbox_waiting;
CREATE INDEX outbox_recipient ON outbox (recipient_key, seq);
