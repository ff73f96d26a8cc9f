// Package outbox is what must leave: a durable queue, written in the
// transaction of the change that causes it. A message's content is sealed under
// the master key, for a queued link is a credential, and bound to its row.
//
// Delivery is not part of this version: messages wait, and are dropped when
// they expire.
package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// Kind names the template of a message.
type Kind string

// The messages that exist.
const (
	EmailChangeRequested Kind = "email_change_requested" // to the address that is to be replaced
	EmailChangeConfirm   Kind = "email_change_confirm"   // to the address that is to replace it
	PasswordChanged      Kind = "password_changed"
)

// lifetime is how long a message is worth sending.
const lifetime = 7 * 24 * time.Hour

const sealPurpose = "outbox"

// Message is one mail to one address.
type Message struct {
	Kind      Kind
	SubjectID string // the user whom it is about
	To        string
	Data      map[string]string
}

// content is what is sealed.
type content struct {
	To   string            `json:"to"`
	Data map[string]string `json:"data"`
}

// Enqueue writes m into the queue, in the transaction of what causes it.
func Enqueue(ctx context.Context, tx *db.Tx, keys *secret.Keys, now time.Time, m Message) error {
	plain, err := json.Marshal(content{To: m.To, Data: m.Data}, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", m.Kind, err)
	}
	id := secret.NewOrderedID(now)
	_, err = tx.Exec(ctx, insertMessage, id, string(m.Kind), m.SubjectID, keys.Seal(sealPurpose, bound(id, m), plain),
		db.Micros(now), db.Micros(now), 0, db.Micros(now.Add(lifetime)))
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", m.Kind, err)
	}
	return nil
}

// bound ties the sealed content to its row: it opens in no other.
func bound(id string, m Message) string { return id + "/" + string(m.Kind) + "/" + m.SubjectID }

// Forget drops what waits for a user who is no more.
func Forget(ctx context.Context, tx *db.Tx, subjectID string) error {
	if _, err := tx.Exec(ctx, deleteSubject, subjectID); err != nil {
		return fmt.Errorf("forget messages: %w", err)
	}
	return nil
}

// Waiting gives what is queued, oldest first, at most limit.
func Waiting(ctx context.Context, q db.Querier, keys *secret.Keys, limit int) ([]Message, error) {
	var out []Message
	err := q.Query(ctx, listWaiting, []any{limit}, func(scan func(...any) error) error {
		var id string
		var sealed []byte
		var m Message
		if err := scan(&id, &m.Kind, &m.SubjectID, &sealed); err != nil {
			return err
		}
		plain, err := keys.Open(sealPurpose, bound(id, m), sealed)
		if err != nil {
			return err
		}
		var c content
		if err := json.Unmarshal(plain, &c); err != nil {
			return err
		}
		m.To, m.Data = c.To, c.Data
		out = append(out, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list outbox: %w", err)
	}
	return out, nil
}

// Purge drops expired messages, at most limit, and gives their number.
func Purge(ctx context.Context, d *db.DB, now time.Time, limit int) (int64, error) {
	n, err := d.Exec(ctx, purgeExpired, db.Micros(now), limit)
	if err != nil {
		return 0, fmt.Errorf("purge outbox: %w", err)
	}
	return n, nil
}
