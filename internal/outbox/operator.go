package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// State is what has become of a message.
type State string

// The states.
const (
	StateWaiting State = "waiting"
	StateSending State = "sending"
	StateSent    State = "sent" // the row is kept a while, for the limits
	StateFailed  State = "failed"
	StateExpired State = "expired" // and about to be swept away
)

// Why an operator's wish is not done.
var (
	ErrNotFound = errors.New("no such message")
	ErrOver     = errors.New("message is sent, or no longer worth sending")
)

// Row is a message as an operator sees it, without what is sealed.
type Row struct {
	ID          string
	Channel     Channel
	Kind        Kind
	SubjectID   string // the user whom it is about
	Lang        string
	State       State
	CreatedAt   time.Time
	NextAttempt time.Time // zero where there is none
	ExpiresAt   time.Time
	SentAt      time.Time // zero: not
	FailedAt    time.Time // zero: not
	Attempts    int
	LastError   string // its class
}

// Filter is which messages are listed.
type Filter struct {
	Sent  bool   // also those that have left
	After string // the id of the last one that was seen; "": from the start
	Limit int
}

// List gives messages in their order.
func List(ctx context.Context, q db.Querier, now time.Time, f Filter) (rows []Row, err error) {
	after := int64(0)
	if f.After != "" {
		if err := q.QueryRow(ctx, seqOf, []any{f.After}, &after); err != nil {
			return nil, notFound(err)
		}
	}
	stmt := listRows
	if f.Sent {
		stmt = listAllRows
	}
	err = q.Query(ctx, stmt, []any{after, f.Limit}, func(scan func(...any) error) error {
		r, _, _, err := scanRow(scan, now)
		rows = append(rows, r)
		return err
	})
	return rows, wrap("list messages", err)
}

// Find gives a message without its content.
func Find(ctx context.Context, q db.Querier, now time.Time, id string) (Row, error) {
	r, _, _, err := one(ctx, q, now, id)
	return r, err
}

// Show gives a message with its content. What has been sent has none any more:
// opened is false then.
func Show(ctx context.Context, q db.Querier, keys *secret.Keys, now time.Time, id string) (r Row, m Message, opened bool, err error) {
	r, ref, sealed, err := one(ctx, q, now, id)
	if err != nil {
		return r, m, false, err
	}
	m = Message{Channel: r.Channel, Kind: r.Kind, SubjectID: r.SubjectID, Lang: r.Lang, Ref: ref}
	if len(sealed) == 0 {
		return r, m, false, nil
	}
	return r, m, true, wrap("show message", open(keys, id, &m, sealed))
}

// Retry makes a message due now, also one that has failed. It keeps its place
// before what was queued later for the same recipient.
func Retry(ctx context.Context, tx *db.Tx, now time.Time, id string) (Row, error) {
	r, _, _, err := one(ctx, tx, now, id)
	if err != nil {
		return r, err
	}
	n, err := tx.Exec(ctx, retry, id, db.Micros(now))
	if err == nil && n == 0 {
		err = ErrOver
	}
	return r, wrap("retry message", err)
}

// Drop deletes a message that has not left; one that is being sent may leave
// all the same.
func Drop(ctx context.Context, tx *db.Tx, now time.Time, id string) (Row, error) {
	r, _, _, err := one(ctx, tx, now, id)
	if err != nil {
		return r, err
	}
	n, err := tx.Exec(ctx, drop, id)
	if err == nil && n == 0 {
		err = ErrOver
	}
	return r, wrap("drop message", err)
}

func one(ctx context.Context, q db.Querier, now time.Time, id string) (r Row, ref string, sealed []byte, err error) {
	found := false
	err = q.Query(ctx, selectRow, []any{id}, func(scan func(...any) error) error {
		found = true
		r, ref, sealed, err = scanRow(scan, now)
		return err
	})
	if err == nil && !found {
		err = ErrNotFound
	}
	return r, ref, sealed, wrap("read message", err)
}

func scanRow(scan func(...any) error, now time.Time) (r Row, ref string, sealed []byte, err error) {
	var created, next, claimed, expires int64
	var sent, failed sql.NullInt64
	err = scan(&r.ID, &r.Channel, &r.Kind, &r.SubjectID, &r.Lang, &ref, &sealed, &created, &next, &claimed, &r.Attempts, &r.LastError, &sent, &failed, &expires)
	r.CreatedAt, r.ExpiresAt, r.SentAt, r.FailedAt = db.Time(created), db.Time(expires), db.NullTime(sent), db.NullTime(failed)
	switch {
	case sent.Valid:
		r.State = StateSent
	case failed.Valid:
		r.State = StateFailed
	case db.Time(claimed).After(now):
		r.State = StateSending
	case !r.ExpiresAt.After(now):
		r.State = StateExpired
	default:
		r.State, r.NextAttempt = StateWaiting, db.Time(next)
	}
	return r, ref, sealed, err
}

func notFound(err error) error {
	if errors.Is(err, db.ErrNotFound) {
		return ErrNotFound
	}
	return fmt.Errorf("read message: %w", err)
}
