package dev

import (
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"

	"propusk/internal/account"
)

// mostUsers is how many can be made at once: more would take longer than a
// request may.
const mostUsers = 1000

// usersPassword is what users have who were given no other: that of the seed.
const usersPassword = "pass12345"

// counter numbers users.
type counter struct{ atomic.Int64 }

type usersRequest struct {
	Count    *int   `json:"count"`     // 1
	Role     string `json:"user_role"` // "": that of a newcomer, or of whoever is verified
	Verified bool   `json:"verified"`  // the address counts as proven
	Password string `json:"password"`  // "": pass12345
	Token    bool   `json:"token"`     // logged in as well
}

type madeUser struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Email    string `json:"email"`
	Password string `json:"password"`
	Role     string `json:"user_role"`
	Token    string `json:"token,omitzero"`
}

type madeUsers struct {
	Users []madeUser `json:"users"`
}

func (d *Dev) makeUsers(w http.ResponseWriter, r *http.Request) {
	var in usersRequest
	if !decode(w, r, &in) {
		return
	}
	count := 1
	if in.Count != nil {
		count = *in.Count
	}
	if count < 1 || count > mostUsers {
		d.fail(w, r, &refusal{"count", "this is a whole number from 1 to " + strconv.Itoa(mostUsers)})
		return
	}
	if in.Password == "" {
		in.Password = usersPassword
	}
	out := madeUsers{Users: make([]madeUser, 0, count)}
	for range count {
		u, err := d.makeUser(r, in)
		if err != nil {
			d.fail(w, r, err)
			return
		}
		out.Users = append(out.Users, u)
	}
	answer(w, http.StatusCreated, out)
}

// makeUser makes user1, user2 and so on, past those whose names are taken.
func (d *Dev) makeUser(r *http.Request, in usersRequest) (madeUser, error) {
	as := operator(r)
	u := madeUser{Password: in.Password}
	for {
		u.Username = "user" + strconv.FormatInt(d.users.Add(1), 10)
		u.Email = u.Username + "@example.com"
		var err error
		u.ID, err = d.o.Service.CreateUser(r.Context(), as, account.Registration{
			Username: u.Username, Email: u.Email, Password: account.NewSecret(in.Password),
		}, in.Role, in.Verified)
		var e *account.Error
		if errors.As(err, &e) && e.Kind == account.Conflict {
			continue
		}
		if err != nil {
			return u, err
		}
		break
	}
	made, err := d.o.Service.User(r.Context(), as, u.ID)
	if err != nil {
		return u, err
	}
	u.Role = made.Role
	if in.Token {
		t, err := d.o.Service.Login(r.Context(), account.CallerFrom(r.Context()), account.Login{
			EmailOrName: u.Username, Password: account.NewSecret(in.Password),
		})
		if err != nil {
			return u, err
		}
		u.Token = t.Token.Reveal()
	}
	return u, nil
}

func (d *Dev) resetLimits(w http.ResponseWriter, r *http.Request) {
	if err := d.o.Service.ResetLimits(r.Context(), operator(r)); err != nil {
		d.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, nil)
}
