//go:build faults

package faults_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/secret"
)

// indistinct is how well the best guesser by time alone may tell two classes of
// accounts apart: the chance that he takes the right one of a pair. Half is
// blind.
const indistinct = 0.55

// P5, S-17, V49, V50. Logins that are refused, interleaved: who is unknown,
// mistaken, disabled, without a password, closed after too many failures, or has
// a hash of other parameters cannot be told from the others, by status, headers,
// body or time. FAULTS_LOGINS is how many of each class there are (300; the promise is about 2,000).
func TestRefusalsTellNothingOfAnAccount(t *testing.T) {
	logins := 300
	if n, err := strconv.Atoi(os.Getenv("FAULTS_LOGINS")); err == nil {
		logins = n
	}
	cost := secret.Argon2{Memory: 19456, Passes: 2, Threads: 1}
	begun := time.Now()
	o := apptest.Options{
		Argon2: cost, Elapsed: func() time.Duration { return time.Since(begun) },
		Policy: func(p *account.Policy) {
			p.AttemptsPerAccount, p.AttemptsPerNetwork, p.AttemptsLimit = 1<<30, 1<<20, 1<<20
		},
	}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		v := begin(t, "P5: refusals of logins, "+string(a.Engine))
		classes := refusedAccounts(t, a, cost)
		times := timeRefusals(t, a, classes, logins)
		names := make([]string, len(classes))
		for i, c := range classes {
			names[i] = c.name
		}
		judgeTimes(v, names, times)
	})
}

// judgeTimes notes the times of each class, and judges how well the two that
// differ most can be told apart.
func judgeTimes(v *verdicts, classes []string, times map[string][]time.Duration) {
	worst, pair := 0.0, ""
	for i, one := range classes {
		all := slices.Sorted(slices.Values(times[one]))
		v.note(one, "p50 %s, p99 %s (%d)", span(all[len(all)/2]), span(all[len(all)*99/100]), len(all))
		for _, other := range classes[:i] {
			if a := auc(times[one], times[other]); a > worst {
				worst, pair = a, one+" and "+other
			}
		}
	}
	v.judge(worst < indistinct, "told apart best: "+pair, fmt.Sprintf("%.3f", worst), fmt.Sprintf("< %.2f", indistinct))
}

// refused is a login that is refused.
type refused struct{ name, login, password string }

func refusedAccounts(t *testing.T, a *apptest.App, cost secret.Argon2) []refused {
	const right, wrong = apptest.GoodPassword, "wrong-Velvet-12-kite"
	operator := account.Caller{Kind: account.Operator}
	ids := map[string]string{}
	for _, name := range []string{"closed", "mistaken", "disabled", "unarmed", "cheaper", "costlier"} {
		id, err := a.Service.CreateUser(t.Context(), operator, account.Registration{
			Username: name, Email: name + "@example.com", Password: account.NewSecret(right),
		}, "", false)
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = id
	}
	exec := func(query string, args ...any) {
		if _, err := a.DB.Exec(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	}
	// The first attempt of all: whatever counts failures is of this account.
	a.Do(t, "POST", "/auth/login", map[string]any{"email_or_name": "closed", "password": wrong}).Want(t, http.StatusUnauthorized)
	exec(`UPDATE throttle SET failures = 10000000 WHERE failures > 0`)
	if err := a.Service.DisableUser(t.Context(), operator, ids["disabled"]); err != nil {
		t.Fatal(err)
	}
	exec(`UPDATE users SET password_hash = NULL WHERE id = $1`, ids["unarmed"])
	for name, memory := range map[string]uint32{"cheaper": cost.Memory / 2, "costlier": cost.Memory * 3 / 2} {
		other := secret.NewHasher(secret.HasherOptions{Cost: secret.Argon2{Memory: memory, Passes: cost.Passes, Threads: 1}, Workers: 1, Queue: 1})
		phc, err := other.Hash(t.Context(), secret.Who{}, account.NewSecret(right))
		if err != nil {
			t.Fatal(err)
		}
		other.Close()
		exec(`UPDATE users SET password_hash = $1 WHERE id = $2`, phc, ids[name])
	}
	return []refused{
		{"unknown", "nobody-at-all", wrong}, {"wrong password", "mistaken", wrong}, {"disabled, right password", "disabled", right},
		{"no password", "unarmed", right}, {"closed, right password", "closed", right},
		{"hash of half the cost", "cheaper", wrong}, {"hash of one and a half times the cost", "costlier", wrong},
	}
}

// timeRefusals sends logins of all classes from two connections, each time in
// another order, and times the answers.
func timeRefusals(t *testing.T, a *apptest.App, classes []refused, each int) map[string][]time.Duration {
	times, answers := map[string][]time.Duration{}, map[string]bool{}
	var mu sync.Mutex
	ask := func(client *http.Client, c refused, counts bool) {
		body := fmt.Sprintf(`{"email_or_name":%q,"password":%q}`, c.login, c.password)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.Base()+"/auth/login", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("Content-Type", "application/json")
		asked := time.Now()
		res, err := client.Do(r)
		if err != nil {
			t.Error(err)
			return
		}
		b, err := io.ReadAll(res.Body)
		took := time.Since(asked)
		_ = res.Body.Close() // it was read
		if err != nil {
			t.Error(err)
			return
		}
		res.Header.Del("Date")
		res.Header.Del("X-Request-Id")
		mu.Lock()
		defer mu.Unlock()
		answers[fmt.Sprint(res.StatusCode, res.Header, string(b))] = true
		if counts {
			times[c.name] = append(times[c.name], took)
		}
	}
	var wg sync.WaitGroup
	const connections, warmUp = 2, 10
	for range connections {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := range warmUp + each/connections {
				order := slices.Clone(classes)
				shuffle(order)
				for _, c := range order {
					ask(client, c, i >= warmUp)
				}
			}
		})
	}
	wg.Wait()
	if len(answers) != 1 {
		t.Errorf("%d different answers: %v", len(answers), answers)
	}
	return times
}

func shuffle[T any](list []T) {
	for i := len(list) - 1; i > 0; i-- {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(i+1)))
		if err != nil {
			panic(err) // it never fails
		}
		j := int(n.Int64())
		list[i], list[j] = list[j], list[i]
	}
}

// auc is the area under the ROC curve of whoever tells two classes apart by time
// alone, whichever he takes for the slower: Mann and Whitney's U over the number
// of pairs.
func auc(a, b []time.Duration) float64 {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	u, below, same := 0.0, 0, 0
	for _, x := range a {
		for below < len(b) && b[below] < x {
			below++
		}
		for same = below; same < len(b) && b[same] == x; same++ {
		}
		u += float64(below) + float64(same-below)/2
	}
	u /= float64(len(a) * len(b))
	return max(u, 1-u)
}

// The measure tells what differs from what does not.
func TestAUCTellsWhatDiffers(t *testing.T) {
	var one, same, other []time.Duration
	for i := range 1000 {
		one = append(one, time.Duration(i)*time.Microsecond)
		same = append(same, time.Duration(i)*time.Microsecond)
		other = append(other, time.Duration(i+200)*time.Microsecond)
	}
	if a := auc(one, same); a != 0.5 {
		t.Errorf("the same: %v", a)
	}
	if a := auc(one, other); a < 0.6 || math.Abs(a-auc(other, one)) > 1e-9 {
		t.Errorf("another: %v, %v", a, auc(other, one))
	}
}
