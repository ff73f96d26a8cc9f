package account

const insertSession = `
INSERT INTO sessions (token_hash, id, user_id, remembered, created_at, authenticated_at, last_seen_at, expires_at, ip, user_agent, methods, strong_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`

const replaceToken = `
UPDATE sessions SET token_hash = $1, authenticated_at = $2, last_seen_at = $2, methods = methods | $4,
strong_at = CASE WHEN strong_at < $5 THEN $5 ELSE strong_at END, expires_at = CASE WHEN expires_at > $6 THEN $6 ELSE expires_at END
WHERE token_hash = $3 AND expires_at > $2 RETURNING remembered, created_at, expires_at, methods, strong_at`

const sessionColumns = `
s.token_hash, s.id, s.user_id, u.user_role, s.remembered, s.created_at, s.authenticated_at, s.last_seen_at, s.expires_at, s.methods, s.strong_at`

// A disabled user has no live session, whatever rows there are.
const selectSession = `
SELECT ` + sessionColumns + ` FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.token_hash = $1 AND u.disabled_at IS NULL`

const selectSessionsOf = `
SELECT ` + sessionColumns + `, s.ip, s.user_agent FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.user_id = $1 AND u.disabled_at IS NULL`

const selectSessionsPage = `
SELECT ` + sessionColumns + ` FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.token_hash > $1 AND u.disabled_at IS NULL ORDER BY s.token_hash LIMIT $2`

const confirmSession = `
UPDATE sessions SET last_seen_at = last_seen_at WHERE token_hash = $1 AND user_id = $2 AND expires_at > $3
AND EXISTS (SELECT 1 FROM users WHERE id = $2 AND disabled_at IS NULL AND user_role = $4)`

const deleteSession = `DELETE FROM sessions WHERE id = $1 AND user_id = $2`

const deleteExpired = `DELETE FROM sessions WHERE token_hash = $1 AND (expires_at <= $2 OR last_seen_at <= $3)`

const deleteSessionsOf = `DELETE FROM sessions WHERE user_id = $1 AND id <> $2`

// Those without a second factor.
const deleteWeakSessions = `DELETE FROM sessions WHERE user_id = $1 AND strong_at = 0`

// Those of them, save $3, that were begun in the ways $2.
const deleteWeakSessionsBy = deleteWeakSessions + ` AND (methods & $2) <> 0 AND id <> $3`

// All but the newest $2.
const deleteOldest = `
DELETE FROM sessions WHERE token_hash IN
(SELECT token_hash FROM sessions WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1000 OFFSET $2)`

// The same for those with a second factor, which have a limit of their own.
const purgeIdleStrong = `
DELETE FROM sessions WHERE token_hash IN (SELECT token_hash FROM sessions WHERE last_seen_at <= $1 AND strong_at > 0 LIMIT $2)`

const updateLastSeen = `UPDATE sessions SET last_seen_at = $1 WHERE token_hash = $2 AND last_seen_at < $1`

const nextEpoch = `UPDATE session_epoch SET epoch = epoch + 1 WHERE one = 1 RETURNING epoch`

const insertSessionChange = `INSERT INTO session_changes (epoch, subject, at) VALUES ($1, $2, $3)`

const selectEpoch = `SELECT epoch FROM session_epoch WHERE one = 1`

const selectSessionChanges = `SELECT epoch, subject FROM session_changes WHERE epoch > $1 ORDER BY epoch`

const purgeSessions = `
DELETE FROM sessions WHERE token_hash IN (SELECT token_hash FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`

const purgeIdleSessions = `
DELETE FROM sessions WHERE token_hash IN (SELECT token_hash FROM sessions WHERE last_seen_at <= $1 LIMIT $2)`

const purgeSessionChanges = `
DELETE FROM session_changes WHERE epoch IN (SELECT epoch FROM session_changes WHERE at <= $1 ORDER BY epoch LIMIT $2)`
