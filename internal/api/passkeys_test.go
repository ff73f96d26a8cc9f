package api_test

import (
	"testing"

	"propusk/internal/apptest"
)

// A passkey logs in without a name and without a password, with two factors; as
// second factor it finishes a login, and it proves again who one is.
func TestAPasskeyLogsIn(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		for _, algorithm := range []int{apptest.ES256, apptest.EdDSA, apptest.RS256} {
			p := a.NewPerson(t)
			k := apptest.NewAuthenticator(t, algorithm)
			added := p.AddPasskey(t, k).Want(t, 201)
			if codes, _ := added.Data("recovery_codes").([]any); len(codes) != 10 {
				t.Errorf("%d recovery codes come with the first factor: %s", len(codes), added.Body)
			}
			in := a.LoginWithPasskey(t, k).Want(t, 200)
			if in.Text("user_id") != p.ID {
				t.Errorf("logged in as %s, want %s", in.Text("user_id"), p.ID)
			}
			session := a.As(in.Text("token")).Do(t, "GET", "/auth/session", nil).Want(t, 200)
			if session.Text("acr") != "aal2" {
				t.Errorf("session: %s", session.Body)
			}

			login := object{"email_or_name": p.Username, "password": p.Password}
			held := a.Do(t, "POST", "/auth/login", login).Want(t, 401, "second_factor_required")
			o := a.Do(t, "POST", "/auth/login/second-factor/passkey-options", object{"challenge": held.Text("challenge")}).Want(t, 200)
			k.Flags = apptest.FlagUP // here it need not verify its user
			done := a.Do(t, "POST", "/auth/login/second-factor", object{"challenge": held.Text("challenge"), "passkey": k.Get(t, o)}).Want(t, 200)
			k.Flags |= apptest.FlagUV

			c := a.As(done.Text("token"))
			o = c.Do(t, "POST", "/auth/reauthenticate/passkey-options", nil).Want(t, 200)
			c = a.As(c.Do(t, "POST", "/auth/reauthenticate", object{"passkey": k.Get(t, o)}).Want(t, 200).Text("token"))
			c.Do(t, "GET", "/auth/session", nil).Want(t, 200)

			list := c.Do(t, "GET", "/auth/passkeys", nil).Want(t, 200)
			all, _ := list.Data("passkeys").([]any)
			if len(all) != 1 {
				t.Fatalf("passkeys: %s", list.Body)
			}
			id, _ := all[0].(object)["id"].(string)
			c.Do(t, "PATCH", "/auth/passkeys/"+id, object{"name": " my key "}).Want(t, 200)
			c.Do(t, "DELETE", "/auth/passkeys/"+id, nil).Want(t, 200)
			a.LoginWithPasskey(t, k).Want(t, 401, "passkey_refused") // A12
			a.Do(t, "POST", "/auth/login", login).Want(t, 200)
		}
	})
}
