package account

import (
	"context"
	"strings"
	"time"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// UndoEmailChange gives the account its old address back, on the word of whoever
// has the mailbox. He whom that takes the account from knows its password, so that
// does not count any more either, nor do the factors that were added since: the owner
// is sent a link to set another. (None was added between asking and proving, for a
// new factor ends a change that waits.) Factors from before stay, for the mailbox
// alone must not be a way around them.
func (s *Service) UndoEmailChange(ctx context.Context, caller Caller, token secret.Text) error {
	err := s.undoEmailChange(ctx, caller, token)
	s.metrics.broughtBack(forUndoEmail, err)
	return err
}

func (s *Service) undoEmailChange(ctx context.Context, caller Caller, token secret.Text) error {
	now := s.now()
	c := claim{s: s, caller: caller, in: Answer{Token: token}, purposes: [2]purpose{forUndoEmail, forUndoEmail}}
	if err := c.find(ctx, now); err != nil {
		return err
	}
	return s.revoke(ctx, c.holder, func() error {
		return s.tx(ctx, func(tx *db.Tx) error {
			u, used, err := c.use(ctx, tx, now)
			if err != nil {
				return err
			}
			if err := s.setEmail(ctx, tx, now, u.ID, used.address); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, dropPassword, db.Micros(now), u.ID); err != nil {
				return err
			}
			if err := s.endAll(ctx, tx, now, u.ID); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, unprovePhone, u.ID); err != nil {
				return err
			}
			// The token of an address from before this one lives on: whoever has
			// taken the account over and changed the address twice has this one
			// himself, and must not end the owner's with it.
			if _, err := tx.Exec(ctx, deleteTokensSince, u.ID, string(forUndoEmail), used.created); err != nil {
				return err
			}
			caller.UserID = u.ID
			if err := record(ctx, tx, now, caller, undidEmail, event.Success, u.ID, nil); err != nil {
				return err
			}
			u.Email = used.address
			r := request{Language: caller.Language, Origin: originOf(caller, now), cause: outbox.Undo}
			err = s.sendLink(ctx, tx, now, u, singleUse{purpose: forRecovery, holder: u.ID, address: u.Email}, pageRecover, outbox.Recover, r)
			if err != nil {
				return err
			}
			return s.endFactorsSince(ctx, tx, now, caller, u, used.created)
		})
	})
}

// endFactorsSince takes off a user what was added to his account at a time or
// later, by whoever changed its address then, when its owner undoes that. At the
// very same time counts as later: a factor too few is added again, one too many
// keeps the thief in. Who must have a factor and has none now adds one at his next
// login.
func (s *Service) endFactorsSince(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, since int64) error {
	if _, err := tx.Exec(ctx, deleteNewTOTP, u.ID); err != nil {
		return err
	}
	var passkeys []PasskeyData
	err := tx.Query(ctx, deletePasskeysSince, []any{u.ID, since}, func(scan func(...any) error) error {
		var p PasskeyData
		err := scan(&p.ID, &p.Name)
		passkeys = append(passkeys, p)
		return err
	})
	if err != nil {
		return err
	}
	apps, err := tx.Exec(ctx, deleteTOTPSince, u.ID, since)
	if err != nil {
		return err
	}
	codes, err := tx.Exec(ctx, deleteRecoveryCodesSince, u.ID, since)
	if err != nil || len(passkeys) == 0 && apps+codes == 0 {
		return err
	}
	if _, err := tx.Exec(ctx, recountFactors, u.ID, db.Micros(now)); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, deleteOrphanedCodes, u.ID); err != nil {
		return err
	}
	var ended []endedFactor
	if apps > 0 {
		ended = append(ended, endedFactor{kind: TOTP})
	}
	if codes > 0 {
		ended = append(ended, endedFactor{kind: RecoveryCodes})
	}
	for _, p := range passkeys {
		ended = append(ended, endedFactor{Passkey, p})
	}
	return s.factorsEnded(ctx, tx, now, caller, u, ended)
}

// endedFactor is a factor that has ended so, and which passkey it was.
type endedFactor struct {
	kind    FactorKind
	passkey PasskeyData
}

// factorsEnded is what goes with that: an entry for each in the trail, and to the
// owner one message for each kind, however many the thief has added.
func (s *Service) factorsEnded(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, ended []endedFactor) error {
	names := map[FactorKind][]string{}
	for _, f := range ended {
		about := map[string]string{"factor": string(f.kind), "by": string(forUndoEmail)}
		if f.kind == Passkey {
			about["passkey_id"] = f.passkey.ID
		}
		if err := record(ctx, tx, now, caller, removedFactor, event.Success, u.ID, about); err != nil {
			return err
		}
		names[f.kind] = append(names[f.kind], f.passkey.Name)
	}
	for _, kind := range []FactorKind{TOTP, Passkey, RecoveryCodes} {
		if names[kind] == nil {
			continue
		}
		data := map[string]string{"factor": string(kind), "name": strings.Join(names[kind], ", ")}
		if err := s.tell(ctx, tx, now, u, outbox.FactorRemoved, originOf(caller, now), data); err != nil {
			return err
		}
	}
	return nil
}
