package account_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/db"
)

// S-13, S-14, V57, V58, V61: whatever is done in whatever order, a token
// is good exactly as long as a model of a few lines says. A failure names the
// seed that brings it about again.
func TestTokensLiveByTheModelWhateverHappens(t *testing.T) {
	t.Parallel()
	const steps = 200
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		for seed := range 2 {
			t.Run(fmt.Sprintf("%s/seed %d", engine, seed), func(t *testing.T) {
				m := newMachine(t, engine, seed)
				for m.step = range steps {
					m.act(t)
					if m.check(t, 6); t.Failed() {
						t.Fatalf("after step %d:\n%s", m.step, strings.Join(m.history, "\n"))
					}
				}
				m.check(t, len(m.tokens))
				wantWhole(t, m.nodes[0])
			})
		}
	}
}

// machine plays against one node on SQLite, with an idle limit, and two on
// PostgreSQL, without (for a use at one node is known to another only later).
type machine struct {
	nodes   []*apptest.App
	wires   []*wire
	users   []*modelUser
	tokens  []*modelToken // every one that there ever was
	last    int           // the node that was asked last
	idle    time.Duration
	dice    int
	seed    int
	step    int
	history []string
}

type modelUser struct {
	name, id, password string
	disabled           bool
}

type modelToken struct {
	token   string
	user    *modelUser
	id      string // the user's at that time
	expires time.Time
	seen    time.Time
	dead    bool
}

func newMachine(t *testing.T, engine db.Engine, seed int) *machine {
	m := &machine{seed: seed}
	o := apptest.Options{DatabaseURL: freshURL(t, engine), Policy: func(p *account.Policy) {
		p.AttemptsPerAccount, p.AttemptsPerNetwork = 1<<20, 1<<20
		if engine == db.SQLite {
			p.TokenIdle = 2 * time.Hour
		}
	}}
	m.nodes = []*apptest.App{apptest.Start(t, o)}
	if engine == db.SQLite {
		m.idle = 2 * time.Hour
	} else {
		m.nodes = append(m.nodes, anotherNode(t, m.nodes[0], o))
	}
	for _, a := range m.nodes {
		m.wires = append(m.wires, newWire(t, a))
	}
	for i := range 3 {
		u := &modelUser{name: fmt.Sprintf("user%d", i), password: apptest.GoodPassword}
		u.id = newUser(t, m.nodes[0], u.name, "", false).ID
		m.users = append(m.users, u)
	}
	return m
}

// roll gives the next number below n. It is the same in every run.
func (m *machine) roll(n int) int {
	m.dice++
	h := sha256.Sum256(fmt.Appendf(nil, "%d %d", m.seed, m.dice))
	return int(binary.BigEndian.Uint32(h[:])) % n
}

func (m *machine) now() time.Time { return m.nodes[0].Clock.Now() }

// at turns to a node. Before a request to another one than the last, a second
// passes on their clocks: that is the bound.
func (m *machine) at(n int) (*apptest.App, *wire) {
	if n != m.last {
		m.move(time.Second)
	}
	m.last = n
	return m.nodes[n], m.wires[n]
}

func (m *machine) move(d time.Duration) {
	for _, a := range m.nodes {
		a.Clock.Move(d)
	}
}

func (m *machine) live(k *modelToken) bool {
	return !k.dead && m.now().Before(k.expires) && (m.idle == 0 || m.now().Before(k.seen.Add(m.idle)))
}

// end makes the model's tokens of a user die, except some.
func (m *machine) end(u *modelUser, keep ...*modelToken) {
	for _, k := range m.tokens {
		if k.user == u && !slices.Contains(keep, k) {
			k.dead = true
		}
	}
}

// anyLive gives a live token, or nil.
func (m *machine) anyLive() *modelToken {
	var all []*modelToken
	for _, k := range m.tokens {
		if m.live(k) {
			all = append(all, k)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[m.roll(len(all))]
}

func (m *machine) added(u *modelUser, answer []byte, like *modelToken) {
	token := text(answer, "token")
	k := &modelToken{token: token, user: u, id: u.id, seen: m.now(), expires: m.now().Add(24 * time.Hour)}
	if like != nil { // the same session, with a new token
		k.expires = like.expires
	}
	m.tokens = append(m.tokens, k)
}

// act does one thing at one of the nodes.
func (m *machine) act(t *testing.T) {
	a, w := m.at(m.roll(len(m.nodes)))
	u := m.users[m.roll(len(m.users))]
	what := m.roll(12)
	m.history = append(m.history, fmt.Sprintf("step %d: node %d, action %d on %s", m.step, m.last, what, u.name))
	switch what {
	case 0, 1, 2:
		m.login(t, w, u)
	case 3:
		m.operate(t, u, a.Service.DisableUser(t.Context(), operator(), u.id), true)
	case 4:
		must(t, a.Service.EnableUser(t.Context(), operator(), u.id))
		u.disabled = false
	case 5:
		m.operate(t, u, a.Service.DeleteUser(t.Context(), operator(), u.id, nil), false)
		u.id, u.password = newUser(t, a, u.name, "", false).ID, apptest.GoodPassword
	case 6:
		_, err := a.Service.RevokeSessions(t.Context(), operator(), u.id, "")
		m.operate(t, u, err, u.disabled)
	case 7:
		m.move([]time.Duration{time.Second, time.Minute, 50 * time.Minute, 5 * time.Hour}[m.roll(4)])
	default:
		if k := m.anyLive(); k != nil {
			m.asOwner(t, w, k)
		}
	}
}

func (m *machine) operate(t *testing.T, u *modelUser, err error, disabled bool) {
	must(t, err)
	m.end(u)
	u.disabled = disabled
}

func (m *machine) login(t *testing.T, w *wire, u *modelUser) {
	password, right := u.password, m.roll(4) > 0
	if !right {
		password = wrongPassword
	}
	code, b := w.send(t, "POST", "/auth/login", "", `{"email_or_name":"`+u.name+`","password":"`+password+`"}`)
	if ok := right && !u.disabled; ok != (code == http.StatusOK) {
		t.Fatalf("login of %s (disabled: %v, right: %v): status %d\n%s", u.name, u.disabled, right, code, strings.Join(m.history, "\n"))
	}
	if code == http.StatusOK {
		m.added(u, b, nil)
	}
}

// asOwner does what the bearer of a live token can.
func (m *machine) asOwner(t *testing.T, w *wire, k *modelToken) {
	u := k.user
	next := fmt.Sprintf("velvet-Anchor-%d-quartz", 1000+m.step)
	call := func(method, path, body string) []byte {
		code, b := w.send(t, method, path, k.token, body)
		if k.seen = m.now(); code != http.StatusOK {
			t.Fatalf("%s %s: status %d: %s\n%s", method, path, code, b, strings.Join(m.history, "\n"))
		}
		return b
	}
	switch m.roll(5) {
	case 0:
		call("POST", "/auth/logout", "")
		k.dead = true
	case 1:
		call("DELETE", "/auth/sessions", "")
		m.end(u, k)
	case 2:
		b := call("POST", "/auth/password", `{"current_password":"`+u.password+`","new_password":"`+next+`"}`)
		u.password = next
		m.end(u)
		m.added(u, b, k)
	case 3:
		call("PATCH", "/"+k.id, `{"current_password":"`+u.password+`","password":"`+next+`"}`)
		u.password = next
		m.end(u, k)
	case 4:
		b := call("POST", "/auth/reauthenticate", `{"password":"`+u.password+`"}`)
		k.dead = true
		m.added(u, b, k)
	}
}

// check asks for n tokens, the newest among them, at every node.
func (m *machine) check(t *testing.T, n int) {
	asked := slices.Clone(m.tokens[max(0, len(m.tokens)-n/2):])
	for len(m.tokens) > 0 && len(asked) < n {
		asked = append(asked, m.tokens[m.roll(len(m.tokens))])
	}
	for i := range m.nodes {
		_, w := m.at((m.last + i) % len(m.nodes))
		for _, k := range asked {
			want := http.StatusUnauthorized
			if m.live(k) {
				want = http.StatusOK
			}
			code, b := w.send(t, "GET", "/auth/session", k.token, "")
			if code != want || code == http.StatusOK && text(b, "user_id") != k.id {
				t.Errorf("node %d: token of %s: status %d, want %d: %s", m.last, k.user.name, code, want, b)
			}
			if code == http.StatusOK {
				k.seen = m.now()
			}
		}
	}
}
