//go:build faults

package faults_test

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

// S-17, V49: whoever has a link or a code sent by a name learns nothing of
// whether somebody has it, by the time of the answer either. FAULTS_LOGINS is how
// many of each class there are.
func TestAskingForMailTellsNothingInTime(t *testing.T) {
	asks := 500
	if n, err := strconv.Atoi(os.Getenv("FAULTS_LOGINS")); err == nil {
		asks = n
	}
	begun := time.Now()
	o := apptest.Options{Elapsed: func() time.Duration { return time.Since(begun) }, Policy: func(p *account.Policy) { p.MessagesPerAddress, p.AsksPerNetwork = 1<<20, 1<<20 }}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		operator := account.Caller{Kind: account.Operator}
		classes := []string{"unknown", "proven", "unproven", "disabled"}
		for _, name := range classes[1:] {
			id, err := a.Service.CreateUser(t.Context(), operator, account.Registration{
				Username: name, Email: name + "@example.com", Password: account.NewSecret(apptest.GoodPassword),
			}, "", name == "proven")
			if err != nil {
				t.Fatal(err)
			}
			if name == "disabled" {
				if err := a.Service.DisableUser(t.Context(), operator, id); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, path := range []string{"/auth/recover", "/auth/login/code/send", "/auth/verify/email/send"} {
			v := begin(t, "Sending: "+path+", "+string(a.Engine))
			times, answers := map[string][]time.Duration{}, map[string]bool{}
			for i := range asks + 10 {
				order := slices.Clone(classes)
				shuffle(order)
				for _, name := range order {
					r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.Base()+path, strings.NewReader(`{"email_or_name":"`+name+`"}`))
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Content-Type", "application/json")
					asked := time.Now()
					res, err := http.DefaultClient.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					b, err := io.ReadAll(res.Body)
					took := time.Since(asked)
					_ = res.Body.Close() // it was read
					if err != nil || res.StatusCode != http.StatusAccepted {
						t.Fatalf("%s for %s: status %d, %v: %s", path, name, res.StatusCode, err, b)
					}
					answers[shape(res.Header, b)] = true
					if i >= 10 { // the first ones warm up
						times[name] = append(times[name], took)
					}
				}
			}
			v.judge(len(answers) == 1, "different answers", strconv.Itoa(len(answers)), "1")
			judgeTimes(v, classes, times)
		}
	})
}

var random = regexp.MustCompile(`[0-9A-Za-z_-]{43}`)

// shape is an answer but for what is new in each: random values of the same
// length are the same.
func shape(h http.Header, body []byte) string {
	h = h.Clone()
	h.Del("Date")
	h.Del("X-Request-Id")
	return random.ReplaceAllString(fmt.Sprint(h, string(body)), "…")
}

// F18, S-17: 500 requests a second to recover one account, half of them from one
// network and half from everywhere: the answers are alike, no more mails leave
// than may, and what is kept does not grow with them.
func TestFloodOfRecoveries(t *testing.T) {
	const limit = 5
	begun := time.Now()
	o := apptest.Options{
		Elapsed:        func() time.Duration { return time.Since(begun) },
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Policy:         func(p *account.Policy) { p.MessagesPerAddress = limit },
	}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		v := begin(t, "Flood of requests to recover one account, "+string(a.Engine))
		if _, err := a.Service.CreateUser(t.Context(), account.Caller{Kind: account.Operator}, account.Registration{
			Username: "margarita", Email: "margarita@example.com", Password: account.NewSecret(apptest.GoodPassword),
		}, "", true); err != nil {
			t.Fatal(err)
		}
		addr := strings.TrimPrefix(a.Base(), "http://")
		answers := steady(addr, 500, 64, func(i int) string {
			ip := "198.51.100.7"
			if i%2 == 0 {
				ip = fmt.Sprintf("10.%d.%d.7", i>>8&255, i&255)
			}
			return ask("POST", "/auth/recover", `{"email_or_name":"margarita@example.com"}`, from(ip))
		}).lasting(lasting(t, 20*time.Second))
		v.note("answers", "%s; %s", tally(answers), spread(times(answers)))
		n, first := unlike(answers, func(a answer) bool {
			return a.holds(202, `{"status":"success"}`) || a.holds(429, `"too_many_attempts"`) // of the one network
		})
		v.none("other answers", n, first)
		mails := 0
		for _, l := range a.Letters(t, "margarita@example.com") {
			if l.Kind == outbox.Recover {
				mails++
			}
		}
		v.judge(mails == limit, "mails", strconv.Itoa(mails), strconv.Itoa(limit))
		for table, most := range map[string]int{"requests": 0, "tokens": 1, "outbox": limit, "throttle": 4} {
			var rows int
			if err := a.DB.QueryRow(t.Context(), `SELECT count(*) FROM `+table, nil, &rows); err != nil {
				t.Fatal(err)
			}
			if table == "throttle" { // one for each network that asks, until it is full again
				most += len(answers)/2 + 1
			}
			v.atMost("rows of "+table, float64(rows), float64(most), "")
		}
	})
}
