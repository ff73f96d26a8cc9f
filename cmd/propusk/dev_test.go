package main

import (
	"fmt"
	"net/http"
	"os"
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
