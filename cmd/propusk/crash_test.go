package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/apptest/pgtest"
)

const (
	crashClients = 8
	// crashPassword is everybody's: the hash is salted, and what is at stake
	// here is whether it was stored.
	crashPassword = "velvet-Anchor-71-quartz"
)

// crashes is how often the program is killed on each engine: every one cuts off
// crashClients registrations. PROPUSK_TEST_CRASHES=125 makes a thousand of them.
func crashes(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("PROPUSK_TEST_CRASHES"))
	if os.Getenv("PROPUSK_TEST_CRASHES") == "" {
		return 6
	}
	if err != nil || n < 1 {
		t.Fatalf("PROPUSK_TEST_CRASHES is no number of crashes")
	}
	return n
}

// kill -9 in the middle of registrations, again and again (P1, P7): every
// acknowledged user is whole, nobody is half-written, and who lost the answer
// and asks again gets the one user that was asked for.
func TestAcknowledgedUsersSurviveKill(t *testing.T) {
	for engine, database := range map[string]func(testing.TB, string) string{
		"sqlite":   func(_ testing.TB, dir string) string { return "sqlite:" + filepath.Join(dir, "propusk.db") },
		"postgres": func(t testing.TB, _ string) string { return pgtest.URL(t) },
	} {
		t.Run(engine, func(t *testing.T) { // one after the other: they would be late for each other's sake
			dir := t.TempDir()
			c := &crashTest{t: t, dir: dir, database: database(t, dir), acknowledged: map[string]string{}}
			for i := range crashes(t) {
				c.start()
				c.check()
				c.crash(i)
			}
			c.start()
			c.check()
			c.checkTrail()
			c.checkStarts()
			t.Logf("%d crashes cut off %d registrations, of which %d had been stored; %d users; ready after %s, at the slowest %s",
				crashes(t), c.cut, c.stored, len(c.acknowledged), c.starts[len(c.starts)/2], c.starts[len(c.starts)-1])
		})
	}
}

type crashTest struct {
	t             *testing.T
	dir, database string
	process       *process
	starts        []time.Duration // until it was ready
	cut, stored   int             // registrations without an answer, and those of them that were found

	mu           sync.Mutex
	acknowledged map[string]string // username → id
	lost         []string          // usernames whose registration got no answer
	attempts     int
}

func (c *crashTest) settings() []string {
	return []string{"--database=" + c.database, "--master-key-file=" + filepath.Join(c.dir, "master.key")}
}

// start starts the program, and wants it ready, however it ended.
func (c *crashTest) start() {
	c.t.Helper()
	begun := time.Now()
	// All hash at once, so that all come to the database at once: that is where
	// the crash shall find them.
	c.process = run(c.t, c.dir, append([]string{"serve", "--log-level=error", "--hash-workers=8"}, c.settings()...)...)
	if code := status(c.t, c.process, example{method: http.MethodGet, path: "/readyz"}, ""); code != http.StatusOK {
		c.t.Errorf("readyz: status %d", code)
	}
	c.starts = append(c.starts, time.Since(begun))
}

// checkStarts judges the median: one start may be slow because the machine had
// something else to do, most of them only because of the program.
func (c *crashTest) checkStarts() {
	c.t.Helper()
	slices.Sort(c.starts)
	if median := c.starts[len(c.starts)/2]; median > startWithin {
		c.t.Errorf("ready after %s, want %s at most", median, startWithin)
	}
}

// crash kills the program while everybody is registering.
func (c *crashTest) crash(i int) {
	before := c.count()
	var clients sync.WaitGroup
	for range crashClients {
		clients.Go(func() {
			for c.register(c.newName()) {
			}
		})
	}
	for end := time.Now().Add(10 * time.Second); c.count() < before+crashClients/2 && time.Now().Before(end); {
		time.Sleep(100 * time.Microsecond)
	}
	time.Sleep(time.Duration(i%4) * 2 * time.Millisecond) // at another moment each time
	if err := c.process.end(os.Kill); err != nil {
		c.t.Error(err)
	}
	clients.Wait()
	if c.count() == before {
		c.t.Fatal("nobody registered before the crash")
	}
}

func (c *crashTest) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acknowledged)
}

func (c *crashTest) newName() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts++
	return fmt.Sprintf("person%d", c.attempts)
}

// register gives false when no answer came.
func (c *crashTest) register(name string) bool {
	code, header, body, err := c.post("/auth/register", name, map[string]any{
		"username": name, "email": name + "@example.com", "password": crashPassword, "contact_number": number(name),
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.lost = append(c.lost, name)
		return false
	}
	var answer struct {
		Data struct {
			UserID string `json:"user_id"`
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil || code != http.StatusCreated || answer.Data.UserID == "" {
		c.t.Errorf("register %s: status %d: %s", name, code, body)
		return false
	}
	if header.Get("Idempotent-Replayed") != "" {
		c.stored++
	}
	c.acknowledged[name] = answer.Data.UserID
	return true
}

// number is a phone number of Moscow for everybody.
func number(name string) string {
	n, _ := strconv.Atoi(strings.TrimPrefix(name, "person")) // newName made it
	return fmt.Sprintf("+7985%07d", n)
}

func (c *crashTest) post(path, key string, body any) (code int, h http.Header, answer []byte, err error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, nil, nil, err
	}
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.process.url+path, bytes.NewReader(b))
	if err != nil {
		return 0, nil, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end below
	answer, err = io.ReadAll(res.Body)
	return res.StatusCode, res.Header, answer, err
}

// user is a line of "propusk user list --json".
type user struct {
	ID            string `json:"id"`
	Username      string `json:"username"`
	Email         string `json:"email"`
	UserType      string `json:"user_type"`
	UserRole      string `json:"user_role"`
	ContactNumber string `json:"contact_number"`
	Created       string `json:"created"`
	Updated       string `json:"updated"`
	Disabled      bool   `json:"disabled"`
}

// check looks at what is there after a crash: first as it was left, whom it
// lets log in, then after those who got no answer have asked again.
func (c *crashTest) check() {
	c.t.Helper()
	again := c.lost
	c.lost = nil
	c.cut += len(again)
	asLeft := c.sample()
	for name, u := range c.users() {
		id, ok := c.acknowledged[name]
		switch {
		case ok && id == u.ID:
		case !ok && slices.Contains(again, name): // stored, and the answer lost
			asLeft = append(asLeft, name)
		default:
			c.t.Errorf("a user whom nobody asked for: %+v", u)
		}
	}
	for _, name := range asLeft {
		c.logIn(name)
	}
	for _, name := range again {
		if !c.register(name) {
			c.t.Errorf("%s asked again and got no answer", name)
		}
	}
	users := c.users()
	for name, id := range c.acknowledged {
		if users[name].ID != id {
			c.t.Errorf("%s was acknowledged as %s, and is %q", name, id, users[name].ID)
		}
	}
	if len(users) != len(c.acknowledged) {
		c.t.Errorf("%d users, %d were acknowledged", len(users), len(c.acknowledged))
	}
}

func (c *crashTest) logIn(name string) {
	c.t.Helper()
	code, _, body, err := c.post("/auth/login", "", map[string]any{"email_or_name": name, "password": crashPassword})
	if err != nil || code != http.StatusOK {
		c.t.Errorf("%s cannot log in: %d %s %v", name, code, body, err)
	}
}

// sample is a few of the acknowledged, others each time: a map has no order.
func (c *crashTest) sample() (names []string) {
	for name := range c.acknowledged {
		if names = append(names, name); len(names) == 3 {
			break
		}
	}
	return names
}

// users reads everybody through the command line, and wants them whole.
func (c *crashTest) users() map[string]user {
	c.t.Helper()
	out, err := exec.Command("propusk", append([]string{"user", "list", "--json", "--limit=0"}, c.settings()...)...).Output()
	if err != nil {
		c.t.Fatalf("user list: %v", err)
	}
	all := map[string]user{}
	for line := range bytes.Lines(out) {
		var u user
		if err := json.Unmarshal(line, &u); err != nil {
			c.t.Fatalf("user list: %v: %s", err, line)
		}
		whole := user{
			ID: u.ID, Username: u.Username, Email: u.Username + "@example.com", UserType: "ind", UserRole: "Not_Verifyed",
			ContactNumber: number(u.Username), Created: u.Created, Updated: u.Created,
		}
		if u != whole || u.ID == "" || u.Created == "" {
			c.t.Errorf("half-written: %s", line)
		}
		if _, twice := all[u.Username]; twice {
			c.t.Errorf("%s is there twice", u.Username)
		}
		all[u.Username] = u
	}
	return all
}

// checkTrail wants an entry for every user and a user for every entry, and an
// engine that finds no fault with its file.
func (c *crashTest) checkTrail() {
	c.t.Helper()
	driver, dsn := "pgx", c.database
	if path, ok := strings.CutPrefix(c.database, "sqlite:"); ok {
		driver, dsn = "sqlite", "file:"+path
		if rows, err := query(c.t.Context(), driver, dsn, `PRAGMA integrity_check`); err != nil || len(rows) != 1 || rows[0][0] != "ok" {
			c.t.Errorf("integrity check: %v %v", rows, err)
		}
	}
	for what, statement := range map[string]string{
		"users without an entry":  `SELECT u.id FROM users u WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.target_id = u.id AND e.action = 'user.registered')`,
		"entries without a user":  `SELECT e.target_id FROM events e WHERE e.action = 'user.registered' AND NOT EXISTS (SELECT 1 FROM users u WHERE u.id = e.target_id)`,
		"users entered twice":     `SELECT target_id FROM events WHERE action = 'user.registered' GROUP BY target_id HAVING count(*) > 1`,
		"sessions without a user": `SELECT s.id FROM sessions s WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = s.user_id)`,
	} {
		if rows, err := query(c.t.Context(), driver, dsn, statement); err != nil || len(rows) > 0 {
			c.t.Errorf("%s: %v %v", what, rows, err)
		}
	}
	rows, err := query(c.t.Context(), driver, dsn, `SELECT count(*) FROM events WHERE action = 'user.registered'`)
	if err != nil || rows[0][0] != strconv.Itoa(len(c.acknowledged)) {
		c.t.Errorf("the trail tells of %v registrations, want %d (%v)", rows, len(c.acknowledged), err)
	}
}
