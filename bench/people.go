package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
)

// password of everyone here: what it is changes nothing of what it costs.
const password = "corAl-Teapot-93-lantern"

// person is a registered user with a session.
type person struct {
	name, id, token string
}

// registration is the request that makes the nth user.
func registration(name string) []byte {
	return post("/auth/register", []byte(`{"user_type":"ind","username":"`+name+`","password":"`+password+`","email":"`+name+`@example.com"}`))
}

func loginRequest(name string) []byte {
	return post("/auth/login", []byte(`{"email_or_name":"`+name+`","password":"`+password+`"}`))
}

// enrol registers n users and logs them in.
func enrol(ctx context.Context, addr string, n int) ([]person, error) {
	people, errs := make([]person, n), make([]error, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, 4) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				people[i], errs[i] = enrolOne(ctx, addr, fmt.Sprintf("bencher%d", i))
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return people, ctx.Err()
}

func enrolOne(ctx context.Context, addr, name string) (p person, err error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return p, err
	}
	defer c.Close() //nolint:errcheck // both answers were read
	var registered, loggedIn struct {
		Data struct {
			UserID string `json:"user_id"`
			Token  string `json:"token"`
		} `json:"data"`
	}
	for _, step := range []struct {
		request []byte
		status  int
		into    any
	}{{registration(name), 201, &registered}, {loginRequest(name), 200, &loggedIn}} {
		status, body, err := c.do(step.request)
		if err != nil {
			return p, fmt.Errorf("enrol %s: %w", name, err)
		}
		if status != step.status {
			return p, fmt.Errorf("enrol %s: answer %d: %s", name, status, body)
		}
		if err := json.Unmarshal(body, step.into); err != nil {
			return p, fmt.Errorf("enrol %s: %w", name, err)
		}
	}
	return person{name: name, id: registered.Data.UserID, token: loggedIn.Data.Token}, nil
}

// inOrder makes connection i send calls[i], again and again.
func inOrder(calls []call) func(int) call {
	return func(i int) call { return calls[i%len(calls)] }
}

// registrations is a new user with every call.
func registrations() func(int) call {
	var n atomic.Int64
	return func(int) call {
		return call{request: registration(fmt.Sprintf("newcomer%d", n.Add(1))), status: 201, want: []byte(`"user_id":"`)}
	}
}

// logins goes through all people in turn, since each has only so many attempts
// under way at a time.
func logins(people []person) func(int) call {
	calls := make([]call, len(people))
	for i, p := range people {
		calls[i] = call{request: loginRequest(p.name), status: 200, want: []byte(`"user_id":"` + p.id + `"`)}
	}
	var n atomic.Int64
	return func(int) call { return calls[int(n.Add(1))%len(calls)] }
}
