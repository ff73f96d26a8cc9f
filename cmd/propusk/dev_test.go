package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// Whoever waits for a message, as the page of the inbox always does, does not keep
// the program from its end.
func TestDevEndsThoughSomebodyWaitsForAMessage(t *testing.T) {
	p := run(t, t.TempDir(), "dev")
	answered := make(chan error, 1)
	go func() {
		res, err := http.Get(p.url + "/dev/messages?wait=10s") //nolint:noctx // it is answered when the process ends
		if err == nil {
			if res.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %s", res.Status)
			}
			_ = res.Body.Close()
		}
		answered <- err
	}()
	time.Sleep(300 * time.Millisecond) // it has begun to wait
	begun := time.Now()
	if err := p.end(os.Interrupt); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 5*time.Second || p.code != 0 {
		t.Errorf("ended with code %d after %v:\n%s", p.code, took, p.err.String())
	}
	if err := <-answered; err != nil {
		t.Errorf("who waited was not answered: %v", err)
	}
}

// A test may use one address and one number over and over: what is limited for
// the world's sake is not where nothing leaves. It is limited where a test asks
// for that; of two mails in three, where strangers ask for them.
func TestDevShowsEveryMessage(t *testing.T) {
	const most = 30
	for setting, want := range map[string]int{"--log-level=info": most, "--messages-per-address=3": 3, "--mail-per-recipient=3": 2} {
		p := run(t, t.TempDir(), "dev", setting)
		send := func(path, body string) []byte {
			t.Helper()
			return replay(t, p, example{method: "POST", path: path, body: body}, "")
		}
		send("/dev/users", `{"verified":true}`)
		for range most {
			send("/auth/recover", `{"email_or_name":"user1"}`)
		}
		got := replay(t, p, example{method: "GET", path: "/dev/messages?kind=recover&limit=1000"}, "")
		if n := strings.Count(string(got), `"kind":"recover"`); n != want {
			t.Errorf("%s: %d messages, want %d", setting, n, want)
		}
	}
}
