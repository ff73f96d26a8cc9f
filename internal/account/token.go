package account

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// A single-use token stands for a promise that was sent to an address: that
// whoever brings it back may do one thing, once, for some time. It comes in two
// forms, a secret of 256 bits in a link and, where a person may have to type it,
// a code of six digits. The code is derived from the secret, so that a page which
// was opened with the link can show it; what is stored gives away neither.
//
// A token is bound to its purpose, its holder and the address that it was sent
// to. Looking it up, checking all that, and using it up is one statement.

// purpose is what a token is good for. It opens nothing else.
type purpose string

const (
	forVerifyEmail  purpose = "verify_email"
	forChangeEmail  purpose = "change_email"      // sent to the new address
	forUndoEmail    purpose = "undo_email_change" // sent to the old one
	forVerifyPhone  purpose = "verify_phone"
	forRecovery     purpose = "recover"
	forIssued       purpose = "recover_issued" // recovery, on an administrator's word
	forLogin        purpose = "login"
	forSecondFactor purpose = "second_factor" // a login that needs another factor
	forRegister     purpose = "register"      // the holder is the user that is to be

	// Challenges of passkeys, see ceremony.go.
	forPasskeyLogin    purpose = "passkey_login"    // by the passkey alone
	forPasskeyFactor   purpose = "passkey_factor"   // a login that needs another factor
	forPasskeyEnrol    purpose = "passkey_enrol"    // adding one in the middle of a login
	forPasskeyRegister purpose = "passkey_register" // adding one
	forPasskeyAgain    purpose = "passkey_again"    // a new proof of identity
)

// passkeyPurposes is the pattern of these.
const passkeyPurposes = "passkey%"

// How long tokens live from the moment in which they were sent.
const (
	verifyLifetime       = 24 * time.Hour
	undoLifetime         = 72 * time.Hour
	recoverLifetime      = 15 * time.Minute
	issuedLifetime       = 24 * time.Hour
	loginLifetime        = 10 * time.Minute
	codeLifetime         = 10 * time.Minute
	phoneLifetime        = codeLifetime
	registrationLifetime = 24 * time.Hour
	// sentWithin is for how long a message with a token is worth sending.
	sentWithin = time.Hour
)

// tokenKind is how a purpose's tokens are made.
type tokenKind struct {
	lifetime     time.Duration
	codeLifetime time.Duration // 0: there is no code
	several      bool          // a new one leaves the old ones alive
	newestCode   bool          // a new one leaves the links of the old ones to its address alive, and no code
	sentWithin   time.Duration // for how long its message is worth sending; 0: sentWithin
}

//nolint:gochecknoglobals // a constant table
var tokenKinds = map[purpose]tokenKind{
	forVerifyEmail: {lifetime: verifyLifetime, codeLifetime: codeLifetime},
	forChangeEmail: {lifetime: verifyLifetime, codeLifetime: codeLifetime},
	// Whoever has taken the account over could otherwise change the address twice.
	// And while no mail can be sent, that must not wait in vain.
	forUndoEmail:    {lifetime: undoLifetime, several: true, sentWithin: undoLifetime},
	forVerifyPhone:  {lifetime: phoneLifetime, codeLifetime: codeLifetime},
	forRecovery:     {lifetime: recoverLifetime, codeLifetime: recoverLifetime},
	forIssued:       {lifetime: issuedLifetime},
	forLogin:        {lifetime: loginLifetime, codeLifetime: loginLifetime},
	forSecondFactor: {lifetime: challengeLifetime, several: true},
	forPasskeyLogin: {lifetime: passkeyLifetime, several: true},
	// One for each login or session that it belongs to.
	forPasskeyFactor:   {lifetime: passkeyLifetime},
	forPasskeyEnrol:    {lifetime: passkeyLifetime},
	forPasskeyRegister: {lifetime: passkeyLifetime},
	forPasskeyAgain:    {lifetime: passkeyLifetime},
	// Two who want the same address must not disturb each other. But with every
	// code that is alive for it, a guess is more likely to be right.
	forRegister: {lifetime: registrationLifetime, codeLifetime: codeLifetime, newestCode: true},
}

func (k tokenKind) worthSending() time.Duration { return cmp.Or(k.sentWithin, sentWithin) }

// singleUse is a token that is to be made.
type singleUse struct {
	purpose purpose
	holder  string
	address string       // that it is sent to
	keeps   string       // the key of an address that only its bearer may have meanwhile; "": none
	within  string       // what of the holder's it belongs to: there is one for each of these; "": one in all
	browser *secret.Hash // of the browser that may use the link; nil: any
	data    []byte       // what else it needs; nil: nothing
	secret  secret.Text  // that was made for it; empty: a new one
	sent    bool         // it is handed over now, and not by a message
}

// sealedToken is what of a token is sealed.
type sealedToken struct {
	Address string `json:"address"`
	Data    []byte `json:"data,omitzero"`
}

// madeToken is a token on its way out.
type madeToken struct {
	id      string
	secret  secret.Text
	code    secret.Text // empty where the purpose has none
	expires time.Time
}

// makeToken makes a token, in the transaction that queues its message. One in
// the same slot dies.
func (s *Service) makeToken(ctx context.Context, tx *db.Tx, now time.Time, t singleUse) (madeToken, error) {
	kind := tokenKinds[t.purpose]
	m := madeToken{id: secret.NewID(), secret: t.secret}
	if m.secret.Empty() {
		m.secret = secret.NewToken()
	}
	slot, err := s.slotFor(ctx, tx, t, m.id)
	if err != nil {
		return m, err
	}
	until := now.Add(kind.lifetime)
	codeUntil := now.Add(kind.codeLifetime)
	if !t.sent { // it begins to live when it is sent, see [Service.MessageSent]
		until, codeUntil = until.Add(kind.worthSending()), codeUntil.Add(kind.worthSending())
	}
	var mac []byte
	if kind.codeLifetime > 0 {
		m.code = s.codeOf(m.secret)
		mac = s.codeMAC(t.purpose, t.codeHolder(), m.code)
	}
	plain, err := json.Marshal(sealedToken{Address: t.address, Data: t.data})
	if err != nil {
		return m, fmt.Errorf("make token: %w", err)
	}
	hash := secret.HashOf(m.secret.Reveal())
	var kept []byte
	if t.keeps != "" {
		kept = s.keptMAC(t.keeps)
	}
	var browser []byte
	if t.browser != nil {
		browser = t.browser[:]
	}
	m.expires = until
	_, err = tx.Exec(ctx, insertToken, m.id, t.holder, string(t.purpose), slot, hash[:], mac, browser, kept, s.keys.Seal("token", tokenBound(m.id, t.holder, t.purpose), plain),
		kind.lifetime.Microseconds(), kind.codeLifetime.Microseconds(), db.Micros(now), db.Micros(until), db.Micros(codeUntil))
	return m, err
}

// slotFor is the slot that a token is to have. There is one for the newest code of
// an address: the token that has it makes room, and keeps nothing but its link.
func (s *Service) slotFor(ctx context.Context, tx *db.Tx, t singleUse, id string) (string, error) {
	kind := tokenKinds[t.purpose]
	if kind.newestCode {
		slot := hex.EncodeToString(s.keys.MAC("newest code", []byte(t.codeHolder()))) + " " + string(t.purpose)
		_, err := tx.Exec(ctx, endCodeInSlot, slot)
		return slot, err
	}
	slot := t.holder + " " + string(t.purpose)
	if t.within != "" {
		slot += " " + t.within
	}
	if kind.several {
		slot += " " + id
	}
	return slot, nil
}

func tokenBound(id, holder string, p purpose) string { return id + "/" + holder + "/" + string(p) }

// codeHolder is whom a code is looked up for: the user, or the address where
// there is none yet.
func (t singleUse) codeHolder() string {
	if t.purpose == forRegister {
		return registrationHolder(t.address)
	}
	return t.holder
}

const codeDigits = 6

// codeOf is the code that belongs to the secret of a link.
func (s *Service) codeOf(token secret.Text) secret.Text {
	if s.policy.FixedCode != "" {
		return secret.NewText(s.policy.FixedCode)
	}
	n := binary.BigEndian.Uint64(s.keys.MAC("code of a link", []byte(token.Reveal()))) % 1_000_000
	digits := strconv.FormatUint(1_000_000+n, 10)[1:]
	return secret.NewText(digits)
}

// codeMAC is keyed, since a million codes are soon tried.
func (s *Service) codeMAC(p purpose, holder string, code secret.Text) []byte {
	return s.keys.MAC("code", []byte(string(p)+"\x00"+holder+"\x00"+code.Reveal()))
}

// keptMAC is keyed, for addresses are soon tried too.
func (s *Service) keptMAC(emailKey string) []byte {
	return s.keys.MAC("kept address", []byte(emailKey))
}

// isKept tells whether an address is kept for somebody else than userID: it was
// taken from an account, and can be had back.
func (s *Service) isKept(ctx context.Context, q db.Querier, now time.Time, emailKey, userID string) (bool, error) {
	var n int
	err := q.QueryRow(ctx, countKept, []any{s.keptMAC(emailKey), userID, db.Micros(now)}, &n)
	return n > 0, err
}

// isCode tells whether a text has the form of a code.
func isCode(t secret.Text) bool {
	text := t.Reveal()
	if len(text) != codeDigits {
		return false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}

// usedToken is a token that was used up, or only looked at.
type usedToken struct {
	id, holder string
	purpose    purpose
	address    string
	data       []byte
	created    int64
}

// errTokenSpent refuses a link or code, whatever is wrong with it.
var errTokenSpent error = refuse(Unauthenticated, CodeLinkInvalid)

// Answer is what somebody brings back who was sent a link and a code: the one,
// or the other with the name of the account that it is for.
type Answer struct {
	Token       secret.Text // of the link
	EmailOrName string
	Code        secret.Text
}

// byLink tells whether it is the link's.
func (a Answer) byLink() bool { return a.Token.Reveal() != "" }

// check tells what an answer lacks. named: the code needs the name of its account.
func (a Answer) check(broken faults, named bool) {
	switch {
	case a.byLink() && a.Code.Reveal() != "":
		broken.add("code", &Fault{Code: CodeTokenOrCode})
	case a.byLink():
	case a.Code.Reveal() == "":
		broken.add("token", &Fault{Code: CodeTokenOrCode})
	default:
		if !isCode(a.Code) {
			broken.add("code", &Fault{Code: CodeCodeInvalid})
		}
		if named && a.EmailOrName == "" {
			broken.add("email_or_name", &Fault{Code: CodeRequired})
		}
	}
}

// consumeLink uses a token up by its secret, for one of two purposes. browser is
// what the caller's browser holds; a token that belongs to a browser is spent in
// no other.
func (s *Service) consumeLink(ctx context.Context, q db.Querier, now time.Time, token secret.Text, browser *secret.Hash, one, other purpose) (usedToken, error) {
	return s.byLink(ctx, q, now, consumeByHash, token, browser, one, other)
}

// lookAtLink finds the same token and leaves it.
func (s *Service) lookAtLink(ctx context.Context, q db.Querier, now time.Time, token secret.Text, browser *secret.Hash, one, other purpose) (usedToken, error) {
	return s.byLink(ctx, q, now, selectByHash, token, browser, one, other)
}

func (s *Service) byLink(ctx context.Context, q db.Querier, now time.Time, query string, token secret.Text, browser *secret.Hash, one, other purpose) (usedToken, error) {
	if !secret.IsToken(token.Reveal()) {
		return usedToken{}, errTokenSpent
	}
	hash := secret.HashOf(token.Reveal())
	none := secret.Hash{} // of nothing
	if browser == nil {
		browser = &none
	}
	return s.readToken(ctx, q, query, hash[:], string(one), string(other), db.Micros(now), browser[:])
}

// consumeCode uses a token up by its code. Take a try from [Service.takeTryFor] first.
func (s *Service) consumeCode(ctx context.Context, q db.Querier, now time.Time, holder string, code secret.Text, p purpose) (usedToken, error) {
	return s.readToken(ctx, q, consumeByCode, string(p), s.codeMAC(p, holder, code), db.Micros(now))
}

// lookAtCode finds the same token and leaves it.
func (s *Service) lookAtCode(ctx context.Context, q db.Querier, now time.Time, holder string, code secret.Text, p purpose) (usedToken, error) {
	return s.readToken(ctx, q, selectByCode, string(p), s.codeMAC(p, holder, code), db.Micros(now))
}

func (s *Service) readToken(ctx context.Context, q db.Querier, query string, args ...any) (u usedToken, err error) {
	var sealed []byte
	err = q.QueryRow(ctx, query, args, &u.id, &u.holder, &u.purpose, &sealed, &u.created)
	if err != nil {
		if errors.Is(err, db.ErrNotFound) {
			err = errTokenSpent
		}
		return u, err
	}
	plain, err := s.keys.Open("token", tokenBound(u.id, u.holder, u.purpose), sealed)
	if err != nil {
		return u, fmt.Errorf("open token: %w", err)
	}
	var content sealedToken
	if err := json.Unmarshal(plain, &content); err != nil {
		return u, fmt.Errorf("open token: %w", err)
	}
	u.address, u.data = content.Address, content.Data
	return u, nil
}

// MessageSent is told by the outbox that a message has left, in the transaction
// that notes it: the token that it carries begins to live. It may be called again
// for the same one, and does not prolong it.
func (s *Service) MessageSent(ctx context.Context, tx *db.Tx, tokenID string, at time.Time) error {
	_, err := tx.Exec(ctx, startToken, db.Micros(at), tokenID)
	return err
}

// dropTokens ends the tokens of a user, save those by which an old address can be
// had back: whoever has taken an account over could otherwise be rid of them.
func dropTokens(ctx context.Context, tx *db.Tx, userID string) error {
	_, err := tx.Exec(ctx, deleteTokensOf, userID, string(forUndoEmail))
	return err
}

// dropAllTokens ends these too.
func dropAllTokens(ctx context.Context, tx *db.Tx, userID string) error {
	_, err := tx.Exec(ctx, deleteTokensOf, userID, "")
	return err
}
