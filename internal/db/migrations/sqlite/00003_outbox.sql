-- +goose Up
-- outbox: what must leave; see outbox/deliver.go. What waits in the old form
-- has neither a link nor a name in it, and no text can be made of it.
DROP TABLE outbox;
CREATE TABLE outbox (
    seq             INTEGER NOT NULL PRIMARY KEY, -- the order in which they were queued
    id              TEXT    NOT NULL,             -- version 7 UUID
    channel         TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    subject_id      TEXT    NOT NULL,
    lang            TEXT    NOT NULL,
    ref             TEXT    NOT NULL,
    recipient_key   BLOB    NOT NULL, -- MAC of channel and address
    sealed          BLOB    NOT NULL, -- empty once it is sent
    created_at      INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    claimed_until   INTEGER NOT NULL, -- 0: nobody is sending it
    attempts        INTEGER NOT NULL, -- begun
    refusals        INTEGER NOT NULL, -- of these, put off by the other side
    last_error      TEXT    NOT NULL, -- its class
    sent_at         INTEGER,
    failed_at       INTEGER,          -- for good
    expires_at      INTEGER NOT NULL, -- not worth sending from then on
    purge_at        INTEGER NOT NULL  -- the row goes
) STRICT;
CREATE UNIQUE INDEX outbox_id ON outbox (id);
CREATE INDEX outbox_due ON outbox (channel, next_attempt_at) WHERE sent_at IS NULL;
CREATE INDEX outbox_recipient ON outbox (recipient_key, seq);
CREATE INDEX outbox_sent ON outbox (channel, sent_at) WHERE sent_at IS NOT NULL;
CREATE INDEX outbox_subject ON outbox (subject_id);
CREATE INDEX outbox_purge ON outbox (purge_at);

-- +goose Down
DROP TABLE outbox;
CREATE TABLE outbox (
    id              TEXT    NOT NULL PRIMARY KEY, -- version 7 UUID
    kind            TEXT    NOT NULL,
    subject_id      TEXT    NOT NULL,
    sealed          BLOB    NOT NULL,
    created_at      INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_next ON outbox (next_attempt_at);
CREATE INDEX outbox_subject ON outbox (subject_id);
CREATE INDEX outbox_expires ON outbox (expires_at);
