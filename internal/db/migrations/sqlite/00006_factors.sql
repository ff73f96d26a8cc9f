-- +goose Up
-- account: which second factors a user has (account/factor.go), and when they
-- last changed, from when on no device is trusted that was before.
ALTER TABLE users ADD COLUMN factors INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN factors_changed_at INTEGER NOT NULL DEFAULT 0;
-- When the owner of a session last proved himself with a second factor; 0: never.
ALTER TABLE sessions ADD COLUMN strong_at INTEGER NOT NULL DEFAULT 0;

-- account: authenticator apps, one for a user. The seed is sealed.
CREATE TABLE totp (
    user_id      TEXT    NOT NULL PRIMARY KEY,
    sealed       BLOB    NOT NULL,
    last_step    INTEGER NOT NULL, -- that a code was taken of; no older one is
    created_at   INTEGER NOT NULL,
    confirmed_at INTEGER,          -- NULL until the first code has come
    last_used_at INTEGER
) STRICT;

-- account: recovery codes that were not used. Only fingerprints are here.
CREATE TABLE recovery_codes (
    code_mac   BLOB    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX recovery_codes_user ON recovery_codes (user_id);

-- account: passkeys (WebAuthn credentials). Public keys are no secret.
CREATE TABLE passkeys (
    id              TEXT    NOT NULL PRIMARY KEY,
    user_id         TEXT    NOT NULL,
    credential_id   BLOB    NOT NULL,
    public_key      BLOB    NOT NULL, -- COSE
    name            TEXT    NOT NULL, -- the user's own
    aaguid          BLOB    NOT NULL,
    attestation     TEXT    NOT NULL, -- its format
    transports      TEXT    NOT NULL, -- with spaces between them
    sign_count      INTEGER NOT NULL,
    user_verified   INTEGER NOT NULL, -- at some time
    backup_eligible INTEGER NOT NULL,
    backed_up       INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    last_used_at    INTEGER
) STRICT;
CREATE UNIQUE INDEX passkeys_credential_id ON passkeys (credential_id);
CREATE INDEX passkeys_user ON passkeys (user_id);

-- +goose Down
DROP TABLE passkeys;
DROP TABLE recovery_codes;
DROP TABLE totp;
ALTER TABLE sessions DROP COLUMN strong_at;
ALTER TABLE users DROP COLUMN factors_changed_at;
ALTER TABLE users DROP COLUMN factors;
