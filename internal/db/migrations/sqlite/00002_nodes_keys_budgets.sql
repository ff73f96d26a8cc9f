-- +goose Up
-- account: the processes that issue sessions; see account/node.go.
CREATE TABLE nodes (
    id    TEXT   NOT NULL PRIMARY KEY,
    beats INTEGER NOT NULL, -- counts on while it lives
    heard INTEGER NOT NULL  -- epoch of the last change among the nodes that it knows of
) STRICT;

-- A user's id, or "nodes", or "keys".
ALTER TABLE session_changes RENAME COLUMN user_id TO subject;

-- account: keys of services. Only the SHA-256 of a key is here.
CREATE TABLE service_keys (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL,
    key_hash   BLOB  NOT NULL,
    scopes     TEXT   NOT NULL, -- with spaces between them
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;
CREATE UNIQUE INDEX service_keys_name ON service_keys (name);
CREATE UNIQUE INDEX service_keys_key_hash ON service_keys (key_hash);

-- account: budgets against guessing, in a form that knows of failures in a row.
-- What the old form holds is over in minutes.
DROP TABLE throttle;
CREATE TABLE throttle (
    key       BLOB  NOT NULL PRIMARY KEY,
    failures  INTEGER NOT NULL, -- in a row
    until     INTEGER NOT NULL, -- no attempt before; of a leaky bucket, when it is full again
    forget_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX throttle_forget ON throttle (forget_at);

-- +goose Down
DROP TABLE throttle;
CREATE TABLE throttle (
    key BLOB  NOT NULL PRIMARY KEY,
    tat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX throttle_tat ON throttle (tat);
DROP TABLE service_keys;
ALTER TABLE session_changes RENAME COLUMN subject TO user_id;
DROP TABLE nodes;
