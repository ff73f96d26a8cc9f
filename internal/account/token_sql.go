package account

const insertToken = `
INSERT INTO tokens (id, holder, purpose, slot, token_hash, code_mac, browser_hash, kept_mac, sealed, lifetime, code_lifetime, created_at, expires_at, code_expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (slot) DO UPDATE SET id = $1, holder = $2, purpose = $3, token_hash = $5, code_mac = $6, browser_hash = $7, kept_mac = $8, sealed = $9,
lifetime = $10, code_lifetime = $11, created_at = $12, expires_at = $13, code_expires_at = $14`

const endCodeInSlot = `UPDATE tokens SET slot = slot || ' ' || id, code_mac = NULL WHERE slot = $1`

const (
	tokenByHash = `WHERE token_hash = $1 AND purpose IN ($2, $3) AND expires_at > $4 AND (browser_hash IS NULL OR browser_hash = $5)`
	tokenByCode = `WHERE purpose = $1 AND code_mac = $2 AND code_expires_at > $3`
)

const tokenColumns = `id, holder, purpose, sealed, created_at`

const (
	selectByHash  = `SELECT ` + tokenColumns + ` FROM tokens ` + tokenByHash
	selectByCode  = `SELECT ` + tokenColumns + ` FROM tokens ` + tokenByCode
	consumeByHash = `DELETE FROM tokens ` + tokenByHash + ` RETURNING ` + tokenColumns
	consumeByCode = `DELETE FROM tokens WHERE id = (SELECT id FROM tokens ` + tokenByCode + ` ORDER BY created_at DESC, id LIMIT 1) RETURNING ` + tokenColumns
)

const selectLoginBrowser = `
SELECT CASE WHEN browser_hash IS NULL OR browser_hash = $4 THEN 1 ELSE 0 END FROM tokens WHERE token_hash = $1 AND purpose = $2 AND expires_at > $3`

// $1 now. Only the first message that is sent counts: it makes the time shorter
// than a message may wait, and a later one would make it longer.
const startToken = `
UPDATE tokens SET
expires_at = CASE WHEN $1 + lifetime < expires_at THEN $1 + lifetime ELSE expires_at END,
code_expires_at = CASE WHEN $1 + code_lifetime < code_expires_at THEN $1 + code_lifetime ELSE code_expires_at END
WHERE id = $2`

const deleteTokensOf = `DELETE FROM tokens WHERE holder = $1 AND purpose <> $2`

const countKept = `SELECT count(*) FROM tokens WHERE kept_mac = $1 AND holder <> $2 AND expires_at > $3`

const deleteTokensSince = `DELETE FROM tokens WHERE holder = $1 AND purpose = $2 AND created_at >= $3`

const deleteChallenge = `DELETE FROM tokens WHERE token_hash = $1 AND purpose LIKE $2`

const deleteTokensFor = `DELETE FROM tokens WHERE holder = $1 AND purpose = $2`

const purgeTokens = `DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`
