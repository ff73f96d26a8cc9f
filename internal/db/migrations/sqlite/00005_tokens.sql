-- +goose Up
-- account: what is given out to be used once: the secret of a link and the short
-- code beside it. Only fingerprints of both are here, and what they are good for
-- is sealed; see account/token.go.
CREATE TABLE tokens (
    id              TEXT    NOT NULL PRIMARY KEY,
    holder          TEXT    NOT NULL, -- a user's id, or that of a registration that waits
    purpose         TEXT    NOT NULL,
    slot            TEXT    NOT NULL, -- of the holder; a new one takes the place of the old one
    token_hash      BLOB    NOT NULL, -- SHA-256
    code_mac        BLOB   ,          -- keyed; NULL where there is no code
    browser_hash    BLOB   ,          -- of what the browser that asked holds
    kept_mac        BLOB   ,          -- keyed, of the address that it keeps for its holder; NULL where it keeps none
    sealed          BLOB    NOT NULL,
    lifetime        INTEGER NOT NULL, -- counted from when it was sent
    code_lifetime   INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    code_expires_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX tokens_token_hash ON tokens (token_hash);
CREATE UNIQUE INDEX tokens_slot ON tokens (slot);
CREATE INDEX tokens_holder ON tokens (holder);
CREATE INDEX tokens_code_mac ON tokens (code_mac);
CREATE INDEX tokens_kept_mac ON tokens (kept_mac) WHERE kept_mac IS NOT NULL;
CREATE INDEX tokens_expires ON tokens (expires_at);

-- account: what strangers have asked for, by the name that they gave. Whether
-- there is such a user is looked up later; see account/request.go.
CREATE TABLE requests (
    id         TEXT    NOT NULL PRIMARY KEY, -- version 7 UUID
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- account: in which language a user is written to, "" where that is not known;
-- how the owner of a session has proved himself, see account/methods.go.
ALTER TABLE users ADD COLUMN language TEXT    NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN methods INTEGER NOT NULL DEFAULT 1;

-- +goose Down
ALTER TABLE sessions DROP COLUMN methods;
ALTER TABLE users DROP COLUMN language;
DROP TABLE requests;
DROP TABLE tokens;
