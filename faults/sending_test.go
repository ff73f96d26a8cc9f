//go:build faults

package faults_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// P6 of sending, S-17, V49: whoever has a link or a code sent by a name learns
// nothing of whether somebody has it, by the time of the answer either. FAULTS_LOGINS is
// how many of each class there are.
func TestAskingForMailTellsNothingInTime(t *testing.T) {
	asks := 300
	if n, err := strconv.Atoi(os.Getenv("FAULTS_LOGINS")); err == nil {
		asks = n
	}
	o := apptest.Options{Policy: func(p *account.Policy) { p.MessagesPerAddress, p.AsksPerNetwork = 1<<20, 1<<20 }}
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
			v := begin(t, "P6: "+path+", "+string(a.Engine))
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
					took := time.Since(asked)
					if err != nil {
						t.Fatal(err)
					}
					_ = res.Body.Close() // its length is in the header
					answers[fmt.Sprint(res.StatusCode, res.ContentLength)] = true
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
