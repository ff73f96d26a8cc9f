package dev_test

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// throwaway is a service as propusk dev builds it, save that its clock stands
// still until it is moved.
func throwaway(policy func(*account.Policy)) apptest.Options {
	return apptest.Options{Dev: true, Policy: func(p *account.Policy) {
		p.Mail, p.MessagesPerAddress = true, 1000
		if policy != nil {
			policy(p)
		}
	}}
}

type object = map[string]any

// newest gives the newest message of a kind that came to an address.
func newest(t *testing.T, a *apptest.App, to, kind string) object {
	t.Helper()
	got := messages(t, a, url.Values{"to": {to}, "kind": {kind}})
	if len(got) == 0 {
		t.Fatalf("no %s came to %s", kind, to)
	}
	return got[0]
}

func messages(t *testing.T, a *apptest.App, query url.Values) (out []object) {
	t.Helper()
	list, ok := a.Raw(t, "GET", "/dev/messages?"+query.Encode(), nil).Want(t, http.StatusOK).Data("messages").([]any)
	if !ok {
		t.Fatal("no list of messages")
	}
	for _, m := range list {
		out = append(out, m.(object))
	}
	return out
}

func kinds(t *testing.T, a *apptest.App) (out []string) {
	t.Helper()
	for _, m := range messages(t, a, nil) {
		out = append(out, m["kind"].(string)+" to "+m["to"].(string))
	}
	return out
}

func move(t *testing.T, a *apptest.App, body object) *apptest.Answer {
	t.Helper()
	return a.Raw(t, "POST", "/dev/clock", body)
}

// N18, P1 of verification and recovery: the whole life of an account, by what a
// client and a reader of mail have, and nothing else. How long it takes is in the
// log; on an idle machine it is a small part of a second.
func TestWholeLifeOfAnAccount(t *testing.T) {
	apptest.Each(t, throwaway(nil), func(t *testing.T, a *apptest.App) {
		begun := time.Now()
		const first, second = "anna@example.com", "anna@example.org"
		role := func(token string) any {
			return a.As(token).Do(t, "GET", "/auth/session", nil).Want(t, http.StatusOK).Data("user_role")
		}
		login := func(password string) string {
			return a.Do(t, "POST", "/auth/login", object{"email_or_name": "anna", "password": password, "remember_me": true}).Want(t, http.StatusOK).Text("token")
		}

		// Sign up.
		id := a.Do(t, "POST", "/auth/register", object{"username": "anna", "email": first, "password": apptest.GoodPassword}).
			Want(t, http.StatusCreated).Text("user_id")
		token := login(apptest.GoodPassword)
		if got := role(token); got != account.RoleNotVerified {
			t.Errorf("role of a newcomer: %v", got)
		}

		// Verify, by the link. It works once.
		link := newest(t, a, first, "verify_email")["token"]
		a.Do(t, "POST", "/auth/verify/email", object{"token": link}).Want(t, http.StatusOK)
		a.Do(t, "POST", "/auth/verify/email", object{"token": link}).Want(t, http.StatusUnauthorized, "link_invalid")
		if got := role(token); got != account.RoleVerified {
			t.Errorf("role afterwards: %v", got)
		}

		// Change the address, and confirm it, by the code. Until then the old one is it.
		a.As(token).Do(t, "PATCH", "/"+id, object{"email": second}).Want(t, http.StatusOK)
		newest(t, a, first, "email_change_requested")
		email := func() string { return a.As(token).Do(t, "GET", "/"+id, nil).Want(t, http.StatusOK).Text("email") }
		if got := email(); got != first {
			t.Errorf("address before it is confirmed: %s", got)
		}
		code := newest(t, a, second, "email_change_confirm")["code"]
		a.As(token).Do(t, "POST", "/auth/verify/email", object{"code": code}).Want(t, http.StatusOK)
		if got := email(); got != second {
			t.Errorf("address after it is confirmed: %s", got)
		}
		newest(t, a, first, "email_changed")

		// Forget the password, and recover.
		const nextPassword = "second-Teapot-93-lantern"
		a.Do(t, "POST", "/auth/recover", object{"email_or_name": second}).Want(t, http.StatusAccepted)
		recovery := newest(t, a, second, "recover")["token"]
		a.Do(t, "POST", "/auth/recover/confirm", object{"token": recovery, "new_password": nextPassword}).Want(t, http.StatusOK)
		newest(t, a, second, "recovered")
		a.As(token).Do(t, "GET", "/auth/session", nil).Want(t, http.StatusUnauthorized, "token_invalid")
		a.Do(t, "POST", "/auth/login", object{"email_or_name": "anna", "password": apptest.GoodPassword}).Want(t, http.StatusUnauthorized)
		token = login(nextPassword)

		// 30 days, to the second.
		move(t, a, object{"advance": "719h59m59s"}).Want(t, http.StatusOK)
		a.As(token).Do(t, "GET", "/auth/session", nil).Want(t, http.StatusOK)
		move(t, a, object{"advance": "1s"}).Want(t, http.StatusOK)
		a.As(token).Do(t, "GET", "/auth/session", nil).Want(t, http.StatusUnauthorized, "token_invalid")

		took := time.Since(begun)
		t.Logf("the whole life took %v", took.Round(time.Millisecond))
		if took > 5*time.Second {
			t.Errorf("the whole life took %v: it is promised to take less than a second", took)
		}
		want := []string{
			"new_sign_in to " + second, // from a device without a mark
			"recovered to " + second, "recover to " + second, "email_changed to " + first, "email_change_confirm to " + second,
			"email_change_requested to " + first, "verify_email to " + first,
		}
		got := kinds(t, a)
		if len(got) == len(want) && got[4] != want[4] { // the two mails of a change go to two people, in no order between them
			got[4], got[5] = got[5], got[4]
		}
		if !slices.Equal(got, want) {
			t.Errorf("messages %q, want %q", got, want)
		}
	})
}
