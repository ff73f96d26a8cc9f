package account_test

import (
	"maps"
	"strconv"
	"strings"
	"testing"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// figures are the values of one metric, by their labels.
func figures(t testing.TB, a *apptest.App, name string) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for line := range strings.Lines(metrics(t, a)) {
		rest, ok := strings.CutPrefix(line, "propusk_"+name+"{")
		if !ok {
			continue
		}
		labels, value, _ := strings.Cut(strings.TrimSpace(rest), "} ")
		n, err := strconv.ParseFloat(value, 64)
		must(t, err)
		all[labels] = n
	}
	return all
}

// wantFigures fails the test unless do changes a metric by just that.
func wantFigures(t *testing.T, a *apptest.App, what, name string, do func(), want map[string]float64) {
	t.Helper()
	before := figures(t, a, name)
	do()
	got := figures(t, a, name)
	for labels, n := range before {
		if got[labels] -= n; got[labels] == 0 {
			delete(got, labels)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: %s grew by %v, want %v", what, name, got, want)
	}
}

// The figures tell what was asked for and what came of each link and code.
func TestFiguresTellWhatCameOfLinksAndCodes(t *testing.T) {
	t.Parallel()
	asked := map[string]string{"verify_email": "verify_email", "recover": "recover", "login": "login", "login by SMS": "login", "register": "register"}
	purpose := map[string]string{"recover_issued": "recover", "login by SMS": "login"} // the others are called as they are
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		for _, s := range sendables() {
			own := s.name
			if p := purpose[own]; p != "" {
				own = p
			}
			label := func(purpose, outcome string) string { return `outcome="` + outcome + `",purpose="` + purpose + `"` }
			wrong := own
			if own == "change_email" { // what is wrong is neither
				wrong = "verify_email"
			}
			var b brought
			requests := map[string]float64{}
			if p := asked[s.name]; p != "" {
				requests[`purpose="`+p+`"`] = 1
			}
			who := "figures-" + strings.ToLower(strings.ReplaceAll(s.name, " ", "-"))
			wantFigures(t, a, s.name, "message_requests_total", func() { b = s.ask(t, a, who)() }, requests)
			bad := b
			if b.code != "" {
				bad.code = wrongCode(b.code)
				wantFigures(t, a, s.name+", wrong code", "single_use_total", func() { bad.bring(t, a, false) }, map[string]float64{label(wrong, "wrong_code"): 1})
			}
			if b.link != "" {
				bad.link = strings.Repeat("A", 43)
				wantFigures(t, a, s.name+", wrong link", "single_use_total", func() { bad.bring(t, a, true) }, map[string]float64{label(wrong, "link_invalid"): 1})
			}
			wantFigures(t, a, s.name, "single_use_total", func() { b.bring(t, a, b.link != "") }, map[string]float64{label(own, "success"): 1})
		}
	})
}

// The figures tell of second factors, and of what was refused for being too much.
func TestFiguresTellOfSecondFactorsAndLimits(t *testing.T) {
	t.Parallel()
	o := apptest.Options{Policy: func(p *account.Policy) { p.MessagesPerAddress = 1 }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p := arm(t, a, newUser(t, a, "anna", "", true))
		one := func(outcome string) map[string]float64 { return map[string]float64{`outcome="` + outcome + `"`: 1} }
		challenge := ""
		wantFigures(t, a, "half a login", "logins_total", func() { challenge = p.challenge(t, a.Client) }, one("second_factor_required"))
		wrong := func() { finish(t, a.Client, challenge, p.wrongCode(t, a)) }
		wantFigures(t, a, "wrong code", "second_factors_total", wrong, one("refused"))
		wantFigures(t, a, "wrong code", "logins_total", wrong, one("wrong_code"))
		wantFigures(t, a, "login", "logins_total", func() { finish(t, a.Client, challenge, p.code(t, a)).Want(t, 200) }, one("success"))

		k := apptest.NewAuthenticator(t, apptest.ES256)
		q := a.NewPerson(t)
		q.AddPasskey(t, k).Want(t, 201)
		k.Origin = "https://evil.example"
		wantFigures(t, a, "passkey that lies", "second_factors_total", func() { a.LoginWithPasskey(t, k).Want(t, 401) }, one("refused"))
		k.Origin = apptest.PublicURL
		wantFigures(t, a, "passkey", "second_factors_total", func() { a.LoginWithPasskey(t, k).Want(t, 200) }, map[string]float64{})

		for range 5 {
			challenge = p.challenge(t, a.Client)
			wrong()
		}
		wantFigures(t, a, "too many codes", "throttled_total", wrong, map[string]float64{`scope="code"`: 1})
		boris := newUser(t, a, "boris", "", false)
		boris.Login(t, a.Client)
		boris.Do(t, "POST", "/auth/verify/email/send", map[string]any{}).Want(t, 202)
		wantFigures(t, a, "too many messages", "throttled_total", func() { boris.Do(t, "POST", "/auth/verify/email/send", map[string]any{}).Want(t, 429) }, map[string]float64{`scope="recipient"`: 1})
	})
}
