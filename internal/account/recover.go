package account

import (
	"context"
	"strconv"
	"time"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

func itoa(d time.Duration) string { return strconv.FormatInt(int64(d), 10) }

// AskRecovery has a link and a code sent to the address of an account, to set a
// new password with. The answer and what it takes to give it do not depend on
// whether there is such an account.
func (s *Service) AskRecovery(ctx context.Context, caller Caller, emailOrName string) error {
	if err := required("email_or_name", emailOrName); err != nil {
		return err
	}
	_, err := s.ask(ctx, s.now(), caller, nil, request{Purpose: forRecovery, Named: emailOrName})
	return err
}

func (s *Service) sendRecovery(ctx context.Context, tx *db.Tx, now time.Time, u userRow, r request) error {
	ok, err := s.mayWrite(ctx, tx, now, u, u.Email, r)
	if err != nil || !ok {
		return err
	}
	if err := r.record(ctx, tx, now, askedRecovery, u.ID); err != nil {
		return err
	}
	return s.sendLink(ctx, tx, now, u, singleUse{purpose: forRecovery, holder: u.ID, address: u.Email}, pageRecover, outbox.Recover, r)
}

// IssueRecovery makes a link's secret on an administrator's word, for a user who
// cannot be written to. It is good for one new password within 24 hours, and
// proves no address.
func (s *Service) IssueRecovery(ctx context.Context, caller Caller, userID string) (token secret.Text, link string, expires time.Time, err error) {
	if err := s.may(caller, issueRecovery, userID); err != nil {
		return token, "", expires, err
	}
	now := s.now()
	if err := s.freshCaller(ctx, s.db, caller, now); err != nil {
		return token, "", expires, err
	}
	err = s.tx(ctx, func(tx *db.Tx) error {
		u, err := queryUser(ctx, tx, lockUser, userID)
		if err != nil {
			return notFoundIs(err, refuse(NotFound, CodeUserNotFound))
		}
		if err := s.authorize(ctx, tx, now, caller, issueRecovery, u.ID, nil); err != nil {
			return err
		}
		m, err := s.makeToken(ctx, tx, now, singleUse{purpose: forIssued, holder: u.ID, sent: true})
		if err != nil {
			return err
		}
		token, link, expires = m.secret, s.link(pageRecover, m.secret, s.languageOf(u, caller.Language)), m.expires
		return nil
	})
	return token, link, expires, err
}

// Recovery is what setting a forgotten password takes.
type Recovery struct {
	Answer
	NewPassword secret.Text
}

// Recover sets a new password for whoever was sent a link or a code. Whatever was
// there before ends: every session, every waiting change of the address, every
// other link. An address that was not proven is, and what was added to the account
// before that goes, for it was added by somebody else: whoever registers with an
// address that is not his keeps nothing. A number has to be proven anew, since it
// logs in too, and may be that of whoever knew the password. It gives no session.
func (s *Service) Recover(ctx context.Context, caller Caller, in Recovery) error {
	err := s.setForgotten(ctx, caller, in)
	s.metrics.broughtBack(forRecovery, err)
	return err
}

func (s *Service) setForgotten(ctx context.Context, caller Caller, in Recovery) error {
	broken := faults{}
	in.check(broken, true)
	broken.add("new_password", s.checkSubmitted(in.NewPassword))
	if err := broken.err(Invalid, CodeInvalidFields); err != nil {
		return err
	}
	now := s.now()
	caller.Kind, caller.UserID = Anonymous, "" // a token that came along says nothing here
	c := claim{s: s, caller: caller, in: in.Answer, purposes: [2]purpose{forRecovery, forIssued}}
	if err := c.find(ctx, now); err != nil {
		return err
	}
	u, err := userByID(ctx, s.db, c.holder)
	if err != nil {
		return notFoundIs(err, refuse(Unauthenticated, CodeLinkInvalid))
	}
	// A password that is refused costs nobody his link, nor a try at his code.
	broken.add("new_password", s.checkPassword(in.NewPassword, ownWordsOf(u.Email, u.Username, u.ContactNumber)))
	if err := broken.err(Invalid, CodeInvalidFields); err != nil {
		if failed := s.db.Tx(ctx, func(tx *db.Tx) error { return s.giveBack(ctx, tx, now, c.attempt.clears) }); failed != nil {
			return failed
		}
		return err
	}
	phc, err := s.hash(ctx, hashingFor(caller, u.ID, c.attempt.known), in.NewPassword)
	if err != nil {
		return err
	}
	return s.revoke(ctx, u.ID, func() error {
		return s.tx(ctx, func(tx *db.Tx) error {
			u, used, err := c.use(ctx, tx, now)
			if err != nil {
				return err
			}
			return s.recover(ctx, tx, now, caller, u, used, phc)
		})
	})
}

func (s *Service) recover(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow, used usedToken, phc string) error {
	caller.UserID = u.ID
	if used.purpose == forRecovery {
		if used.address != u.Email {
			return errTokenSpent
		}
		if u.emailVerifiedAt.IsZero() {
			if err := s.takeBack(ctx, tx, now, caller, u); err != nil {
				return err
			}
			u.emailVerifiedAt, u.contactVerifiedAt = now, time.Time{}
		}
		if _, err := tx.Exec(ctx, unprovePhone, u.ID); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, updatePassword, phc, db.Micros(now), u.ID); err != nil {
		return err
	}
	if err := s.endAll(ctx, tx, now, u.ID); err != nil {
		return err
	}
	if err := record(ctx, tx, now, caller, recovered, event.Success, u.ID, map[string]string{"by": string(used.purpose)}); err != nil {
		return err
	}
	return s.tellAll(ctx, tx, now, u, outbox.Recovered, originOf(caller, now), nil)
}

// takeBack gives an account to the owner of its address, which nobody had proven.
// An Admin's factors stay: another Admin may have set the address, and only an
// operator takes factors off an Admin.
func (s *Service) takeBack(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow) error {
	drop := []string{dropPhone}
	if u.Role != RoleAdmin {
		drop = append(drop, deleteTOTP, deletePasskeys, deleteRecoveryCodes)
	}
	for _, sql := range drop {
		if _, err := tx.Exec(ctx, sql, u.ID); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, recountFactors, u.ID, db.Micros(now)); err != nil {
		return err
	}
	return s.proveEmail(ctx, tx, now, caller, u, u.Email)
}

// endAll ends every session, token and waiting change of a user, and forgets the
// failures at what is no more; not those at his second factors, which are still there.
func (s *Service) endAll(ctx context.Context, tx *db.Tx, now time.Time, userID string) error {
	if err := s.forgivePassword(ctx, tx, userID); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, deleteEmailChange, userID); err != nil {
		return err
	}
	if err := dropTokens(ctx, tx, userID); err != nil {
		return err
	}
	_, err := endSessionsOf(ctx, tx, now, userID, "")
	return err
}
