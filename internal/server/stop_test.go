package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/server"
)

// F13: fifty clients that keep their connections and never pause. The server
// says that it is not ready any more, finishes what it was asked, tells each
// client on its connection to go elsewhere, and is gone: not one request that
// it was sent is left without its answer.
func TestGracefulStopAnswersEveryRequest(t *testing.T) {
	const clients = 50
	a := inMemory(t, apptest.Options{Policy: func(p *account.Policy) {
		p.AttemptsPerAccount, p.AttemptsPerNetwork = 1<<20, 1<<20
	}})
	p := a.NewPerson(t)
	others := goleak.IgnoreCurrent()

	var answered atomic.Int64
	backgroundEnded := make(chan int64, 1)
	var r *running
	listening := make(chan struct{})
	r = listen(t, a, a.Service.Ready, func(ctx context.Context) {
		<-ctx.Done()
		<-listening
		// As the server counts them: a client may not have seen his answer yet.
		backgroundEnded <- int64(strings.Count(r.log.String(), `"route":"/auth/login"`))
	})
	close(listening)
	body := fmt.Sprintf(`{"email_or_name":%q,"password":%q}`, p.Username, p.Password)
	request := fmt.Sprintf("POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	var wg sync.WaitGroup
	for range clients {
		c := dial(t, r.main)
		wg.Go(func() {
			for {
				c.say(t, request)
				res, b, err := c.answer()
				if err != nil || res.StatusCode != 200 {
					t.Errorf("a request got no answer: %v: %s", err, b)
					return
				}
				answered.Add(1)
				if res.Close {
					return // as a balancer does whose next look at /readyz says no
				}
			}
		})
	}
	for answered.Load() < 4*clients {
		time.Sleep(time.Millisecond)
	}
	if code, _ := get(t, r.ops, "/readyz"); code != 200 {
		t.Errorf("/readyz before: %d", code)
	}
	begun := time.Now()
	r.stop()
	code := 0
	for time.Since(begun) < 250*time.Millisecond && code != 503 {
		code, _ = get(t, r.main, "/readyz")
	}
	if code != 503 {
		t.Errorf("/readyz while it drains: %d", code)
	}
	if code, _ := get(t, r.ops, "/healthz"); code != 200 {
		t.Errorf("/healthz while it drains: %d", code)
	}
	wg.Wait()
	if err := <-r.ended; err != nil {
		t.Errorf("run: %v", err)
	}
	if d := time.Since(begun); d > 10*time.Second {
		t.Errorf("the stop took %v", d)
	}
	if n := <-backgroundEnded; n != answered.Load() {
		t.Errorf("the background work ended after %d of %d answers", n, answered.Load())
	}
	for _, addr := range []string{r.main, r.ops} {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			t.Errorf("%s still listens", addr)
		}
	}
	goleak.VerifyNone(t, others)
}

// F13: a request that does not end is cut off; the rest is not its hostage.
func TestStopDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	a := inMemory(t, apptest.Options{Idle: true})
	asked := make(chan struct{}, 1)
	r := listen(t, a, func(ctx context.Context) error {
		select {
		case asked <- struct{}{}:
		default:
		}
		time.Sleep(500 * time.Millisecond) // what does not listen to its context
		return ctx.Err()
	})
	slow := dial(t, r.main) // a body that is not sent to its end
	slow.say(t, "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	busy := dial(t, r.main)
	busy.say(t, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
	<-asked
	begun := time.Now()
	r.stop()
	if res, _, err := busy.answer(); err != nil || res.StatusCode != 200 {
		t.Errorf("the request in flight: %v", err)
	}
	err := <-r.ended
	if d := time.Since(begun); d > 11*time.Second {
		t.Errorf("the stop took %v", d)
	}
	if err != nil && !strings.Contains(err.Error(), "cut off") {
		t.Errorf("run: %v", err)
	}
}

// A second start on the same address is an error, and leaves nothing behind.
func TestAddressInUseIsAnError(t *testing.T) {
	t.Parallel()
	a := inMemory(t, apptest.Options{Idle: true})
	r := listen(t, a, healthy)
	for _, o := range []server.Options{
		{Listen: r.main, OpsListen: "127.0.0.1:0"}, {Listen: "127.0.0.1:0", OpsListen: r.main},
	} {
		o.Log, o.Ready = slog.New(slog.DiscardHandler), server.NewReadiness(healthy)
		o.Background = []func(context.Context){func(context.Context) { t.Error("the background work began") }}
		s, err := server.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context(), func(net.Addr, net.Addr) { t.Error("it says that it started") }); err == nil {
			t.Error("no error")
		}
	}
	if code, _ := get(t, r.main, "/healthz"); code != 200 {
		t.Errorf("the first one: %d", code)
	}
}
