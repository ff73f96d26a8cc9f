package api_test

import (
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
)

// The ETag is another after every change, whoever makes it, and the same as long
// as there was none.
func TestETagChangesWithEveryChange(t *testing.T) {
	t.Parallel()
	operator := account.Caller{Kind: account.Operator}
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := create(t, a, "", true)
		seen := map[string]string{etag(t, p): "creation"}
		for _, c := range []struct {
			name   string
			change func()
		}{
			{"username", func() { p.Do(t, "PATCH", "/"+p.ID, object{"username": "tagged7"}).Want(t, 200) }},
			{"an asked-for address", func() { p.Do(t, "PATCH", "/"+p.ID, object{"email": "tagged7@example.org"}).Want(t, 200) }},
			{"PUT", func() { p.Do(t, "PUT", "/"+p.ID, object{"username": "tagged8", "email": p.Email}).Want(t, 200) }},
			{"password by PATCH", func() { p.Do(t, "PATCH", "/"+p.ID, object{"password": "changed-Anchor-71-quartz"}).Want(t, 200) }},
			{"password", func() {
				token := p.Do(t, "POST", "/auth/password", object{
					"current_password": "changed-Anchor-71-quartz", "new_password": "again-Anchor-71-quartz",
				}).Want(t, 200).Text("token")
				p.Client = a.As(token)
			}},
			{"role", func() {
				if err := a.Service.SetRole(t.Context(), operator, p.ID, "Editor"); err != nil {
					t.Fatal(err)
				}
			}},
		} {
			a.Clock.Move(time.Second)
			c.change()
			tag := etag(t, p)
			if before, ok := seen[tag]; ok {
				t.Errorf("after a change of %s the ETag is %s, as after %s", c.name, tag, before)
			}
			seen[tag] = c.name
			p.Do(t, "PUT", "/"+p.ID, document(t, p.Client, p.ID)).Want(t, 200) // changes nothing
			p.Do(t, "PATCH", "/"+p.ID, object{"username": "x"}).Want(t, 422)
			if again := etag(t, p); again != tag {
				t.Errorf("ETag %s and then %s, though nothing changed", tag, again)
			}
		}
	})
}

// If-Match (RFC 9110, section 13.1.1) on every call that changes a user: done
// where the tag is the present one, 412 where it is not, 400 where it cannot be
// read; what is refused changes nothing.
func TestIfMatch(t *testing.T) {
	t.Parallel()
	const present = "PRESENT" // stands for the opaque part of the present tag
	cases := []struct {
		status int
		values []string
	}{
		{200, []string{`*`}},
		{200, []string{` * `}},
		{200, []string{`"PRESENT"`}},
		{200, []string{`"other", "PRESENT"`}},
		{200, []string{`W/"PRESENT" , "PRESENT"`}},
		{200, []string{`, "PRESENT" ,, `}},
		{200, []string{`"a,b","PRESENT"`}},
		{200, []string{`"other"`, `"PRESENT"`}},
		{412, []string{`W/"PRESENT"`}},
		{412, []string{`"other"`}},
		{412, []string{`"0PRESENT"`}},
		{412, []string{`"+PRESENT"`}},
		{412, []string{`""`}},
		{412, []string{`"*"`}},
		{412, []string{`"a,PRESENT,b"`}},
		{412, []string{`"W/PRESENT"`}},
		{412, []string{`"9223372036854775807"`}},
		{412, []string{`"` + strings.Repeat("x", 8000) + `"`}},
		{412, []string{"\"\xe9\xff\""}},
		{400, []string{``}},
		{400, []string{`,`}},
		{400, []string{`PRESENT`}},
		{400, []string{`"PRESENT`}},
		{400, []string{`PRESENT"`}},
		{400, []string{`"`}},
		{400, []string{`'PRESENT'`}},
		{400, []string{`W/`}},
		{400, []string{`W/*`}},
		{400, []string{`w/"PRESENT"`}},
		{400, []string{`W/ "PRESENT"`}},
		{400, []string{`"PRESENT" "other"`}},
		{400, []string{`"PRESENT"x`}},
		{400, []string{`"a b"`}},
		{400, []string{`*, "PRESENT"`}},
		{400, []string{`"PRESENT"`, `*`}},
		{400, []string{`"PRESENT"`, `x`}},
	}
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		for _, method := range []string{"PUT", "PATCH", "DELETE"} {
			p := a.NewPerson(t)
			for _, c := range cases {
				if p == nil {
					p = a.NewPerson(t)
				}
				tag := strings.Trim(etag(t, p), `"`)
				client := p.Client
				for _, v := range c.values {
					client = client.With("If-Match", strings.ReplaceAll(v, present, tag))
				}
				var body any
				switch method {
				case "PUT":
					body = object{"username": p.Username, "email": p.Email, "user_type": "org"}
				case "PATCH":
					body = object{"contact_number": "+79853553825"}
				}
				before := take(t, a)
				answer := client.Do(t, method, "/"+p.ID, body)
				if answer.Status != c.status {
					t.Errorf("%s with If-Match %.60q: %d, want %d: %s", method, c.values, answer.Status, c.status, answer.Body)
				}
				switch c.status {
				case 412:
					answer.Want(t, 412, "precondition_failed")
				case 400:
					answer.Want(t, 400, "header_invalid")
				}
				if answer.Status != 200 {
					wantUnchanged(t, a, before, "a refused "+method)
				} else if method == "DELETE" {
					p = nil
				}
			}
		}
	})
}

// Two who read the same and write at once: one wins, the others are told.
func TestParallelChangesWithOneETagHaveOneWinner(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		for round := range 5 {
			c := p.With("If-Match", etag(t, p))
			answers := make([]*apptest.Answer, 4)
			names := make([]string, len(answers))
			for i := range names {
				names[i] = p.Username + "r" + string(rune('a'+round)) + string(rune('a'+i))
			}
			parallel(len(answers), func(i int) {
				answers[i] = c.Do(t, "PUT", "/"+p.ID, object{"username": names[i], "email": p.Email})
			})
			if n := statuses(answers); n[200] != 1 || n[412] != len(answers)-1 {
				t.Fatalf("answers %v, want one 200 and the rest 412", n)
			}
			for i, answer := range answers {
				if got := document(t, p.Client, p.ID)["username"]; (got == names[i]) != (answer.Status == 200) {
					t.Errorf("answer %d for %s, the name is %v", answer.Status, names[i], got)
				}
			}
		}
		// Without If-Match all of them succeed, one after the other, none half.
		answers := make([]*apptest.Answer, 4)
		parallel(len(answers), func(i int) {
			address := string(rune('a'+i)) + p.Email
			answers[i] = p.Do(t, "PATCH", "/"+p.ID, object{"email": address})
		})
		if n := statuses(answers); n[200] != len(answers) {
			t.Errorf("answers %v, want only 200", n)
		}
		address := document(t, p.Client, p.ID)["email"]
		a.Do(t, "POST", "/login", object{"email_or_name": address, "password": p.Password}).Want(t, 200)
	})
}

// Of two who delete with one tag, or delete and change, one wins.
func TestParallelDeleteAndChangeHaveOneWinner(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		for range 5 {
			p := a.NewPerson(t)
			c := p.With("If-Match", etag(t, p))
			var deleted, changed *apptest.Answer
			parallel(2, func(i int) {
				if i == 0 {
					deleted = c.Do(t, "DELETE", "/"+p.ID, nil)
				} else {
					changed = c.Do(t, "PATCH", "/"+p.ID, object{"user_type": "org"})
				}
			})
			switch {
			case deleted.Status == 200 && (changed.Status == 401 || changed.Status == 404):
				p.Do(t, "GET", "/"+p.ID, nil).Want(t, 401)
			case deleted.Status == 412 && changed.Status == 200:
				if got := document(t, p.Client, p.ID)["user_type"]; got != "org" {
					t.Errorf("user_type %v", got)
				}
			default:
				t.Errorf("DELETE %d, PATCH %d: %s %s", deleted.Status, changed.Status, deleted.Body, changed.Body)
			}
		}
	})
}
