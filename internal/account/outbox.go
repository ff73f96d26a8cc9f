package account

import (
	"context"
	"errors"
	"time"

	"propusk/internal/db"
	"propusk/internal/outbox"
)

// Messages gives what waits to be sent, or has failed, and with f.Sent what has
// left lately; in the order in which it was queued.
func (s *Service) Messages(ctx context.Context, caller Caller, f outbox.Filter) ([]outbox.Row, error) {
	if err := s.may(caller, listMessages, ""); err != nil {
		return nil, err
	}
	rows, err := outbox.List(ctx, s.db, s.now(), f)
	return rows, refuseMessage(err)
}

// Message gives one without its content.
func (s *Service) Message(ctx context.Context, caller Caller, id string) (outbox.Row, error) {
	if err := s.may(caller, listMessages, ""); err != nil {
		return outbox.Row{}, err
	}
	row, err := outbox.Find(ctx, s.db, s.now(), id)
	return row, refuseMessage(err)
}

// RevealMessage gives one with its content, links and codes too, which whoever
// has them can use: so it is recorded. Without the record there is no content.
func (s *Service) RevealMessage(ctx context.Context, caller Caller, id string) (row outbox.Row, m outbox.Message, opened bool, err error) {
	if err := s.may(caller, revealMessage, ""); err != nil {
		return row, m, false, err
	}
	now := s.now()
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		if row, m, opened, err = outbox.Show(ctx, tx, s.keys, now, id); err != nil {
			return err
		}
		return s.authorize(ctx, tx, now, caller, revealMessage, row.SubjectID, aboutMessage(row))
	})
	if err != nil {
		return outbox.Row{}, outbox.Message{}, false, refuseMessage(err)
	}
	return row, m, opened, nil
}

// RetryMessage makes one due now.
func (s *Service) RetryMessage(ctx context.Context, caller Caller, id string) (outbox.Row, error) {
	return s.changeMessage(ctx, caller, retryMessage, id, outbox.Retry)
}

// DropMessage deletes one that has not left.
func (s *Service) DropMessage(ctx context.Context, caller Caller, id string) (outbox.Row, error) {
	return s.changeMessage(ctx, caller, dropMessage, id, outbox.Drop)
}

func (s *Service) changeMessage(ctx context.Context, caller Caller, action Action, id string,
	change func(context.Context, *db.Tx, time.Time, string) (outbox.Row, error),
) (row outbox.Row, err error) {
	if err := s.may(caller, action, ""); err != nil {
		return row, err
	}
	now := s.now()
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		if row, err = change(ctx, tx, now, id); err != nil {
			return err
		}
		return s.authorize(ctx, tx, now, caller, action, row.SubjectID, aboutMessage(row))
	})
	return row, refuseMessage(err)
}

func aboutMessage(r outbox.Row) map[string]string {
	return map[string]string{"message_id": r.ID, "kind": string(r.Kind)}
}

func refuseMessage(err error) error {
	switch {
	case errors.Is(err, outbox.ErrNotFound):
		return refuse(NotFound, CodeMessageNotFound)
	case errors.Is(err, outbox.ErrOver):
		return refuse(Conflict, CodeMessageOver)
	default:
		return err
	}
}
