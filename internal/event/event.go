// Package event is the trail of what happened: one entry for every change,
// written in the transaction of the change itself. There is no change without
// its entry and no entry without its change.
//
// Entries are append-only. Each carries a leaf: the SHA-256 of its canonical
// form, which is what a hash chain over the trail will cover. Personal data (an
// address on the network, a user agent) is not in the leaf itself but in a
// salted commitment to it, so it can be erased later and the leaf still holds.
package event

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// Action is what happened, as "thing.happened".
type Action string

// Outcome is how it ended.
type Outcome string

// The outcomes.
const (
	Success Outcome = "success"
	Failure Outcome = "failure" // tried and refused
)

// Actor is who did it.
type Actor struct {
	Kind string // "anonymous", "user", "operator", "network", "system"
	ID   string // of the user; "" where there is none
}

// Entry is what a rule records. It holds ids, never names, addresses or secrets.
type Entry struct {
	Action    Action
	Outcome   Outcome
	Actor     Actor
	TargetID  string // the user whom it concerns; "" where there is none
	RequestID string
	Data      map[string]string // further facts: ids, names of fields, codes
	Personal  Personal
}

// Personal is what of an entry can be erased.
type Personal struct {
	IP        string `json:"ip,omitzero"`
	UserAgent string `json:"user_agent,omitzero"`
}

// Event is an entry as it stands in the trail.
type Event struct {
	ID string
	At time.Time
	Entry
}

// canonical is what a leaf is the hash of. The order of its fields, and of
// Data's keys, is part of the format: never change it, add a version.
type canonical struct {
	Version    int               `json:"v"`
	ID         string            `json:"id"`
	At         int64             `json:"at"`
	Action     Action            `json:"action"`
	Outcome    Outcome           `json:"outcome"`
	ActorKind  string            `json:"actor_kind"`
	ActorID    string            `json:"actor_id"`
	TargetID   string            `json:"target_id"`
	RequestID  string            `json:"request_id"`
	Data       map[string]string `json:"data"`
	Commitment []byte            `json:"commitment"`
}

// Record writes e into the trail, in the transaction of what it tells of.
func Record(ctx context.Context, tx *db.Tx, now time.Time, e Entry) error {
	personal, err := json.Marshal(e.Personal)
	if err != nil {
		return fmt.Errorf("record %s: %w", e.Action, err)
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails: crypto/rand ends the program instead
	c := canonical{
		Version: 1, ID: secret.NewOrderedID(now), At: db.Micros(now),
		Action: e.Action, Outcome: e.Outcome, ActorKind: e.Actor.Kind, ActorID: e.Actor.ID,
		TargetID: e.TargetID, RequestID: e.RequestID, Data: e.Data, Commitment: commit(salt, personal),
	}
	data, leaf, err := c.leaf()
	if err != nil {
		return fmt.Errorf("record %s: %w", e.Action, err)
	}
	_, err = tx.Exec(ctx, insertEvent, c.ID, c.At, string(c.Action), string(c.Outcome), c.ActorKind, c.ActorID,
		c.TargetID, c.RequestID, string(data), string(personal), salt, c.Commitment, leaf)
	if err != nil {
		return fmt.Errorf("record %s: %w", e.Action, err)
	}
	return nil
}

func commit(salt, personal []byte) []byte {
	h := sha256.New()
	h.Write(salt)
	h.Write(personal)
	return h.Sum(nil)
}

func (c canonical) leaf() (data jsontext.Value, leaf []byte, err error) {
	if c.Data == nil {
		c.Data = map[string]string{}
	}
	if data, err = json.Marshal(c.Data, json.Deterministic(true)); err != nil {
		return nil, nil, err
	}
	b, err := json.Marshal(c, json.Deterministic(true))
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(b)
	return data, sum[:], nil
}

// List gives the newest entries that concern the user (all users' when userID
// is ""), newest first, at most limit.
func List(ctx context.Context, q db.Querier, userID string, limit int) ([]Event, error) {
	var out []Event
	err := q.Query(ctx, listEvents, []any{userID, limit}, func(scan func(...any) error) error {
		e, _, err := scanEvent(scan)
		out = append(out, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return out, nil
}

// Erase takes the personal data out of every entry that concerns the user or
// that he caused. The entries themselves, and their leaves, stay.
func Erase(ctx context.Context, tx *db.Tx, userID string) error {
	for _, sql := range []string{eraseAsTarget, eraseAsActor} {
		if _, err := tx.Exec(ctx, sql, userID); err != nil {
			return fmt.Errorf("erase personal data: %w", err)
		}
	}
	return nil
}

// Verify checks that every entry still is what was written: its leaf covers
// it, and its personal data, where not erased, is what the leaf commits to. It
// gives the number of entries, and the id of the first that was changed ("" if
// none was).
func Verify(ctx context.Context, q db.Querier) (n int, changed string, err error) {
	err = q.Query(ctx, allEvents, nil, func(scan func(...any) error) error {
		e, whole, err := scanEvent(scan)
		if err != nil {
			return err
		}
		n++
		if !whole && changed == "" {
			changed = e.ID
		}
		return nil
	})
	if err != nil {
		return n, changed, fmt.Errorf("verify events: %w", err)
	}
	return n, changed, nil
}
