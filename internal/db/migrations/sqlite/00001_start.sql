-- +goose Up
-- Times are microseconds since 1970 in UTC. A unique index is named
-- table_column, the name by which db.ConflictError reports it on both engines.

-- account: who there is.
CREATE TABLE users (
    id                         TEXT    NOT NULL PRIMARY KEY,
    email                      TEXT    NOT NULL, -- as typed
    email_key                  TEXT    NOT NULL, -- as compared
    email_verified_at          INTEGER,
    username                   TEXT    NOT NULL,
    username_key               TEXT    NOT NULL,
    contact_number             TEXT,             -- E.164
    contact_number_verified_at INTEGER,
    user_type                  TEXT    NOT NULL,
    user_role                  TEXT    NOT NULL,
    password_hash              TEXT,             -- PHC string
    password_changed_at        INTEGER,
    disabled_at                INTEGER,
    proved_at                  INTEGER,
    version                    INTEGER NOT NULL, -- counts changes; the ETag
    created_at                 INTEGER NOT NULL,
    updated_at                 INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX users_email_key ON users (email_key);
CREATE UNIQUE INDEX users_username_key ON users (username_key);
-- A number that nobody has proven claims nothing; a proven one has one owner.
CREATE UNIQUE INDEX users_contact_number ON users (contact_number) WHERE contact_number_verified_at IS NOT NULL;
CREATE INDEX users_created ON users (created_at, id);

-- account: a proven address gives way only to another that is proven.
CREATE TABLE email_changes (
    user_id    TEXT    NOT NULL PRIMARY KEY,
    email      TEXT    NOT NULL,
    email_key  TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX email_changes_expires ON email_changes (expires_at);

-- account: who is logged in. Only the SHA-256 of a token is here.
CREATE TABLE sessions (
    token_hash       BLOB    NOT NULL PRIMARY KEY,
    id               TEXT    NOT NULL,
    user_id          TEXT    NOT NULL,
    remembered       INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    authenticated_at INTEGER NOT NULL, -- when its owner last proved himself
    last_seen_at     INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    ip               TEXT    NOT NULL,
    user_agent       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX sessions_id ON sessions (id);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires ON sessions (expires_at);
CREATE INDEX sessions_seen ON sessions (last_seen_at);

-- account: what other processes must forget about sessions, in the order of
-- commit; see account/livesessions.go.
CREATE TABLE session_changes (
    epoch      INTEGER NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL,
    at         INTEGER NOT NULL
) STRICT;
CREATE TABLE session_epoch (
    one   INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL
) STRICT;
INSERT INTO session_epoch (one, epoch) VALUES (1, 0);

-- account: budgets against guessing; see account/throttle.go.
CREATE TABLE throttle (
    key BLOB    NOT NULL PRIMARY KEY,
    tat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX throttle_tat ON throttle (tat);

-- account: requests that must have one effect however often they arrive.
CREATE TABLE idempotency (
    key         BLOB    NOT NULL PRIMARY KEY,
    fingerprint BLOB    NOT NULL,
    user_id     TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expires ON idempotency (expires_at);

-- account: facts about the installation.
CREATE TABLE installation (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

-- event: what happened; append-only.
CREATE TABLE events (
    id         TEXT    NOT NULL PRIMARY KEY, -- version 7 UUID
    at         INTEGER NOT NULL,
    action     TEXT    NOT NULL,
    outcome    TEXT    NOT NULL,
    actor_kind TEXT    NOT NULL,
    actor_id   TEXT    NOT NULL,
    target_id  TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    data       TEXT    NOT NULL,
    personal   TEXT,             -- NULL once erased
    salt       BLOB,             -- NULL once erased
    commitment BLOB    NOT NULL, -- SHA-256 of salt and personal
    leaf       BLOB    NOT NULL  -- what a hash chain covers; see event/event.go
) STRICT;
CREATE INDEX events_at ON events (at, id);
CREATE INDEX events_target ON events (target_id, at);
CREATE INDEX events_actor ON events (actor_id, at);

-- outbox: what must leave.
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

-- +goose Down
DROP TABLE outbox;
DROP TABLE events;
DROP TABLE installation;
DROP TABLE idempotency;
DROP TABLE throttle;
DROP TABLE session_epoch;
DROP TABLE session_changes;
DROP TABLE sessions;
DROP TABLE email_changes;
DROP TABLE users;
