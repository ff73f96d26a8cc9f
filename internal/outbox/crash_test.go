package outbox_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math/big"
	netmail "net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"propusk/internal/apptest/mailsink"
	"propusk/internal/apptest/pgtest"
	"propusk/internal/db"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

// childVariable makes this test program a process that delivers.
const childVariable = "PROPUSK_TEST_OUTBOX_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(deliverer())
	}
	goleak.VerifyTestMain(m)
}

// crashLease is for how long a message is lost to a process that was killed. It
// is longer than an attempt can take, as the real one is.
const crashLease = 2 * time.Second

// deliverer delivers until it is killed.
func deliverer() int {
	ctx := context.Background()
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	d, err := db.Open(ctx, db.Options{URL: os.Getenv("URL"), MaxConns: 8})
	if err != nil {
		return fail(err)
	}
	keys, err := secret.ReadKeys(os.Getenv("KEYS"))
	if err != nil {
		return fail(err)
	}
	port, err := strconv.Atoi(os.Getenv("PORT"))
	if err != nil {
		return fail(err)
	}
	smtp, err := outbox.NewSMTP(outbox.SMTPOptions{
		Host: "127.0.0.1", Port: port, Encryption: outbox.Plain, From: &netmail.Address{Address: "no-reply@id.example"}, Hello: "id.example",
	})
	if err != nil {
		return fail(err)
	}
	o := outbox.New(outbox.Options{
		DB: d, Keys: keys, Now: time.Now, Log: slog.New(slog.DiscardHandler), Mail: smtp, Render: render,
		Lease: crashLease, SendWithin: crashLease / 2,
	})
	_, _ = fmt.Println("ready")
	o.Run(ctx)
	return 1 // it was meant to be killed
}

// startDeliverer gives a running one.
func startDeliverer(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), append(env, childVariable+"=yes")...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the child told %q, %v", line, err)
	}
	return cmd
}

// kill -9 at random moments while a thousand mails leave, two processes at a time
// (F9): none is lost, each recipient gets his in order, and what comes twice was
// in flight at a kill.
func TestKilledProcessLosesNoMail(t *testing.T) {
	const mails, recipients, inFlight = 1000, 100, 4
	for name, url := range map[string]func(dir string) string{
		"sqlite":   func(dir string) string { return "sqlite:" + filepath.Join(dir, "test.db") },
		"postgres": func(string) string { return pgtest.URL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			keyFile := filepath.Join(dir, "master.key")
			keys, err := secret.CreateKeys(keyFile)
			if err != nil {
				t.Fatal(err)
			}
			database := url(dir)
			d, err := db.Open(t.Context(), db.Options{URL: database})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = d.Close() })
			if err := d.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i := range mails {
				m := message
				m.To, m.Data = fmt.Sprintf("u%d@example.com", i%recipients), map[string]string{"n": fmt.Sprint(i)}
				enqueue(t, d, keys, time.Now(), m)
			}
			sink := mailsink.Start(t, mailsink.Options{})
			env := []string{"URL=" + database, "KEYS=" + keyFile, "PORT=" + strconv.Itoa(sink.Port)}
			// On SQLite one process serves a file.
			processes := make([]*exec.Cmd, 1)
			if name == "postgres" {
				processes = make([]*exec.Cmd, 2)
			}
			for i := range processes {
				processes[i] = startDeliverer(t, env...)
			}
			kills, deadline := 0, time.Now().Add(2*time.Minute)
			for left(t, d) > 0 {
				if time.Now().After(deadline) {
					t.Fatalf("%d mails are still there after %d kills", left(t, d), kills)
				}
				time.Sleep(moment(t, 120*time.Millisecond))
				if kills >= 20 {
					time.Sleep(100 * time.Millisecond)
					continue
				}
				i := kills % len(processes)
				kill(t, processes[i])
				kills++
				processes[i] = startDeliverer(t, env...)
			}
			for _, p := range processes {
				kill(t, p)
			}
			judge(t, sink.Messages(), mails, kills*inFlight)
			if kills < 5 {
				t.Errorf("%d kills only: the mails left too fast to tell", kills)
			}
		})
	}
}

func left(t *testing.T, d *db.DB) (n int) {
	t.Helper()
	if err := d.QueryRow(t.Context(), `SELECT count(*) FROM outbox WHERE sent_at IS NULL`, nil, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func moment(t *testing.T, most time.Duration) time.Duration {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(int64(most)))
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n.Int64())
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	_ = cmd.Process.Kill()
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child ended by itself: %v", err)
	}
}

// judge looks at what has arrived.
func judge(t *testing.T, got []mailsink.Message, want, mostExtra int) {
	t.Helper()
	times, last := map[string]int{}, map[string]int{}
	for _, m := range got {
		id := m.Header.Get("Message-Id")
		if times[id]++; times[id] > 1 {
			continue
		}
		n, err := strconv.Atoi(strings.TrimPrefix(m.Header.Get("Subject"), "About "))
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := last[m.Recipients[0]]; ok && n < before {
			t.Errorf("%s got %d after %d", m.Recipients[0], n, before)
		}
		last[m.Recipients[0]] = n
	}
	extra := len(got) - len(times)
	t.Logf("%d mails arrived, %d of them twice", len(times), extra)
	if len(times) != want || extra > mostExtra {
		t.Errorf("%d different mails arrived, want %d; %d more than once, at most %d could", len(times), want, extra, mostExtra)
	}
}
