package api_test

import (
	"net/netip"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// The seed's examples, sent as they are written (S-01; promise P2). A throwaway
// instance needs no token on loopback, takes common passwords, and gives the
// first user the seed's id.
func TestSeedReplaysWordForWord(t *testing.T) {
	moscow, err := time.LoadLocation("Europe/Moscow")
	if err != nil {
		t.Fatal(err)
	}
	o := apptest.Options{
		Zone: moscow, Literals: true, TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Policy: func(p *account.Policy) {
			p.PasswordBlocklist = false
			p.FirstUserID = "e5f8433e-76a9-4509-87f0-e1b12354d92b"
		},
	}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		a.Do(t, "POST", "/auth/register", `{
    "user_type": "ind", 
    "username": "egor228", 
    "password": "password", 
    "email": "citymodz@yandex.com", 
    "contact_number": "+79853553825"
    }`).Want(t, 201)
	})
}
