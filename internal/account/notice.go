package account

import (
	"cmp"
	"context"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/mileusna/useragent"

	"propusk/internal/db"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// page is where a link in a mail leads, below [Policy.PublicURL].
type page string

// The pages. Opening one changes nothing; what it is about happens when its
// button is pressed.
const (
	pageVerify   page = "/account/verify"
	pageUndo     page = "/account/undo"
	pageRecover  page = "/account/recover"
	pageLogin    page = "/account/login"
	pageRegister page = "/account/register"
)

// link is the address of a page with a token, or "" where it is not known under
// which address people reach the service. Nothing of a request goes into it.
func (s *Service) link(p page, token secret.Text, lang string) string {
	if s.policy.PublicURL == "" {
		return ""
	}
	return s.policy.PublicURL + string(p) + "?" + url.Values{"token": {token.Reveal()}, "lang": {lang}}.Encode()
}

// languageOf is the language in which somebody is written to.
func (s *Service) languageOf(u userRow, asked string) string {
	return cmp.Or(u.language, asked, s.policy.Language, "en")
}

// origin is what a message says of him who caused it.
type origin struct {
	IP     string    `json:"ip"`
	Device string    `json:"device"`
	At     time.Time `json:"at"`
}

func originOf(c Caller, now time.Time) origin {
	o := origin{IP: c.ip(), At: now}
	if a := useragent.Parse(c.UserAgent); a.Name != "" {
		o.Device = strings.TrimSpace(a.Name + ", " + a.OS)
		o.Device = strings.TrimSuffix(o.Device, ",")
	}
	return o
}

func (s *Service) data(u userRow, o origin) map[string]string {
	zone := s.policy.Zone
	if zone == nil {
		zone = time.UTC
	}
	return map[string]string{
		"username": u.Username, "ip": o.IP, "device": o.Device, "time": o.At.In(zone).Format(time.RFC3339),
	}
}

// tell queues a notice to the user's address. One that was never proven may be
// somebody else's, who is not to be bothered with what happens here.
func (s *Service) tell(ctx context.Context, tx *db.Tx, now time.Time, u userRow, kind outbox.Kind, o origin, more map[string]string) error {
	if u.emailVerifiedAt.IsZero() {
		return nil
	}
	return s.send(ctx, tx, now, outbox.Message{
		Channel: outbox.Mail, Kind: kind, SubjectID: u.ID, Cause: outbox.Notice, To: u.Email, Lang: s.languageOf(u, ""), Data: merge(s.data(u, o), more),
	})
}

// tellAll queues a notice to every address and number of the user that is proven.
// An SMS has room for nothing more.
func (s *Service) tellAll(ctx context.Context, tx *db.Tx, now time.Time, u userRow, kind outbox.Kind, o origin, more map[string]string) error {
	if !u.contactVerifiedAt.IsZero() {
		err := s.send(ctx, tx, now, outbox.Message{
			Channel: outbox.SMS, Kind: kind, SubjectID: u.ID, Cause: outbox.Notice, To: u.ContactNumber, Lang: s.languageOf(u, ""), Data: s.data(u, o),
		})
		if err != nil {
			return err
		}
	}
	return s.tell(ctx, tx, now, u, kind, o, more)
}

func merge(a, b map[string]string) map[string]string {
	maps.Copy(a, b)
	return a
}

// send queues a message. The outbox is woken when the transaction is over, see
// [Service.tx].
func (s *Service) send(ctx context.Context, tx *db.Tx, now time.Time, m outbox.Message) error {
	return outbox.Enqueue(ctx, tx, s.keys, now, m)
}

// tx runs a transaction that may queue messages.
func (s *Service) tx(ctx context.Context, f func(*db.Tx) error) error {
	err := s.db.Tx(ctx, f)
	if err == nil {
		s.wake()
	}
	return err
}
