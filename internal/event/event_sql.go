package event

import (
	"bytes"
	"database/sql"
	"fmt"

	"github.com/go-json-experiment/json"

	"propusk/internal/db"
)

const insertEvent = `
INSERT INTO events (id, at, action, outcome, actor_kind, actor_id, target_id, request_id, data, personal, salt, commitment, leaf)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`

const eventColumns = `id, at, action, outcome, actor_kind, actor_id, target_id, request_id, data, personal, salt, commitment, leaf`

const listEvents = `
SELECT ` + eventColumns + ` FROM events WHERE target_id = $1 OR $1 = '' ORDER BY id DESC LIMIT $2`

// Two statements, since each has an index of its own.
const (
	eraseAsTarget = `UPDATE events SET personal = NULL, salt = NULL WHERE target_id = $1 AND personal IS NOT NULL`
	eraseAsActor  = `
UPDATE events SET personal = NULL, salt = NULL
WHERE actor_id = $1 AND actor_id <> target_id AND personal IS NOT NULL`
)

const allEvents = `SELECT ` + eventColumns + ` FROM events ORDER BY id`

// scanEvent also tells whether the row is whole.
func scanEvent(scan func(...any) error) (e Event, whole bool, err error) {
	var c canonical
	var data string
	var personal sql.NullString
	var salt, leaf []byte
	err = scan(&c.ID, &c.At, &c.Action, &c.Outcome, &c.ActorKind, &c.ActorID, &c.TargetID, &c.RequestID,
		&data, &personal, &salt, &c.Commitment, &leaf)
	if err != nil {
		return e, false, fmt.Errorf("scan event: %w", err)
	}
	c.Version = 1
	e = Event{ID: c.ID, At: db.Time(c.At), Entry: Entry{
		Action: c.Action, Outcome: c.Outcome, Actor: Actor{Kind: c.ActorKind, ID: c.ActorID},
		TargetID: c.TargetID, RequestID: c.RequestID,
	}}
	if err := json.Unmarshal([]byte(data), &c.Data); err != nil {
		return e, false, nil //nolint:nilerr // a row that was tampered with is an answer, not a fault
	}
	e.Data = c.Data
	canonicalData, want, err := c.leaf()
	if err != nil {
		return e, false, nil //nolint:nilerr // likewise: text that is no UTF-8
	}
	whole = bytes.Equal(leaf, want) && data == string(canonicalData)
	if personal.Valid {
		whole = whole && bytes.Equal(commit(salt, []byte(personal.String)), c.Commitment)
		if err := json.Unmarshal([]byte(personal.String), &e.Personal); err != nil {
			whole = false
		}
	}
	return e, whole, nil
}
