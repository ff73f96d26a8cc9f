-- +goose Up
-- account: the processes that issue sessions; see account/node.go.
CREATE TABLE nodes (
    id    text COLLATE "C"   NOT NULL PRIMARY KEY,
    beats bigint NOT NULL, -- counts on while it lives
    heard bigint NOT NULL  -- epoch of the last change among the nodes that it knows of
);

-- A user's id, or "nodes", or "keys".
ALTER TABLE session_changes RENAME COLUMN user_id TO subject;

-- account: keys of services. Only the SHA-256 of a key is here.
CREATE TABLE service_keys (
    id         text COLLATE "C"   NOT NULL PRIMARY KEY,
    name       text COLLATE "C"   NOT NULL,
    key_hash   bytea  NOT NULL,
    scopes     text COLLATE "C"   NOT NULL, -- with spaces between them
    created_at bigint NOT NULL,
    expires_at bigint
);
CREATE UNIQUE INDEX service_keys_name ON service_keys (name);
CREATE UNIQUE INDEX service_keys_key_hash ON service_keys (key_hash);

-- account: budgets against guessing, in a form that knows of failures in a row.
-- What the old form holds is over in minutes.
DROP TABLE throttle;
CREATE TABLE throttle (
    key       bytea  NOT NULL PRIMARY KEY,
    failures  bigint NOT NULL, -- in a row
    until     bigint NOT NULL, -- no attempt before; of a leaky bucket, when it is full again
    forget_at bigint NOT NULL
);
CREATE INDEX throttle_forget ON throttle (forget_at);

-- +goose Down
DROP TABLE throttle;
CREATE TABLE throttle (
    key bytea  NOT NULL PRIMARY KEY,
    tat bigint NOT NULL
);
CREATE INDEX throttle_tat ON throttle (tat);
DROP TABLE service_keys;
ALTER TABLE session_changes RENAME COLUMN subject TO user_id;
DROP TABLE nodes;
