// Package outbox is what must leave: a durable queue, written in the
// transaction of the change that causes it, and its delivery by mail and SMS. A
// message's content is sealed under the master key, for a queued link is a
// credential, and bound to its row.
//
// It owns the table outbox. It does not know why a message is sent, nor what a
// code in it is good for; it tells by [Options.OnSent] when one has left.
//
//	outbox.go    what waits, and how it comes in
//	deliver.go   who sends what, when, and what becomes of it
//	settle.go    sending now, for whoever waits to see it
//	limits.go    how much may leave
//	sender.go    what a sender is; the one that keeps all in memory
//	smtp.go      mail; smtperror.go what a mail server's refusal means
//	sms.go       text messages, through whatever gateway speaks HTTP
//	operator.go  what an operator sees and does
//	metrics.go   figures
package outbox

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/net/idna"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// Channel is the way by which a message leaves.
type Channel string

// The channels.
const (
	Mail Channel = "mail"
	SMS  Channel = "sms"
)

// Channels is every channel that there is.
var Channels = []Channel{Mail, SMS} //nolint:gochecknoglobals // a constant list

// Kind names the template of a message.
type Kind string

// The messages that exist.
const (
	VerifyEmail          Kind = "verify_email"
	VerifyPhone          Kind = "verify_phone"
	EmailChangeRequested Kind = "email_change_requested" // to the address that is to be replaced
	EmailChangeConfirm   Kind = "email_change_confirm"   // to the address that is to replace it
	EmailChanged         Kind = "email_changed"          // to the address that was replaced
	Recover              Kind = "recover"
	Recovered            Kind = "recovered" // to every address
	LoginCode            Kind = "login_code"
	NewSignIn            Kind = "new_sign_in"
	PasswordChanged      Kind = "password_changed"
	FactorAdded          Kind = "factor_added"
	FactorRemoved        Kind = "factor_removed"
	PasskeyCopied        Kind = "passkey_copied" // to every address
	RecoveryCodesLow     Kind = "recovery_codes_low"
	AccountDisabled      Kind = "account_disabled"
	AccountExists        Kind = "account_exists" // to whose address somebody tried to register
	Register             Kind = "register"       // to finish a registration
)

// Lifetime is how long a message is worth sending that does not say.
const Lifetime = 7 * 24 * time.Hour

// Cause is why a message is sent. The higher goes first, and is held back by none
// that is lower; see [Limits] for what it may use of a recipient's.
type Cause int

// The causes.
const (
	ByStranger Cause = iota // asked for by anybody, or for an address that nobody has proven
	ByOwner                 // asked for on a device that the account knows, for its own proven address
	Notice                  // tells an owner of what happened to his account
	Undo                    // the way back from it
)

const sealPurpose = "outbox"

// Message is one mail to one address, or one SMS to one number.
type Message struct {
	Channel   Channel
	Kind      Kind
	SubjectID string // the user whom it is about; "" for none
	Cause     Cause
	To        string            // mailbox or E.164 number
	Lang      string            // "en" or "ru"
	Data      map[string]string // what the template shows
	Ref       string            // what OnSent is told once it has left; "": it is not called
	Lifetime  time.Duration     // how long it is worth sending; 0: [Lifetime]
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
	lifetime := m.Lifetime
	if lifetime == 0 {
		lifetime = Lifetime
	}
	_, err = tx.Exec(ctx, insertMessage, id, string(m.Channel), string(m.Kind), m.SubjectID, m.Lang, m.Ref, recipientKey(keys, m),
		keys.Seal(sealPurpose, bound(id, m), plain), db.Micros(now), db.Micros(now), db.Micros(now.Add(lifetime)), db.Micros(now.Add(lifetime)), int(m.Cause))
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", m.Kind, err)
	}
	return nil
}

// bound ties the sealed content to its row: it opens in no other.
func bound(id string, m Message) string {
	return strings.Join([]string{id, string(m.Kind), m.SubjectID, string(m.Channel), m.Lang, m.Ref}, "/")
}

// open gives m, which has what stands in the row, what was sealed beside it.
func open(keys *secret.Keys, id string, m *Message, sealed []byte) error {
	plain, err := keys.Open(sealPurpose, bound(id, *m), sealed)
	if err != nil {
		return err
	}
	var c content
	if err := json.Unmarshal(plain, &c); err != nil {
		return err
	}
	m.To, m.Data = c.To, c.Data
	return nil
}

// recipientKey is equal for equal recipients, and tells nobody who they are.
func recipientKey(keys *secret.Keys, m Message) []byte {
	to := strings.ToLower(m.To)
	if at := strings.LastIndexByte(to, '@'); at >= 0 {
		if ascii, err := idna.Lookup.ToASCII(to[at+1:]); err == nil {
			to = to[:at+1] + ascii
		}
	}
	return keys.MAC("outbox recipient", []byte(string(m.Channel)+" "+to))
}

// Forget drops what waits for a user who is no more. What was sent already
// still counts towards the limits, and no longer tells about whom it was.
func Forget(ctx context.Context, tx *db.Tx, subjectID string) error {
	for _, sql := range []string{deleteSubject, anonymiseSubject} {
		if _, err := tx.Exec(ctx, sql, subjectID); err != nil {
			return fmt.Errorf("forget messages: %w", err)
		}
	}
	return nil
}

// Waiting gives what is queued, in its order, at most limit.
func Waiting(ctx context.Context, q db.Querier, keys *secret.Keys, limit int) ([]Message, error) {
	var out []Message
	err := q.Query(ctx, listWaiting, []any{limit}, func(scan func(...any) error) error {
		var id string
		var sealed []byte
		var m Message
		if err := scan(&id, &m.Channel, &m.Kind, &m.SubjectID, &m.Lang, &m.Ref, &sealed); err != nil {
			return err
		}
		if err := open(keys, id, &m, sealed); err != nil {
			return err
		}
		out = append(out, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list outbox: %w", err)
	}
	return out, nil
}

// Purge drops what is over, at most limit, and gives its number.
func Purge(ctx context.Context, d *db.DB, now time.Time, limit int) (int64, error) {
	n, err := d.Exec(ctx, purge, db.Micros(now), limit)
	if err != nil {
		return 0, fmt.Errorf("purge outbox: %w", err)
	}
	return n, nil
}
