package account

// An app that was not confirmed gives way to a new one; one that was does not.
const upsertTOTP = `
INSERT INTO totp (user_id, sealed, last_step, created_at, confirmed_at, last_used_at) VALUES ($1, $2, 0, $3, NULL, NULL)
ON CONFLICT (user_id) DO UPDATE SET sealed = $2, last_step = 0, created_at = $3 WHERE totp.confirmed_at IS NULL`

const (
	selectNewTOTP   = `SELECT sealed FROM totp WHERE user_id = $1 AND confirmed_at IS NULL`
	selectTOTP      = `SELECT sealed FROM totp WHERE user_id = $1 AND confirmed_at IS NOT NULL`
	selectTOTPTimes = `SELECT confirmed_at, coalesce(last_used_at, 0) FROM totp WHERE user_id = $1 AND confirmed_at IS NOT NULL`
)

const confirmNewTOTP = `
UPDATE totp SET confirmed_at = $3, last_used_at = $3, last_step = $2 WHERE user_id = $1 AND confirmed_at IS NULL`

const useTOTPStep = `
UPDATE totp SET last_step = $2, last_used_at = $3 WHERE user_id = $1 AND confirmed_at IS NOT NULL AND last_step < $2`

// One that was not confirmed is none yet.
const deleteConfirmedTOTP = `DELETE FROM totp WHERE user_id = $1 AND confirmed_at IS NOT NULL`

const deleteTOTP = `DELETE FROM totp WHERE user_id = $1`

const insertRecoveryCode = `INSERT INTO recovery_codes (code_mac, user_id, created_at) VALUES ($1, $2, $3)`

const useRecoveryCode = `DELETE FROM recovery_codes WHERE code_mac = $1 AND user_id = $2`

const countRecoveryCodes = `SELECT count(*) FROM recovery_codes WHERE user_id = $1`

const deleteRecoveryCodes = `DELETE FROM recovery_codes WHERE user_id = $1`

// What was added at $2 or later. An app counts from its first code on.
const (
	deleteTOTPSince          = `DELETE FROM totp WHERE user_id = $1 AND confirmed_at >= $2`
	deletePasskeysSince      = `DELETE FROM passkeys WHERE user_id = $1 AND created_at >= $2 RETURNING id, name`
	deleteRecoveryCodesSince = `DELETE FROM recovery_codes WHERE user_id = $1 AND created_at >= $2`
)

// Somebody has seen its seed, and it counts for nothing yet.
const deleteNewTOTP = `DELETE FROM totp WHERE user_id = $1 AND confirmed_at IS NULL`

const deletePasskeys = `DELETE FROM passkeys WHERE user_id = $1`

// The bits are those of factorSet.
const recountFactors = `
UPDATE users SET factors_changed_at = $2, factors = (factors & 4)
+ CASE WHEN EXISTS (SELECT 1 FROM totp WHERE user_id = $1 AND confirmed_at IS NOT NULL) THEN 1 ELSE 0 END
+ CASE WHEN EXISTS (SELECT 1 FROM passkeys WHERE user_id = $1) THEN 2 ELSE 0 END
WHERE id = $1`

// Recovery codes stand in for other factors: without any they are worth nothing.
const deleteOrphanedCodes = `
DELETE FROM recovery_codes WHERE user_id = $1 AND EXISTS (SELECT 1 FROM users WHERE id = $1 AND factors & 3 = 0)`

const (
	updateFactorRequired = `UPDATE users SET factors = factors | $3, version = version + 1, updated_at = $2 WHERE id = $1 AND factors & $3 = 0`
	updateFactorFree     = `UPDATE users SET factors = factors - $3, version = version + 1, updated_at = $2 WHERE id = $1 AND factors & $3 <> 0`
)
