package account

// $1 key, $2 now + every, $3 every, $4 now, $5 now + every × size: the state of
// an empty budget, $6 the same with some slack. What lies beyond that was written
// by a clock that has been set back since. It must shut nobody out for as long as
// the clock was wrong: one attempt is let through, and leaves the budget empty.
const takeAttempt = `
INSERT INTO throttle (key, tat) VALUES ($1, $2)
ON CONFLICT (key) DO UPDATE SET tat = CASE
WHEN throttle.tat > $6 THEN $5
WHEN throttle.tat > $4 THEN throttle.tat + $3
ELSE $2 END
WHERE throttle.tat + $3 <= $5 OR throttle.tat > $6`

const selectBudget = `SELECT tat FROM throttle WHERE key = $1`

const clearBudget = `DELETE FROM throttle WHERE key = $1`

const returnAttempt = `UPDATE throttle SET tat = tat - $2 WHERE key = $1`

const purgeThrottle = `
DELETE FROM throttle WHERE key IN (SELECT key FROM throttle WHERE tat <= $1 ORDER BY tat LIMIT $2)`
