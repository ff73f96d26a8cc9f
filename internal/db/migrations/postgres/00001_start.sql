-- +goose Up
-- Times are microseconds since 1970 in UTC. A unique index is named
-- table_column, the name by which db.ConflictError reports it on both engines.

-- account: who there is.
CREATE TABLE users (
    id                         text COLLATE "C" NOT NULL PRIMARY KEY,
    email                      text COLLATE "C" NOT NULL, -- as typed
    email_key                  text COLLATE "C" NOT NULL, -- as compared
    email_verified_at          bigint,
    username                   text COLLATE "C" NOT NULL,
    username_key               text COLLATE "C" NOT NULL,
    contact_number             text COLLATE "C",             -- E.164
    contact_number_verified_at bigint,
    user_type                  text COLLATE "C" NOT NULL,
    user_role                  text COLLATE "C" NOT NULL,
    password_hash              text COLLATE "C",             -- PHC string
    password_changed_at        bigint,
    disabled_at                bigint,
    proved_at                  bigint,
    version                    bigint NOT NULL, -- counts changes; the ETag
    created_at                 bigint NOT NULL,
    updated_at                 bigint NOT NULL
);
CREATE UNIQUE INDEX users_email_key ON users (email_key);
CREATE UNIQUE INDEX users_username_key ON users (username_key);
-- A number that nobody has proven claims nothing; a proven one has one owner.
CREATE UNIQUE INDEX users_contact_number ON users (contact_number) WHERE contact_number_verified_at IS NOT NULL;
CREATE INDEX users_created ON users (created_at, id);

-- account: a proven address gives way only to another that is proven.
CREATE TABLE email_changes (
    user_id    text COLLATE "C" NOT NULL PRIMARY KEY,
    email      text COLLATE "C" NOT NULL,
    email_key  text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX email_changes_expires ON email_changes (expires_at);

-- account: who is logged in. Only the SHA-256 of a token is here.
CREATE TABLE sessions (
    token_hash       bytea NOT NULL PRIMARY KEY,
    id               text COLLATE "C" NOT NULL,
    user_id          text COLLATE "C" NOT NULL,
    remembered       bigint NOT NULL,
    created_at       bigint NOT NULL,
    authenticated_at bigint NOT NULL, -- when its owner last proved himself
    last_seen_at     bigint NOT NULL,
    expires_at       bigint NOT NULL,
    ip               text COLLATE "C" NOT NULL,
    user_agent       text COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX sessions_id ON sessions (id);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires ON sessions (expires_at);
CREATE INDEX sessions_seen ON sessions (last_seen_at);

-- account: what other processes must forget about sessions, in the order of
-- commit; see account/livesessions.go.
CREATE TABLE session_changes (
    epoch      bigint NOT NULL PRIMARY KEY,
    user_id    text COLLATE "C" NOT NULL,
    at         bigint NOT NULL
);
CREATE TABLE session_epoch (
    one   bigint NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch bigint NOT NULL
);
INSERT INTO session_epoch (one, epoch) VALUES (1, 0);

-- account: budgets against guessing; see account/throttle.go.
CREATE TABLE throttle (
    key bytea NOT NULL PRIMARY KEY,
    tat bigint NOT NULL
);
CREATE INDEX throttle_tat ON throttle (tat);

-- account: requests that must have one effect however often they arrive.
CREATE TABLE idempotency (
    key         bytea NOT NULL PRIMARY KEY,
    fingerprint bytea NOT NULL,
    user_id     text COLLATE "C" NOT NULL,
    expires_at  bigint NOT NULL
);
CREATE INDEX idempotency_expires ON idempotency (expires_at);

-- account: facts about the installation.
CREATE TABLE installation (
    name  text COLLATE "C" NOT NULL PRIMARY KEY,
    value bytea NOT NULL
);

-- event: what happened; append-only.
CREATE TABLE events (
    id         text COLLATE "C" NOT NULL PRIMARY KEY, -- version 7 UUID
    at         bigint NOT NULL,
    action     text COLLATE "C" NOT NULL,
    outcome    text COLLATE "C" NOT NULL,
    actor_kind text COLLATE "C" NOT NULL,
    actor_id   text COLLATE "C" NOT NULL,
    target_id  text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    data       text COLLATE "C" NOT NULL,
    personal   text COLLATE "C",             -- NULL once erased
    salt       bytea,             -- NULL once erased
    commitment bytea NOT NULL, -- SHA-256 of salt and personal
    leaf       bytea NOT NULL  -- what a hash chain covers; see event/event.go
);
CREATE INDEX events_at ON events (at, id);
CREATE INDEX events_target ON events (target_id, at);
CREATE INDEX events_actor ON events (actor_id, at);

-- outbox: what must leave.
CREATE TABLE outbox (
    id              text COLLATE "C" NOT NULL PRIMARY KEY, -- version 7 UUID
    kind            text COLLATE "C" NOT NULL,
    subject_id      text COLLATE "C" NOT NULL,
    sealed          bytea NOT NULL,
    created_at      bigint NOT NULL,
    next_attempt_at bigint NOT NULL,
    attempts        bigint NOT NULL,
    expires_at      bigint NOT NULL
);
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
