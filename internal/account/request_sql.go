package account

const insertRequest = `INSERT INTO requests (id, sealed, created_at) VALUES ($1, $2, $3)`

const countRequests = `SELECT count(*) FROM (SELECT 1 FROM requests LIMIT 1) AS r`

const takeRequest = `DELETE FROM requests WHERE id = (SELECT id FROM requests ORDER BY id LIMIT 1) RETURNING id, sealed`

const purgeRequests = `DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE created_at <= $1 LIMIT $2)`
