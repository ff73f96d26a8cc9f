package account

const selectIdempotency = `SELECT fingerprint, user_id FROM idempotency WHERE key = $1 AND expires_at > $2`

// An expired claim is taken over; a live one is not, and no row is touched.
const insertIdempotency = `
INSERT INTO idempotency (key, fingerprint, user_id, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO UPDATE SET fingerprint = $2, user_id = $3, expires_at = $4 WHERE idempotency.expires_at <= $5`

const deleteIdempotencyOf = `DELETE FROM idempotency WHERE user_id = $1`

const purgeIdempotency = `
DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`
