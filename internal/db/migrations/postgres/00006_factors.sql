-- +goose Up
-- account: which second factors a user has (account/factor.go), and when they
-- last changed, from when on no device is trusted that was before.
ALTER TABLE users ADD COLUMN factors bigint  NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN factors_changed_at bigint  NOT NULL DEFAULT 0;
-- When the owner of a session last proved himself with a second factor; 0: never.
ALTER TABLE sessions ADD COLUMN strong_at bigint  NOT NULL DEFAULT 0;

-- account: authenticator apps, one for a user. The seed is sealed.
CREATE TABLE totp (
    user_id      text COLLATE "C" NOT NULL PRIMARY KEY,
    sealed       bytea   NOT NULL,
    last_step    bigint  NOT NULL, -- that a code was taken of; no older one is
    created_at   bigint  NOT NULL,
    confirmed_at bigint ,          -- NULL until the first code has come
    last_used_at bigint 
);

-- account: recovery codes that were not used. Only fingerprints are here.
CREATE TABLE recovery_codes (
    code_mac   bytea   NOT NULL PRIMARY KEY,
    user_id    text COLLATE "C" NOT NULL,
    created_at bigint  NOT NULL
);
CREATE INDEX recovery_codes_user ON recovery_codes (user_id);

-- account: passkeys (WebAuthn credentials). Public keys are no secret.
CREATE TABLE passkeys (
    id              text COLLATE "C" NOT NULL PRIMARY KEY,
    user_id         text COLLATE "C" NOT NULL,
    credential_id   bytea   NOT NULL,
    public_key      bytea   NOT NULL, -- COSE
    name            text COLLATE "C" NOT NULL, -- the user's own
    aaguid          bytea   NOT NULL,
    attestation     text COLLATE "C" NOT NULL, -- its format
    transports      text COLLATE "C" NOT NULL, -- with spaces between them
    sign_count      bigint  NOT NULL,
    user_verified   bigint  NOT NULL, -- at some time
    backup_eligible bigint  NOT NULL,
    backed_up       bigint  NOT NULL,
    created_at      bigint  NOT NULL,
    last_used_at    bigint 
);
CREATE UNIQUE INDEX passkeys_credential_id ON passkeys (credential_id);
CREATE INDEX passkeys_user ON passkeys (user_id);

-- +goose Down
DROP TABLE passkeys;
DROP TABLE recovery_codes;
DROP TABLE totp;
ALTER TABLE sessions DROP COLUMN strong_at;
ALTER TABLE users DROP COLUMN factors_changed_at;
ALTER TABLE users DROP COLUMN factors;
