package account_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

// steps walks at random through recovery, registration and logins with second
// factors, and brings whatever it has been given to whatever takes something.
type steps struct {
	machine // for its dice

	a     *apptest.App
	d     database
	users []*armed
	given []*step
	done  map[string]int
}

// step is something that leads one on: a link, or the challenge of a login.
type step struct {
	kind, value, browser string
	user                 *armed // nil: who registers
	used                 bool
}

// S-25, V19, V21, V42: in whatever order things are asked for and brought back, no step
// is skipped: a password is set, an account made, and a session given only by what
// was given for that, to that user, and once, with the factors that he must have.
func TestNoStepIsSkipped(t *testing.T) {
	t.Parallel()
	apptest.Each(t, verifyFirst(), func(t *testing.T, a *apptest.App) {
		d := direct(t, a.URL)
		for seed := range 2 {
			m := &steps{machine: machine{seed: 100 + seed}, a: a, d: d, done: map[string]int{}}
			for i, name := range []string{"free", "app", "required"} {
				p := newUser(t, a, fmt.Sprintf("%s%d", name, seed), "", true)
				x := &armed{Person: p}
				if i == 1 {
					x = arm(t, a, p)
				}
				must(t, a.Service.SetFactorRequired(t.Context(), operator(), p.ID, i == 2))
				m.users = append(m.users, x)
			}
			for m.step = range 300 {
				m.act(t)
				if t.Failed() {
					t.Fatalf("seed %d:\n%s", seed, strings.Join(m.history, "\n"))
				}
			}
			for _, what := range []string{"recover", "login", "challenge", "enrol", "register", "refused"} {
				if m.done[what] < 2 {
					t.Errorf("seed %d: %q happened %d times of %v", seed, what, m.done[what], m.done)
				}
			}
		}
	})
}

func (m *steps) act(t *testing.T) {
	x := m.users[[]int{0, 1, 2, 2}[m.roll(4)]]
	m.d.exec(t, `DELETE FROM throttle`)
	what := m.roll(12)
	m.history = append(m.history, fmt.Sprintf("step %d: action %d, %s", m.machine.step, what, x.Username))
	switch what {
	case 0:
		m.a.Do(t, "POST", "/auth/recover", object{"email_or_name": x.Username}).Want(t, 202)
		m.give("recover", m.a.Letter(t, x.Email, outbox.Recover).Token, "", x)
	case 1:
		browser := m.a.Do(t, "POST", "/auth/login/code/send", object{"email_or_name": x.Username}).Want(t, 202).Text("login_request")
		m.give("login", m.a.Letter(t, x.Email, outbox.LoginCode).Token, browser, x)
	case 2:
		m.session(t, tryLogin(t, m.a.Client, x.Username, x.Password), x, false)
	case 3:
		name := fmt.Sprintf("new%d-%d", m.seed, m.machine.step)
		m.a.Do(t, "POST", "/auth/register", object{"username": name, "email": name + "@example.com", "password": apptest.GoodPassword}).Want(t, 202)
		m.give("register", m.a.Letter(t, name+"@example.com", outbox.Register).Token, "", nil)
	case 4: // begins again, and must not be let through by that
		if s := m.any(); s != nil {
			m.enrol(t, s)
		}
	default:
		if s := m.any(); s != nil {
			m.bring(t, s)
		}
	}
}

func (m *steps) enrol(t *testing.T, s *step) {
	got := m.a.Do(t, "POST", "/auth/login/second-factor/enrol", object{"challenge": s.value})
	m.history = append(m.history, fmt.Sprintf("    %+v to enrol: %d", *s, got.Status))
	if ok := s.kind == "enrol" && !s.used; got.Status == 200 && !ok {
		t.Errorf("enrols by %+v: %s", s, got.Body)
	} else if got.Status == 200 {
		s.user.seed = got.Text("secret")
	}
}

func (m *steps) give(kind, value, browser string, x *armed) {
	m.given = append(m.given, &step{kind: kind, value: value, browser: browser, user: x})
}

// any gives something of the last that were given, or nil.
func (m *steps) any() *step {
	recent := m.given[max(0, len(m.given)-6):]
	if len(recent) == 0 {
		return nil
	}
	return recent[m.roll(len(recent))]
}

// bring brings it where it belongs, or anywhere.
func (m *steps) bring(t *testing.T, s *step) {
	doors := []string{"recover", "login", "challenge", "register"}
	door := strings.Replace(s.kind, "enrol", "challenge", 1)
	if m.roll(3) == 0 {
		door = doors[m.roll(len(doors))]
	}
	right := true
	var got *apptest.Answer
	const next = "another-Anchor-71-quartz"
	switch door {
	case "recover":
		got = m.a.Do(t, "POST", "/auth/recover/confirm", object{"token": s.value, "new_password": next})
	case "login":
		got = m.a.Do(t, "POST", "/auth/login/code", object{"token": s.value, "login_request": s.browser})
	case "register":
		got = m.a.Do(t, "POST", "/auth/register/confirm", object{"token": s.value})
	case "challenge":
		code := "000000"
		if s.kind == "enrol" && m.roll(4) > 0 {
			m.enrol(t, s)
		}
		if right = s.user != nil && s.user.seed != "" && m.roll(3) > 0; right {
			m.a.Clock.Move(30 * time.Second) // no code counts twice
			code = s.user.code(t, m.a)
		}
		got = finish(t, m.a.Client, s.value, code)
	}
	m.history = append(m.history, fmt.Sprintf("    %+v to %s: %d", *s, door, got.Status))
	belongs := door == strings.Replace(s.kind, "enrol", "challenge", 1) && !s.used && right
	if got.Status < 300 && !belongs {
		t.Errorf("%+v at %s: %d %s", s, door, got.Status, got.Body)
	}
	switch {
	case door == "login" || door == "challenge":
		m.session(t, got, s.user, door == "challenge")
	case got.Text("token") != "":
		t.Errorf("%s gives a session: %s", door, got.Body)
	case door == "recover" && got.Status < 300:
		s.user.Password = next
		for _, other := range m.given { // which ends with the old password
			other.used = other.used || other.user == s.user
		}
	}
	if got.Status < 300 || got.Code() == "second_factor_required" || got.Code() == "second_factor_enrolment_required" {
		s.used = true
		m.done[s.kind]++
	} else {
		m.done["refused"]++
	}
}

// session looks at what came of a login: there is a session only with the factors
// that its user must have, and it is his.
func (m *steps) session(t *testing.T, got *apptest.Answer, x *armed, second bool) {
	switch got.Code() {
	case "second_factor_required":
		m.give("challenge", got.Text("challenge"), "", x)
	case "second_factor_enrolment_required":
		m.give("enrol", got.Text("challenge"), "", x)
	}
	token := got.Text("token")
	if token == "" {
		return
	}
	s := m.a.As(token).Do(t, "GET", "/auth/session", nil).Want(t, 200)
	if free := x != nil && x == m.users[0]; x == nil || s.Text("user_id") != x.ID || (s.Text("acr") == "aal2") == free || second == free {
		t.Errorf("a session with %s for %+v: %s", s.Text("acr"), x, s.Body)
	}
	if x == m.users[2] && m.roll(2) == 0 { // so that he must add one again
		must(t, m.a.Service.RemoveFactors(t.Context(), operator(), x.ID, account.TOTP))
		x.seed = ""
	}
}
