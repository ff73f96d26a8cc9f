package account

const passkeyColumns = `
id, user_id, credential_id, public_key, name, aaguid, attestation, transports, sign_count, user_verified, backup_eligible, backed_up, created_at, last_used_at`

const selectPasskeys = `SELECT ` + passkeyColumns + ` FROM passkeys WHERE user_id = $1 ORDER BY created_at, id`

const selectPasskeyOwner = `SELECT user_id FROM passkeys WHERE credential_id = $1`

const selectPasskeyName = `SELECT name FROM passkeys WHERE user_id = $1 AND id = $2`

// One that is there already, whoever's it is, stays.
const insertPasskey = `
INSERT INTO passkeys (` + passkeyColumns + `)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (credential_id) DO NOTHING`

const usePasskeyRow = `
UPDATE passkeys SET sign_count = $3, user_verified = $4, backed_up = $5, last_used_at = $6 WHERE user_id = $1 AND id = $2`

const renamePasskey = `UPDATE passkeys SET name = $3 WHERE user_id = $1 AND id = $2`

const deletePasskey = `DELETE FROM passkeys WHERE user_id = $1 AND id = $2`
