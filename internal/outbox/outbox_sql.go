package outbox

const insertMessage = `
INSERT INTO outbox (id, kind, subject_id, sealed, created_at, next_attempt_at, attempts, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`

const deleteSubject = `DELETE FROM outbox WHERE subject_id = $1`

const listWaiting = `SELECT id, kind, subject_id, sealed FROM outbox ORDER BY created_at, id LIMIT $1`

const purgeExpired = `
DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`
