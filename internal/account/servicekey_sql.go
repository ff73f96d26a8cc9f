package account

const insertKey = `
INSERT INTO service_keys (id, name, key_hash, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`

const selectKeys = `SELECT id, name, key_hash, scopes, created_at, expires_at FROM service_keys ORDER BY created_at, id`

const deleteKey = `DELETE FROM service_keys WHERE id = $1 OR name = $1 RETURNING id, name`

const deleteByToken = `DELETE FROM sessions WHERE token_hash = $1 AND user_id = $2`

const selectKeyName = `SELECT name FROM service_keys WHERE id = $1`
