package account

// $1 key, $2 now + every, $3 every, $4 now, $5 now + every × size: the state of
// an empty bucket, $6 the same with some slack. What lies beyond that was written
// by a clock that has been set back since. It must shut nobody out for as long as
// the clock was wrong: one attempt is let through, and leaves the bucket empty.
const takeFromBucket = `
INSERT INTO throttle (key, failures, until, forget_at) VALUES ($1, 0, $2, $2)
ON CONFLICT (key) DO UPDATE SET
until = CASE
WHEN throttle.until > $6 THEN $5
WHEN throttle.until > $4 THEN throttle.until + $3
ELSE $2 END,
forget_at = CASE
WHEN throttle.until > $6 THEN $5
WHEN throttle.until > $4 THEN throttle.until + $3
ELSE $2 END
WHERE throttle.until + $3 <= $5 OR throttle.until > $6`

// $1 key, $2 now, $3 size, $4 the first wait, $5 the longest, $6 now + $5, $7 when
// the second attempt may be made, $8 and $9 when some and many failures are
// forgotten, $10 now with some slack. The wait is $4 after the last of size
// failures, and then grows with the square: 4, 9, 16 times as long. One that is
// longer than that was written by a clock that has been set back since, and lets
// an attempt through.
const takeGrowing = `
INSERT INTO throttle (key, failures, until, forget_at) VALUES ($1, 1, $7, $8)
ON CONFLICT (key) DO UPDATE SET
failures = CASE WHEN throttle.forget_at <= $2 THEN 1 ELSE throttle.failures + 1 END,
until = CASE
WHEN throttle.forget_at <= $2 THEN $7
WHEN throttle.failures + 1 < $3 THEN $2
WHEN (throttle.failures + 2 - $3) * (throttle.failures + 2 - $3) * $4 >= $5 THEN $6
ELSE $2 + (throttle.failures + 2 - $3) * (throttle.failures + 2 - $3) * $4 END,
forget_at = CASE WHEN throttle.forget_at <= $2 OR throttle.failures + 1 < $3 THEN $8 ELSE $9 END
WHERE throttle.failures < $3 OR throttle.until <= $2 OR throttle.forget_at <= $2 OR throttle.until > CASE
WHEN throttle.failures < $3 THEN $10
WHEN (throttle.failures + 1 - $3) * (throttle.failures + 1 - $3) * $4 >= $5 THEN $10 + $5
ELSE $10 + (throttle.failures + 1 - $3) * (throttle.failures + 1 - $3) * $4 END`

// $1 key, $2 now, $3 the ceiling, $4 and $5 when some and many failures are
// forgotten, $6 how many are many.
const takeBelowCeiling = `
INSERT INTO throttle (key, failures, until, forget_at) VALUES ($1, 1, $2, $4)
ON CONFLICT (key) DO UPDATE SET
failures = CASE WHEN throttle.forget_at <= $2 THEN 1 ELSE throttle.failures + 1 END,
forget_at = CASE WHEN throttle.forget_at <= $2 OR throttle.failures + 1 < $6 THEN $4 ELSE $5 END
WHERE throttle.failures < $3 OR throttle.forget_at <= $2`

const selectUntil = `SELECT until FROM throttle WHERE key = $1`

const selectFailures = `SELECT failures FROM throttle WHERE key = $1`

const clearBudget = `DELETE FROM throttle WHERE key = $1`

const clearBudgets = `DELETE FROM throttle`

const returnToBucket = `UPDATE throttle SET until = until - $2, forget_at = forget_at - $2 WHERE key = $1`

const uncountFailure = `UPDATE throttle SET failures = failures - 1, until = $2 WHERE key = $1 AND failures > 0`

const purgeThrottle = `
DELETE FROM throttle WHERE key IN (SELECT key FROM throttle WHERE forget_at <= $1 ORDER BY forget_at LIMIT $2)`
