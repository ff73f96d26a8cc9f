package account

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"propusk/internal/db"
	"propusk/internal/event"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

const (
	// maxPassword is the longest password, in code points. The whole of it counts.
	maxPassword = 256
	// maxPasswordBytes bounds what is normalised at all. Nothing shrinks more than
	// nine bytes to one code point: a Hangul syllable that is typed as three letters.
	maxPasswordBytes = maxPassword * 9
)

// normalPassword is the form in which passwords are hashed: NFC (NIST SP
// 800-63B-4, 3.1.1.2), so that the same letters typed on another keyboard are
// the same password. Nothing else is changed: not case, not spaces.
func normalPassword(p secret.Text) secret.Text {
	return secret.NewText(norm.NFC.String(p.Reveal()))
}

// checkSubmitted looks at a password that is to be verified: only at what makes
// it impossible, before anything expensive happens.
func (s *Service) checkSubmitted(p secret.Text) *Fault {
	switch n := len(p.Reveal()); {
	case n == 0:
		return &Fault{Code: CodeRequired}
	case n > maxPasswordBytes, n > maxPassword && utf8.RuneCountInString(normalPassword(p).Reveal()) > maxPassword:
		return &Fault{Code: CodePasswordTooLong, Args: map[string]string{"max": strconv.Itoa(maxPassword)}}
	}
	return nil
}

// checkPassword holds a new password against the policy. own is what an
// attacker who knows the account would try first.
func (s *Service) checkPassword(p secret.Text, own ownWords) *Fault {
	if f := s.checkSubmitted(p); f != nil {
		return f
	}
	text := normalPassword(p).Reveal()
	switch {
	case utf8.RuneCountInString(text) < s.policy.PasswordMinLength:
		return &Fault{Code: CodePasswordTooShort, Args: map[string]string{"min": strconv.Itoa(s.policy.PasswordMinLength)}}
	case strings.ContainsFunc(text, noncharacter):
		return &Fault{Code: CodePasswordCharacters}
	case !s.policy.PasswordBlocklist:
		return nil
	case secret.IsCommon(text):
		return &Fault{Code: CodePasswordCommon}
	case own.make(text):
		return &Fault{Code: CodePasswordPersonal}
	}
	return nil
}

// noncharacter: code points that are never a character (Unicode 23.7).
func noncharacter(r rune) bool {
	return r >= 0xFDD0 && r <= 0xFDEF || r&0xFFFE == 0xFFFE
}

// ownWords are the words of one account.
type ownWords []string

// serviceWords are the words that belong to every account here.
var serviceWords = ownWords{"propusk", "пропуск"} //nolint:gochecknoglobals // a constant list

func ownWordsOf(email, username, phone string) ownWords {
	w := append(ownWords{}, serviceWords...)
	local, domain, _ := strings.Cut(fold(email), "@")
	site, _, _ := strings.Cut(domain, ".")
	w = append(w, fold(email), local, domain, site, fold(username), strings.TrimPrefix(phone, "+"))
	if n := len(phone); n > 10 {
		w = append(w, phone[n-10:]) // the number as one knows it by heart
	}
	return w
}

// make tells whether the password is little more than the account's own words:
// whether fewer than four letters or digits are left without them.
func (w ownWords) make(password string) bool {
	const enoughOfItsOwn = 4
	rest := fold(password)
	found := false
	for _, word := range w {
		if utf8.RuneCountInString(word) < 3 {
			continue
		}
		for _, spelling := range []string{word, reverse(word)} {
			if strings.Contains(rest, spelling) {
				found = true
				rest = strings.ReplaceAll(rest, spelling, " ")
			}
		}
	}
	left := 0
	for _, r := range rest {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			left++
		}
	}
	return found && left < enoughOfItsOwn
}

// fold is the form in which words are compared without regard to case.
func fold(s string) string { return norm.NFC.String(foldCase(s)) }

func reverse(s string) string {
	r := []rune(s)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return string(r)
}

// hash hashes a new password. Never call it inside a transaction.
func (s *Service) hash(ctx context.Context, who secret.Who, p secret.Text) (string, error) {
	phc, err := s.hasher.Hash(ctx, who, normalPassword(p))
	return phc, overloaded(err)
}

// verify does the same work whether there is a hash or not. Never call it
// inside a transaction.
func (s *Service) verify(ctx context.Context, who secret.Who, p secret.Text, phc string) (ok, rehash bool, err error) {
	ok, rehash, err = s.hasher.Verify(ctx, who, normalPassword(p), phc)
	return ok, rehash, overloaded(err)
}

// busyRetry is when to come back where nobody can say it better.
const busyRetry = 2 * time.Second

func overloaded(err error) error {
	var busy *secret.BusyError
	switch {
	case errors.As(err, &busy):
		return &Error{Kind: Overloaded, Fault: Fault{Code: CodeOverloaded}, RetryAfter: busy.RetryAfter, unhashed: secret.Unhashed(err)}
	case errors.Is(err, secret.ErrBusy):
		return &Error{Kind: Overloaded, Fault: Fault{Code: CodeOverloaded}, RetryAfter: busyRetry}
	}
	return err
}

// proof is a password that was right a moment ago, or a code or link that was.
// [Service.use] makes it count, in the transaction of what it is for: only if
// neither it nor the account has changed meanwhile.
type proof struct {
	userID string
	phc    string
	// check makes another proof than a password count, and tells what it is; nil: a
	// password. It runs in the transaction, which has locked the user.
	check   func(ctx context.Context, tx *db.Tx, now time.Time, u userRow) (Methods, error)
	first   bool // nobody has proven anything of this account before
	attempt attempt
	trust   bool // the device need not be asked for a second factor for a while
}

func (s *Service) use(ctx context.Context, tx *db.Tx, now time.Time, p proof) (u userRow, by Methods, err error) {
	if u, err = queryUser(ctx, tx, proveUser, p.userID, db.Micros(now)); err != nil {
		return u, 0, notFoundIs(err, refuse(Unauthenticated, CodeTokenInvalid))
	}
	if !u.disabledAt.IsZero() || p.check == nil && (u.passwordHash != p.phc || p.phc == "") {
		return u, 0, refuse(Unauthenticated, CodeTokenInvalid)
	}
	by = ByPassword
	if p.check != nil {
		if by, err = p.check(ctx, tx, now, u); err != nil {
			return u, 0, err
		}
	}
	if s.trusts(now, u, p.attempt.mark) {
		by |= ByTrustedDevice
	}
	return u, by, s.giveBack(ctx, tx, now, p.attempt.clears)
}

// trusts tells whether a device need not be asked for a second factor: it was
// used there not long ago, neither the password nor the factors have changed
// since, and nobody has ended the sessions: who does that has lost a device, or
// fears so.
func (s *Service) trusts(now time.Time, u userRow, m mark) bool {
	return m.known && !m.trusted.IsZero() && now.Before(m.trusted.Add(s.policy.TrustDevices)) &&
		m.trusted.After(u.factorsChangedAt) && m.trusted.After(u.passwordChangedAt) && m.trusted.After(u.trustAfter)
}

// prove checks the password of the caller's own account. It counts against the
// same budgets as a login. field is where a wrong one is reported.
func (s *Service) prove(ctx context.Context, caller Caller, password secret.Text, field string) (proof, error) {
	now := s.now()
	u, err := userByID(ctx, s.db, caller.UserID)
	if err != nil {
		return proof{}, notFoundIs(err, refuse(Unauthenticated, CodeTokenInvalid))
	}
	p := proof{userID: u.ID, phc: u.passwordHash}
	if p.attempt, err = s.attempt(ctx, now, caller, u.ID, true); err != nil {
		return proof{}, err
	}
	phc := u.passwordHash
	if p.attempt.closed {
		phc = "" // the same work, and never right
	}
	ok, _, err := s.verify(ctx, hashingFor(caller, u.ID, true), password, phc)
	if err != nil {
		s.unused(ctx, p.attempt.taken, err)
		return proof{}, err
	}
	if ok {
		return p, nil
	}
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		return record(ctx, tx, now, caller, proofFailed, event.Failure, u.ID, nil)
	})
	if err != nil {
		return proof{}, err
	}
	return proof{}, &Error{Kind: Forbidden, Fault: Fault{Code: CodeWrongPassword}, Fields: map[string]Fault{field: {Code: CodeWrongPassword}}}
}

// PasswordChange is what changing one's password takes.
type PasswordChange struct {
	Current secret.Text
	New     secret.Text
}

// ChangePassword sets the caller's own password. Every other session of the
// account ends with the old password: whoever stole it may hold one. The
// caller's session gets a new token.
func (s *Service) ChangePassword(ctx context.Context, caller Caller, in PasswordChange) (Token, error) {
	if caller.Kind != User {
		return Token{}, refuse(Unauthenticated, CodeTokenRequired)
	}
	u, err := userByID(ctx, s.db, caller.UserID)
	if err != nil {
		return Token{}, notFoundIs(err, refuse(Unauthenticated, CodeTokenInvalid))
	}
	broken := faults{}
	broken.add("current_password", s.checkSubmitted(in.Current))
	broken.add("new_password", s.checkPassword(in.New, ownWordsOf(u.Email, u.Username, u.ContactNumber)))
	if err := broken.err(Invalid, CodeInvalidFields); err != nil {
		return Token{}, err
	}
	if u.factors.any() { // then the password alone is not enough
		if err := s.fresh(caller, u, s.now()); err != nil {
			return Token{}, err
		}
	}
	proof, err := s.prove(ctx, caller, in.Current, "current_password")
	if err != nil {
		return Token{}, err
	}
	phc, err := s.hash(ctx, hashingFor(caller, u.ID, true), in.New)
	if err != nil {
		return Token{}, err
	}
	now := s.now()
	i, generation := issued{}, s.live.now()
	err = s.revoke(ctx, u.ID, func() error {
		return s.tx(ctx, func(tx *db.Tx) error {
			_, by, err := s.use(ctx, tx, now, proof)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, updatePassword, phc, db.Micros(now), u.ID); err != nil {
				return err
			}
			if i, err = s.renewToken(ctx, tx, now, caller, u.Role, by); err != nil {
				return err
			}
			return s.passwordChanged(ctx, tx, now, caller, u)
		})
	})
	if err != nil {
		return Token{}, err
	}
	i.generation = generation
	s.keep(&i)
	return i.token, nil
}

// passwordChanged is what goes with every change of a password: the other
// sessions end, the trail has it, the owner is told.
func (s *Service) passwordChanged(ctx context.Context, tx *db.Tx, now time.Time, caller Caller, u userRow) error {
	keep := ""
	if caller.UserID == u.ID {
		keep = caller.SessionID
	}
	if err := record(ctx, tx, now, caller, changePassword, event.Success, u.ID, nil); err != nil {
		return err
	}
	// It is another password, and nobody has guessed at it yet.
	if err := s.forgive(ctx, tx, u.ID); err != nil {
		return err
	}
	// Whoever asked for another address may be he from whom the password is taken.
	if _, err := tx.Exec(ctx, deleteEmailChange, u.ID); err != nil {
		return err
	}
	// Whoever may use them was sent them while the old password counted.
	if err := dropTokens(ctx, tx, u.ID); err != nil {
		return err
	}
	if err := s.tell(ctx, tx, now, u, outbox.PasswordChanged, originOf(caller, now), nil); err != nil {
		return err
	}
	_, err := endSessionsOf(ctx, tx, now, u.ID, keep)
	return err
}
