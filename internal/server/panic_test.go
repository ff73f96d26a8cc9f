package server_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"

	"propusk/internal/apptest"
)

// S-56, V101: a handler that panics is a 500 that tells nothing, one line in the
// log and one in the metrics; everybody else is served.
func TestPanicIsA500AndTheProcessLives(t *testing.T) {
	t.Parallel()
	const inside = "the inside of the service"
	r := listen(t, inMemory(t, apptest.Options{Idle: true}), func(context.Context) error { panic(inside) })
	const times = 16
	var wg sync.WaitGroup
	for range times {
		wg.Go(func() {
			code, body := get(t, r.main, "/readyz")
			var e struct {
				Status, Code, Message string
				Data                  struct{ Request_ID string } //nolint:revive,staticcheck // as on the wire
			}
			if err := json.Unmarshal([]byte(body), &e, json.MatchCaseInsensitiveNames(true)); err != nil || code != http.StatusInternalServerError ||
				e.Status != "error" || e.Code != "internal_error" || e.Data.Request_ID == "" {
				t.Errorf("%d: %s (%v)", code, body, err)
			}
			for _, word := range []string{inside, "panic", "goroutine", ".go:"} {
				if strings.Contains(body, word) {
					t.Errorf("the answer says %q", word)
				}
			}
		})
	}
	wg.Wait()
	if code, _ := get(t, r.main, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz after a panic: %d", code)
	}
	if _, body := get(t, r.ops, "/metrics"); !strings.Contains(body, "propusk_panics_total 16\n") {
		t.Error("propusk_panics_total is not 16")
	}
	told := 0
	for _, line := range lines(t, r.log) {
		if s, _ := line["error"].(string); strings.Contains(s, inside) && line["level"] == "ERROR" && line["request_id"] != "" {
			told++
		}
	}
	if told != times {
		t.Errorf("%d lines in the log, want %d", told, times)
	}
}
