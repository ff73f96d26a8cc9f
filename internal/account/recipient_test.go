package account_test

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/dev"
	"propusk/internal/outbox"
)

// limitedPost delivers by the limits that operators start with.
type limitedPost struct {
	*outbox.Inbox
	a   *apptest.App
	box *outbox.Outbox
}

func newLimitedPost(t testing.TB, a *apptest.App) *limitedPost {
	t.Helper()
	templates, err := outbox.LoadTemplates("", "Test", apptest.PublicURL)
	must(t, err)
	in := outbox.NewInbox()
	return &limitedPost{Inbox: in, a: a, box: outbox.New(outbox.Options{
		DB: a.DB, Keys: a.Keys, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: a.Clock.Now, Mail: in, SMS: in,
		OnSent: a.Service.MessageSent, Render: templates.Render,
		Limits: outbox.Limits{MailPerMinute: 600, MailPerRecipient: 20, SMSPerHour: 300, SMSPerNumber: 5},
	})}
}

// deliver sends what can leave now.
func (p *limitedPost) deliver(t testing.TB) {
	t.Helper()
	must(t, p.a.Service.ServeRequests(t.Context()))
	must(t, p.box.Settle(t.Context()))
}

// got is what came to somebody, by its kind.
func (p *limitedPost) got(to string) map[outbox.Kind]int {
	n := map[outbox.Kind]int{}
	for _, e := range p.Messages(to) {
		n[e.Kind]++
	}
	return n
}

// token is that of the newest link that came to somebody.
func (p *limitedPost) token(to string) string {
	all := p.Messages(to)
	return dev.TokenOf(all[len(all)-1])
}

// prove gives somebody a number that is proven, a day ago.
func (p *limitedPost) prove(t testing.TB, owner *apptest.Person, number string) {
	t.Helper()
	owner.Do(t, "PATCH", "/"+owner.ID, object{"contact_number": number}).Want(t, 200)
	owner.Do(t, "POST", "/auth/verify/phone/send", nil).Want(t, 202)
	p.deliver(t)
	owner.Do(t, "POST", "/auth/verify/phone", object{"code": p.Messages(number)[0].Code}).Want(t, 200)
	p.a.Clock.Move(25 * time.Hour)
}

// S-21, F18. Attack: somebody without an account, or with another one, has a number written to
// until it gets no more for the day. The owner's codes come to him all the same, on
// a device that his account knows; and all together are as many as before.
func TestStrangersDoNotUseUpTheOwnersTexts(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		post := newLimitedPost(t, a)
		ask := func(c *apptest.Client, owner *apptest.Person) {
			c.Do(t, "POST", "/auth/login/code/send", object{"email_or_name": owner.Username, "via": "phone"}).Want(t, 202)
		}
		owner := func(name, number string) (*apptest.Person, *apptest.Client) {
			p := newUser(t, a, name, "", true)
			p.Login(t, a.Client)
			post.prove(t, p, number)
			return p, a.With("X-Device-Token", mark(t, a.Client, p))
		}
		// wantOwners lets a day pass, in which the owner asks each hour, and so do strangers.
		wantOwners := func(p *apptest.Person, known *apptest.Client, number string) {
			t.Helper()
			before, came := len(post.Messages(number)), 0
			for range 23 {
				ask(known, p)
				post.deliver(t)
				if n := len(post.Messages(number)); n > before {
					got := post.Messages(number)[n-1]
					known.Do(t, "POST", "/auth/login/code", object{"email_or_name": p.Username, "code": got.Code}).Want(t, 200)
					before, came = n, came+1
				}
				a.Clock.Move(30 * time.Minute)
				ask(a.Client, p)
				post.deliver(t)
				if n := len(post.Messages(number)); n > before {
					t.Errorf("%s: a stranger had another text sent", p.Username)
				}
				a.Clock.Move(30 * time.Minute)
			}
			if total := before - 1; came != 2 || total != 5 { // the first has proven the number
				t.Errorf("%s: %d codes came to the owner, of %d texts in a day", p.Username, came, total)
			}
		}

		p, known := owner("anna", "+79853553825")
		for range 5 {
			ask(a.Client, p)
		}
		post.deliver(t)
		wantOwners(p, known, "+79853553825")

		p, known = owner("berta", "+79853553826")
		mallory := newUser(t, a, "mallory", "", true)
		mallory.Login(t, a.Client)
		mallory.Do(t, "PATCH", "/"+mallory.ID, object{"contact_number": "+79853553826"}).Want(t, 200)
		for range 5 {
			mallory.Do(t, "POST", "/auth/verify/phone/send", nil).Want(t, 202)
		}
		post.deliver(t)
		wantOwners(p, known, "+79853553826")
	})
}

// S-29. Attack: whoever knows the password fills the owner's mailbox, from as many devices
// as he likes, and takes the account over meanwhile. What tells the owner of it, and
// gives it back, comes at once.
func TestNoFloodHoldsBackTheWayBack(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		post := newLimitedPost(t, a)
		owner := newUser(t, a, "owner", "", true)
		owner.Login(t, a.Client)
		for range 12 {
			device := a.With("X-Device-Token", mark(t, a.Client, owner))
			for range 5 {
				device.Do(t, "POST", "/auth/recover", object{"email_or_name": owner.Email}).Want(t, 202)
			}
		}
		post.deliver(t)
		if n := post.got(owner.Email)[outbox.Recover]; n != 20 {
			t.Fatalf("%d mails: this test floods nothing", n)
		}
		change := func(to string) {
			owner.Do(t, "PATCH", "/"+owner.ID, object{"email": to}).Want(t, 200)
			post.deliver(t)
		}
		change("thief@evil.example")
		if n := post.got(owner.Email)[outbox.EmailChangeRequested]; n != 1 {
			t.Errorf("the owner was told %d times that another address is asked for", n)
		}
		for i := range 25 { // notices are limited too, and the way back waits for none of them
			change(fmt.Sprintf("thief%d@evil.example", i))
		}
		change("thief@evil.example")
		a.Do(t, "POST", "/auth/verify/email", object{"token": post.token("thief@evil.example")}).Want(t, 200)
		post.deliver(t)
		if n := post.got(owner.Email)[outbox.EmailChanged]; n != 1 {
			t.Fatalf("%d mails give the owner his account back", n)
		}
		a.Do(t, "POST", "/auth/verify/email/undo", object{"token": post.token(owner.Email)}).Want(t, 200)
		post.deliver(t)
		if n := post.got(owner.Email)[outbox.Recover]; n != 21 {
			t.Errorf("%d mails to set another password, of which 20 are the thief's", n)
		}
	})
}

// F18. Attack: each login makes a mark of a device. None of them lets its owner write
// more often to an address or a number that is not proven to be his.
func TestNoDeviceWritesMoreToWhoeverHasProvenNothing(t *testing.T) {
	t.Parallel()
	const limit, address, number = 5, "victim@corp.example", "+79853553825"
	o := apptest.Options{Policy: func(p *account.Policy) { p.MessagesPerAddress = limit }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		proven, unproven := newUser(t, a, "mallory", "", true), newUser(t, a, "morris", "", false)
		for _, p := range []*apptest.Person{proven, unproven} {
			p.Login(t, a.Client)
		}
		proven.Do(t, "PATCH", "/"+proven.ID, object{"email": address}).Want(t, 200)
		proven.Do(t, "PATCH", "/"+proven.ID, object{"contact_number": number}).Want(t, 200)
		refused := 0
		for range 4 {
			c := proven.With("X-Device-Token", mark(t, a.Client, proven))
			for range limit {
				for _, contact := range []string{"email", "phone"} {
					got := c.Do(t, "POST", "/auth/verify/"+contact+"/send", object{})
					if got.Want2(t, 202, 429) == 429 {
						got.Want(t, 429, "too_many_messages")
						refused++
					}
				}
			}
			stranger := a.With("X-Device-Token", mark(t, a.Client, unproven))
			for range limit {
				stranger.Do(t, "POST", "/auth/recover", object{"email_or_name": unproven.Username}).Want(t, 202)
			}
		}
		a.Deliver(t)
		for _, to := range []string{address, number, unproven.Email} {
			if n := len(a.Inbox.Messages(to)); n != limit {
				t.Errorf("%d messages to %s", n, to)
			}
		}
		if want := 4*limit*2 - limit - (limit - 1); refused != want {
			t.Errorf("%d requests were refused, want %d", refused, want)
		}
	})
}
