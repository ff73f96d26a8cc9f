package account

// $1 key, $2 now + every, $3 every, $4 now, $5 now + every × size.
const takeAttempt = `
INSERT INTO throttle (key, tat) VALUES ($1, $2)
ON CONFLICT (key) DO UPDATE SET tat = CASE WHEN throttle.tat > $4 THEN throttle.tat + $3 ELSE $2 END
WHERE throttle.tat + $3 <= $5`

const selectBudget = `SELECT tat FROM throttle WHERE key = $1`

const clearBudget = `DELETE FROM throttle WHERE key = $1`

const returnAttempt = `UPDATE throttle SET tat = tat - $2 WHERE key = $1`

const purgeThrottle = `
DELETE FROM throttle WHERE key IN (SELECT key FROM throttle WHERE tat <= $1 ORDER BY tat LIMIT $2)`
