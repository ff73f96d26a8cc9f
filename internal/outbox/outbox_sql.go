package outbox

const insertMessage = `
INSERT INTO outbox (id, channel, kind, subject_id, lang, ref, recipient_key, sealed,
	created_at, next_attempt_at, claimed_until, attempts, refusals, last_error, expires_at, purge_at, cause)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 0, 0, '', $11, $12, $13)`

const deleteSubject = `DELETE FROM outbox WHERE subject_id = $1 AND sent_at IS NULL`

const anonymiseSubject = `UPDATE outbox SET subject_id = '', ref = '' WHERE subject_id = $1`

const listWaiting = `
SELECT id, channel, kind, subject_id, lang, ref, sealed FROM outbox
WHERE sent_at IS NULL AND failed_at IS NULL ORDER BY seq LIMIT $1`

const purge = `
DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE purge_at <= $1 ORDER BY purge_at LIMIT $2)`

// anythingDue spares an idle service a transaction a second. It names every [Cause],
// since the index has it before the time.
const anythingDue = `
SELECT count(*) FROM (SELECT seq FROM outbox
	WHERE channel = $1 AND cause IN (0, 1, 2, 3) AND sent_at IS NULL AND failed_at IS NULL AND next_attempt_at <= $2 AND claimed_until <= $2 LIMIT 1) AS due`

// anythingLeaving tells whether something is just being sent.
const anythingLeaving = `
SELECT count(*) FROM (SELECT seq FROM outbox
	WHERE sent_at IS NULL AND failed_at IS NULL AND claimed_until > $1 LIMIT 1) AS leaving`

// left is how many of a channel have left since, or are just leaving.
const left = `
SELECT (SELECT count(*) FROM outbox WHERE channel = $1 AND sent_at > $2)
	+ (SELECT count(*) FROM outbox WHERE channel = $1 AND sent_at IS NULL AND failed_at IS NULL AND claimed_until > $3)`

// claim takes what is due, by its [Cause]. Of each recipient and cause it is the
// oldest that waits and nothing else: what is being sent, or put off, holds back
// what came after it; what undoes a change, which no limit holds, holds back all
// that came after it: a later link may be the one that counts. What strangers ask
// for waits for what the owner does, and he for no more of theirs than is just being
// sent, so that both are counted before the next one leaves. And it is nothing while
// too much has gone to the recipient lately: $5 of all that is asked for, $6 of what
// strangers ask for, $5 notices.
//
// MATERIALIZED and OFFSET are for PostgreSQL before it has statistics of a queue that
// has grown all at once: it would look for everything anew for each row that waits,
// and compare each of them with all others, for longer than it may. The condition on
// claimed_until stands twice because it looks at the row again where another process
// has just changed it, and not at the list.
const claim = `
WITH due AS MATERIALIZED (
	SELECT o.seq FROM outbox o
	WHERE o.channel = $1 AND o.sent_at IS NULL AND o.failed_at IS NULL
		AND o.next_attempt_at <= $2 AND o.claimed_until <= $2 AND o.expires_at > $2
		AND NOT EXISTS (SELECT e.seq FROM outbox e WHERE e.recipient_key = o.recipient_key AND e.cause = o.cause AND e.seq < o.seq
			AND e.sent_at IS NULL AND e.failed_at IS NULL AND e.expires_at > $2 LIMIT 1 OFFSET 0)
		AND NOT EXISTS (SELECT e.seq FROM outbox e WHERE e.recipient_key = o.recipient_key AND e.cause = 3 AND e.seq < o.seq
			AND e.sent_at IS NULL AND e.failed_at IS NULL AND e.expires_at > $2 LIMIT 1 OFFSET 0)
		AND (o.cause <> 0 OR NOT EXISTS (SELECT e.seq FROM outbox e WHERE e.recipient_key = o.recipient_key AND e.cause = 1
			AND e.sent_at IS NULL AND e.failed_at IS NULL AND e.expires_at > $2 LIMIT 1 OFFSET 0))
		AND (o.cause <> 1 OR NOT EXISTS (SELECT e.seq FROM outbox e WHERE e.recipient_key = o.recipient_key AND e.cause = 0
			AND e.sent_at IS NULL AND e.failed_at IS NULL AND e.claimed_until > $2 LIMIT 1 OFFSET 0))
		AND (o.cause > 1 OR (SELECT count(*) FROM outbox s WHERE s.recipient_key = o.recipient_key AND s.cause IN (0, 1) AND s.sent_at > $4) < $5)
		AND (o.cause > 0 OR (SELECT count(*) FROM outbox s WHERE s.recipient_key = o.recipient_key AND s.cause = 0 AND s.sent_at > $4) < $6)
		AND (o.cause <> 2 OR (SELECT count(*) FROM outbox s WHERE s.recipient_key = o.recipient_key AND s.cause = 2 AND s.sent_at > $4) < $5)
	ORDER BY o.cause DESC, o.next_attempt_at, o.seq LIMIT $7)
UPDATE outbox SET claimed_until = $3, attempts = attempts + 1
WHERE claimed_until <= $2 AND next_attempt_at <= $2 AND sent_at IS NULL AND failed_at IS NULL AND seq IN (SELECT seq FROM due)
RETURNING id, channel, kind, subject_id, lang, ref, sealed, created_at, attempts, refusals`

// The end of an attempt. It counts only for who has claimed the message last:
// his lease may be over, and another be at it.

const markSent = `
UPDATE outbox SET sent_at = $3, sealed = $4, claimed_until = 0, last_error = '', purge_at = $5
WHERE id = $1 AND attempts = $2 AND sent_at IS NULL AND failed_at IS NULL`

const putOff = `
UPDATE outbox SET next_attempt_at = $3, claimed_until = 0, last_error = $4, refusals = refusals + $5
WHERE id = $1 AND attempts = $2 AND sent_at IS NULL AND failed_at IS NULL`

// What has failed is due no more, so that nobody looks at it again each second.
const markFailed = `
UPDATE outbox SET failed_at = $3, claimed_until = 0, last_error = $4, purge_at = $5, next_attempt_at = $5
WHERE id = $1 AND attempts = $2 AND sent_at IS NULL AND failed_at IS NULL`

const countQueue = `
SELECT count(CASE WHEN failed_at IS NULL THEN 1 END), count(failed_at), COALESCE(min(CASE WHEN failed_at IS NULL THEN created_at END), 0)
FROM outbox WHERE channel = $1 AND sent_at IS NULL AND (failed_at IS NOT NULL OR expires_at > $2)`

const rowColumns = `id, channel, kind, subject_id, lang, ref, sealed, created_at, next_attempt_at, claimed_until, attempts, last_error, sent_at, failed_at, expires_at`

const seqOf = `SELECT seq FROM outbox WHERE id = $1`

const listRows = `SELECT ` + rowColumns + ` FROM outbox WHERE seq > $1 AND sent_at IS NULL ORDER BY seq LIMIT $2`

const listAllRows = `SELECT ` + rowColumns + ` FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2`

const selectRow = `SELECT ` + rowColumns + ` FROM outbox WHERE id = $1`

// A message that is being sent stays with who sends it.
const retry = `
UPDATE outbox SET next_attempt_at = $2, failed_at = NULL, refusals = 0, purge_at = expires_at
WHERE id = $1 AND sent_at IS NULL AND expires_at > $2`

const drop = `DELETE FROM outbox WHERE id = $1 AND sent_at IS NULL`
