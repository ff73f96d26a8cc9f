package api_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/outbox"
)

// What GET gave, PUT takes: unedited it changes nothing at all, edited it
// changes what was edited. The instants may come back in another spelling.
func TestWhatWasReadCanBeWrittenBack(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Zone: moscow(t), Idle: true}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		p.Do(t, "PATCH", "/"+p.ID, object{"contact_number": "8 985 355-38-25", "user_type": "org"}).Want(t, 200)
		a.Clock.Move(time.Minute)
		read := document(t, p.Client, p.ID)
		before := take(t, a)
		p.Do(t, "PUT", "/"+p.ID, read).Want(t, 200)
		p.Do(t, "PATCH", "/"+p.ID, read).Want(t, 200)
		p.Do(t, "PUT", "/"+p.ID, with(read, "created", "2026-03-01T12:00:00.123456Z")).Want(t, 200)
		wantUnchanged(t, a, before, "writing back what was read")

		p.Do(t, "PUT", "/"+p.ID, with(read, "username", "edited7")).Want(t, 200)
		wrote := document(t, p.Client, p.ID)
		if want := with(with(read, "username", "edited7"), "updated", "2026-03-01T15:01:00.123456+03:00"); !maps.Equal(wrote, want) {
			t.Errorf("after writing %v, want %v", wrote, want)
		}
		// Whoever read before that is told that his "updated" is no longer right.
		answer := p.Do(t, "PUT", "/"+p.ID, read).Want(t, 422, "invalid_fields")
		wantFields(t, answer, map[string]string{"updated": "read_only_field"})
	})
}

// A read-only field with another value is refused, never passed over in silence;
// null and nothing are other values too. So it is for the user himself, for an
// Admin, and for a trusted network (S-30, S-39, V11).
func TestReadOnlyFieldsAreRefusedAndNeverIgnored(t *testing.T) {
	t.Parallel()
	o := apptest.Options{Zone: moscow(t), TrustedNetworks: loopback, Idle: true}
	apptest.Each(t, o, func(t *testing.T, a *apptest.App) {
		p, admin := a.NewPerson(t), create(t, a, "Admin", true)
		now := document(t, p.Client, p.ID)
		before := take(t, a)
		for field, values := range map[string][]any{
			"id":        {seedID, admin.ID, "", nil, strings.ToUpper(p.ID), " " + p.ID},
			"user_role": {"Admin", "Verified", "not_verifyed", "", nil, "Not_Verifyed "},
			"created":   {"2026-03-01T15:00:00.123457+03:00", "2026-03-01T15:00:00+03:00", "", nil, "yesterday"},
			"updated":   {"2026-03-01T15:00:00.123455+03:00", "", nil, "0001-01-01T00:00:00Z"},
		} {
			for _, v := range values {
				for who, c := range map[string]*apptest.Client{"himself": p.Client, "an Admin": admin.Client, "a network": a.Client} {
					answer := c.Do(t, "PUT", "/"+p.ID, with(now, field, v))
					if answer.Status != 422 || !maps.Equal(answer.Fields(), map[string]string{field: "read_only_field"}) {
						t.Errorf("PUT by %s, %s %v: %d %s", who, field, v, answer.Status, answer.Body)
					}
					if who == "a network" {
						continue
					}
					answer = c.Do(t, "PATCH", "/"+p.ID, object{field: v, "username": "changed"})
					if answer.Status != 422 || !maps.Equal(answer.Fields(), map[string]string{field: "read_only_field"}) {
						t.Errorf("PATCH by %s, %s %v: %d %s", who, field, v, answer.Status, answer.Body)
					}
				}
			}
			for _, v := range []any{1, true, object{}, []any{}} {
				answer := p.Do(t, "PUT", "/"+p.ID, with(now, field, v)).Want(t, 400, "wrong_type")
				wantFields(t, answer, map[string]string{field: "wrong_type"})
			}
		}
		answer := p.Do(t, "PUT", "/"+p.ID, object{"id": nil, "user_role": "Admin", "created": "", "updated": nil, "email": "x"}).Want(t, 422)
		wantFields(t, answer, map[string]string{
			"id": "read_only_field", "user_role": "read_only_field", "created": "read_only_field", "updated": "read_only_field",
			"email": "email_invalid", "username": "required",
		})
		wantUnchanged(t, a, before, "a refused change")
	})
}

// PUT takes the document of register: what it leaves out is gone, except for the
// password.
func TestPutReplacesTheWholeDocument(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		full := object{"username": "whole7", "email": "Whole7@example.org", "user_type": "org", "contact_number": "+44 20 7946 0958"}
		p.Do(t, "PUT", "/"+p.ID, full).Want(t, 200)
		d := document(t, p.Client, p.ID)
		for name, want := range with(full, "contact_number", "+442079460958") {
			if d[name] != want {
				t.Errorf("%s: %v, want %v", name, d[name], want)
			}
		}
		for missing, want := range map[string]string{"username": "required", "email": "required"} {
			wantFields(t, p.Do(t, "PUT", "/"+p.ID, without(full, missing)).Want(t, 422), map[string]string{missing: want})
		}
		for _, body := range []object{without(full, "user_type", "contact_number"), with(with(full, "user_type", nil), "contact_number", nil)} {
			p.Do(t, "PUT", "/"+p.ID, full).Want(t, 200)
			p.Do(t, "PUT", "/"+p.ID, with(body, "password", nil)).Want(t, 200)
			if d := document(t, p.Client, p.ID); d["user_type"] != "ind" || d["contact_number"] != nil {
				t.Errorf("after %v: %v", body, d)
			}
		}
		a.Do(t, "POST", "/login", object{"email_or_name": "whole7", "password": p.Password}).Want(t, 200)
		a.Do(t, "POST", "/login", object{"email_or_name": p.Username, "password": p.Password}).Want(t, 401) // the old name is nobody's
		b := a.NewPerson(t)
		b.Do(t, "PATCH", "/"+b.ID, object{"username": p.Username, "email": p.Email}).Want(t, 200) // and free
	})
}

// A change touches the columns of what it names, in the row of whom it names,
// and no others; and every change has its entry in the trail (S-39, V67).
func TestAChangeTouchesOnlyItsOwnColumns(t *testing.T) {
	t.Parallel()
	const always = "updated_at version"
	cases := []struct {
		name, columns string
		change        object
	}{
		{"nothing", "", object{}},
		{"what is so already", "", object{"user_type": "ind", "contact_number": nil}},
		{"username", "username username_key " + always, object{"username": "renamed7"}},
		{"username's case", "username " + always, object{"username": "RENAMED7"}},
		{"email", "email email_key " + always, object{"email": "Renamed7@example.net"}},
		{"email's case", "email " + always, object{"email": "renamed7@EXAMPLE.net"}},
		{"user_type", "user_type " + always, object{"user_type": "org"}},
		{"user_type removed", "user_type " + always, object{"user_type": nil}},
		{"contact_number", "contact_number " + always, object{"contact_number": "+79853553825"}},
		{"contact_number in another form", "", object{"contact_number": "8 985 355 38 25"}},
		{"contact_number removed", "contact_number " + always, object{"contact_number": nil}},
		{"password", "password_changed_at password_hash " + always, object{"password": "another-Anchor-71-quartz"}},
		{"everything", "contact_number email email_key password_changed_at password_hash proved_at user_type username username_key " + always, object{
			"username": "renamed8", "email": "renamed8@example.net", "user_type": "org", "contact_number": "+442079460958",
			"password": "a-third-Anchor-71-quartz", "current_password": "another-Anchor-71-quartz",
		}},
	}
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		a.NewPerson(t) // a bystander
		p := a.NewPerson(t)
		p.Login(t, a.Client)
		for _, c := range cases {
			a.Clock.Move(time.Second)
			before := take(t, a)
			p.Do(t, "PATCH", "/"+p.ID, c.change).Want(t, 200)
			after := take(t, a)
			var got []string
			events := 0
			for _, change := range after.since(before) {
				table, rest, isValue := strings.Cut(change, "[")
				switch id, column, _ := strings.Cut(rest, "]."); {
				case change == "+events":
					events++
				case isValue && table == "users" && id == p.ID:
					got = append(got, column)
				case c.change["password"] != nil && slices.Contains([]string{"-sessions", "+session_changes", "session_epoch"}, table):
				case c.change["current_password"] != nil && strings.Trim(table, "+") == "throttle": // budgets, taken from and given back
				default:
					t.Errorf("%s: %s changed", c.name, change)
				}
			}
			slices.Sort(got)
			want := strings.Fields(c.columns)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s: columns %v changed, want %v", c.name, got, want)
			}
			if wantEvents := min(len(want), 1) + countOf(c.change["password"]); events != wantEvents {
				t.Errorf("%s: %d entries in the trail, want %d", c.name, events, wantEvents)
			}
		}
	})
}

func countOf(v any) int {
	if v == nil {
		return 0
	}
	return 1
}

// A merge patch (RFC 7396): null takes away what can be taken away and is
// refused for what cannot; it is not passed over.
func TestPatchWithNullIsNeverPassedOver(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		before := take(t, a)
		for _, field := range []string{"username", "email", "password"} {
			for _, v := range []any{nil, ""} {
				answer := p.Do(t, "PATCH", "/"+p.ID, object{field: v, "user_type": "org"}).Want(t, 422, "invalid_fields")
				wantFields(t, answer, map[string]string{field: "required"})
			}
		}
		wantUnchanged(t, a, before, "a refused change")
		patch := p.With("Content-Type", "application/merge-patch+json; charset=UTF-8")
		patch.Do(t, "PATCH", "/"+p.ID, object{"user_type": "org", "contact_number": "+79853553825"}).Want(t, 200)
		patch.Do(t, "PATCH", "/"+p.ID, object{"user_type": nil, "contact_number": nil}).Want(t, 200)
		if d := document(t, p.Client, p.ID); d["user_type"] != "ind" || d["contact_number"] != nil {
			t.Errorf("after null: %v", d)
		}
	})
}

// The names of others are taken for a change as they are for a registration.
func TestChangesRefuseTakenNames(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		p, q, v := a.NewPerson(t), a.NewPerson(t), create(t, a, "", true)
		before := take(t, a)
		for _, who := range []*apptest.Person{q, v} { // an address that is proven is not asked for either
			both := object{"username": strings.ToUpper(p.Username), "email": strings.ToUpper(p.Email)}
			for _, method := range []string{"PUT", "PATCH"} {
				answer := who.Do(t, method, "/"+who.ID, both).Want(t, 409, "already_taken")
				wantFields(t, answer, map[string]string{"username": "username_taken", "email": "email_taken"})
			}
			who.Do(t, "PATCH", "/"+who.ID, object{"username": strings.Replace(p.Username, "e", "\u0435", 1)}).Want(t, 409, "username_taken")
			who.Do(t, "PATCH", "/"+who.ID, object{"email": " " + p.Email}).Want(t, 409, "email_taken")
		}
		wantUnchanged(t, a, before, "a refused change")
	})
}

// Many at once for one free name: one has it.
func TestParallelChangesToOneNameHaveOneWinner(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		people := make([]*apptest.Person, 8)
		for i := range people {
			people[i] = a.NewPerson(t)
		}
		for _, change := range []object{{"username": "wanted"}, {"email": "wanted@example.org"}} {
			answers := make([]*apptest.Answer, len(people))
			parallel(len(people), func(i int) { answers[i] = people[i].Do(t, "PATCH", "/"+people[i].ID, change) })
			if n := statuses(answers); n[200] != 1 || n[409] != len(people)-1 {
				t.Errorf("%v: answers %v", change, n)
			}
		}
	})
}

// An address that nobody has proven is replaced at once, as the seed shows, and
// nobody is written to.
func TestUnprovenAddressChangesAtOnce(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		p.Do(t, "PUT", "/"+p.ID, object{"username": p.Username, "email": "New.One@example.net"}).Want(t, 200)
		if d := document(t, p.Client, p.ID); d["email"] != "New.One@example.net" || d["user_role"] != "Not_Verifyed" {
			t.Errorf("after the change: %v", d)
		}
		a.Do(t, "POST", "/login", object{"email_or_name": "new.one@example.net", "password": p.Password}).Want(t, 200)
		a.Do(t, "POST", "/login", object{"email_or_name": p.Email, "password": p.Password}).Want(t, 401)
		if m := waiting(t, a); len(m) != 0 {
			t.Errorf("%d messages wait, want none", len(m))
		}
	})
}

func waiting(t *testing.T, a *apptest.App) []outbox.Message {
	t.Helper()
	m, err := outbox.Waiting(t.Context(), a.DB, a.Keys, 100)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A proven address stays until the new one is proven too: GET shows it and it
// logs in; the old address is told and the new one is asked, each once. The new
// one is good for nothing meanwhile, and can be had by whoever proves it.
func TestProvenAddressStaysUntilTheNewOneIsProven(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := create(t, a, "", true)
		for range 2 { // the second time nobody is written to again
			p.Do(t, "PUT", "/"+p.ID, object{"username": p.Username, "email": "New.One@example.net"}).Want(t, 200)
			if d := document(t, p.Client, p.ID); d["email"] != p.Email || d["user_role"] != "Verified" {
				t.Errorf("before the new address is proven: %v", d)
			}
			wantWaiting(t, a, p.ID, map[string]outbox.Kind{p.Email: outbox.EmailChangeRequested, "New.One@example.net": outbox.EmailChangeConfirm})
		}
		a.Do(t, "POST", "/login", object{"email_or_name": p.Email, "password": p.Password}).Want(t, 200)
		a.Do(t, "POST", "/login", object{"email_or_name": "new.one@example.net", "password": p.Password}).Want(t, 401)
		a.Do(t, "POST", "/register", with(newcomer(), "email", "new.one@example.net")).Want(t, 201)

		p.Do(t, "PATCH", "/"+p.ID, object{"email": "Another@example.net"}).Want(t, 200)
		wantWaiting(t, a, p.ID, map[string]outbox.Kind{
			p.Email + " again": outbox.EmailChangeRequested, "Another@example.net": outbox.EmailChangeConfirm,
			p.Email: outbox.EmailChangeRequested, "New.One@example.net": outbox.EmailChangeConfirm,
		})
		p.Do(t, "DELETE", "/"+p.ID, nil).Want(t, 200)
		wantWaiting(t, a, p.ID, nil) // nothing for a user who is no more
	})
}

// wantWaiting compares the messages that wait, by whom they are to; a second one
// to the same address is to "address again".
func wantWaiting(t *testing.T, a *apptest.App, about string, want map[string]outbox.Kind) {
	t.Helper()
	got := map[string]outbox.Kind{}
	for _, m := range waiting(t, a) {
		if _, twice := got[m.To]; twice {
			m.To += " again"
		}
		got[m.To] = m.Kind
		if m.SubjectID != about {
			t.Errorf("a message about %s, want %s", m.SubjectID, about)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
}

// "straße" and "strasse" are one name, so that nobody registers beside the
// other; but they are two mailboxes, and the proof of one is none of the other.
// Letter case alone is no other mailbox (V10, V11).
func TestProofOfOneMailboxIsNoneOfItsLookAlike(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		o := newcomer()
		id, err := a.Service.CreateUser(t.Context(), account.Caller{Kind: account.Operator}, account.Registration{
			Username: o["username"].(string), Email: "strasse@example.org", Password: account.NewSecret(apptest.GoodPassword),
		}, "", true)
		if err != nil {
			t.Fatal(err)
		}
		me := a.As(a.Do(t, "POST", "/login", object{"email_or_name": o["username"], "password": apptest.GoodPassword}).Want(t, 200).Text("token"))
		me.Do(t, "PATCH", "/"+id, object{"email": "Strasse@Example.org"}).Want(t, 200)
		if d := document(t, me, id); d["email"] != "Strasse@Example.org" || len(waiting(t, a)) != 0 {
			t.Errorf("letter case: %v, %d messages", d["email"], len(waiting(t, a)))
		}
		me.Do(t, "PATCH", "/"+id, object{"email": "straße@example.org"}).Want(t, 200)
		if d := document(t, me, id); d["email"] != "Strasse@Example.org" || len(waiting(t, a)) != 2 {
			t.Errorf("another mailbox: %v, %d messages", d["email"], len(waiting(t, a)))
		}
		a.Clock.Move(account.ProofWindow + time.Second)
		me.Do(t, "PATCH", "/"+id, object{"email": "stra\u00dfe@example.org", "username": "other7"}).Want(t, 403, "reauthentication_required")
		me.Do(t, "PATCH", "/"+id, object{"email": "strasse@example.org"}).Want(t, 200)
	})
}

// Whoever stole a session loses it when the password changes, by whatever call;
// the session that changed it goes on, and nobody else's ends (S-15, V57).
func TestNewPasswordEndsTheOtherSessions(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		bystander, admin := a.NewPerson(t), create(t, a, "Admin", true)
		for i, c := range []struct {
			name   string
			change func(p *apptest.Person, password string) *apptest.Answer
			keeps  bool // the session that changed it
		}{
			{"PUT", func(p *apptest.Person, password string) *apptest.Answer {
				return p.Do(t, "PUT", "/"+p.ID, object{"username": p.Username, "email": p.Email, "password": password})
			}, true},
			{"PATCH", func(p *apptest.Person, password string) *apptest.Answer {
				return p.Do(t, "PATCH", "/"+p.ID, object{"password": password})
			}, true},
			{"PUT by an Admin", func(p *apptest.Person, password string) *apptest.Answer {
				return admin.Do(t, "PUT", "/"+p.ID, object{"username": p.Username, "email": p.Email, "password": password})
			}, false},
		} {
			p := a.NewPerson(t)
			var others []*apptest.Client
			for range 4 {
				others = append(others, p.Client)
				p.Login(t, a.Client)
			}
			for _, o := range others { // in memory, all of them
				o.Do(t, "GET", "/auth/session", nil).Want(t, 200)
			}
			password := "changed-Anchor-71-quartz" + string(rune('a'+i))
			c.change(p, password).Want(t, 200)
			for _, o := range others {
				o.Do(t, "GET", "/auth/session", nil).Want(t, 401, "token_invalid")
			}
			if want := map[bool]int{true: 200, false: 401}[c.keeps]; p.Do(t, "GET", "/auth/session", nil).Status != want {
				t.Errorf("%s: the session that changed the password is not at %d", c.name, want)
			}
			a.Do(t, "POST", "/login", object{"email_or_name": p.Username, "password": p.Password}).Want(t, 401)
			p.Password = password
			p.Login(t, a.Client)
			bystander.Do(t, "GET", "/auth/session", nil).Want(t, 200)
			admin.Do(t, "GET", "/auth/session", nil).Want(t, 200)
		}
	})
}

// For 15 minutes after a proof of identity password, address and number, which
// can log in too, may change; then only with current_password, or after another
// proof. Anything else may change at any time (S-15, S-16).
func TestSensitiveChangesNeedAFreshProof(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		for _, method := range []string{"PUT", "PATCH"} {
			p := a.NewPerson(t)
			same := object{"username": p.Username, "email": p.Email}
			do := func(changes object) *apptest.Answer {
				body := maps.Clone(changes)
				if method == "PUT" {
					for k, v := range same {
						if _, ok := body[k]; !ok {
							body[k] = v
						}
					}
				}
				return p.Do(t, method, "/"+p.ID, body)
			}
			a.Clock.Move(account.ProofWindow - time.Second)
			do(object{"email": "first-" + p.Email}).Want(t, 200)
			a.Clock.Move(time.Second)
			do(object{"email": "second-" + p.Email}).Want(t, 200)
			same["email"] = "second-" + p.Email

			a.Clock.Move(time.Second)
			before := take(t, a)
			for _, c := range []object{{"email": "third-" + p.Email}, {"password": "changed-Anchor-71-quartz"}, {"password": p.Password}, {"contact_number": "+79853553825"}} {
				do(c).Want(t, 403, "reauthentication_required")
			}
			wantUnchanged(t, a, before, "a change without proof")
			do(object{"username": "u" + p.Username, "user_type": "org", "email": strings.ToUpper(same["email"].(string))}).Want(t, 200)
			same["username"], p.Username = "u"+p.Username, "u"+p.Username

			answer := do(object{"email": "third-" + p.Email, "current_password": "wrong-Anchor-71-quartz"}).Want(t, 403, "wrong_password")
			wantFields(t, answer, map[string]string{"current_password": "wrong_password"})
			do(object{"email": "third-" + p.Email, "current_password": ""}).Want(t, 422, "invalid_fields")
			do(object{"email": "third-" + p.Email, "current_password": nil}).Want(t, 403, "reauthentication_required")
			do(object{"email": "third-" + p.Email, "current_password": p.Password}).Want(t, 200)
			same["email"] = "third-" + p.Email
			do(object{"email": "fourth-" + p.Email}).Want(t, 403, "reauthentication_required") // that proof was for one change
			do(object{"password": "changed-Anchor-71-quartz", "current_password": p.Password}).Want(t, 200)
			p.Password = "changed-Anchor-71-quartz"

			token := p.Do(t, "POST", "/auth/reauthenticate", object{"password": p.Password}).Want(t, 200).Text("token")
			p.Client = a.As(token)
			do(object{"email": "fourth-" + p.Email, "contact_number": "+79853553825"}).Want(t, 200)
		}
	})
}

// A wrong current_password is not passed over where the session is fresh.
func TestWrongCurrentPasswordIsRefusedThoughTheSessionIsFresh(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		wrong := object{"password": "changed-Anchor-71-quartz", "current_password": "wrong-Anchor-71-quartz"}
		p.Do(t, "PATCH", "/"+p.ID, wrong).Want(t, 403, "wrong_password")
		p.Login(t, a.Client) // with the old password
	})
}

// Guesses at current_password are taken from the budget that logins share: when
// it is spent, the right one does not help either, here or there (S-20).
func TestGuessesAtCurrentPasswordAreCounted(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{}, func(t *testing.T, a *apptest.App) {
		p, bystander := a.NewPerson(t), a.NewPerson(t)
		guess := object{"password": "changed-Anchor-71-quartz", "current_password": "wrong-Anchor-71-quartz"}
		right := with(guess, "current_password", p.Password)
		for range 9 {
			p.Do(t, "PATCH", "/"+p.ID, guess).Want(t, 403, "wrong_password")
		}
		p.Do(t, "PATCH", "/"+p.ID, object{"email": "x" + p.Email, "current_password": p.Password}).Want(t, 200) // and the count begins anew
		for range 5 {
			p.Do(t, "PATCH", "/"+p.ID, guess).Want(t, 403, "wrong_password")
			p.Do(t, "POST", "/auth/reauthenticate", object{"password": "wrong-Anchor-71-quartz"}).Want(t, 403, "wrong_password")
		}
		for _, try := range []func() *apptest.Answer{
			func() *apptest.Answer { return p.Do(t, "PATCH", "/"+p.ID, right) },
			func() *apptest.Answer {
				return p.Do(t, "PUT", "/"+p.ID, with(with(right, "username", p.Username), "email", p.Email))
			},
			func() *apptest.Answer { return p.Do(t, "POST", "/auth/reauthenticate", object{"password": p.Password}) },
			func() *apptest.Answer {
				return a.Do(t, "POST", "/login", object{"email_or_name": strings.ToUpper(p.Username), "password": p.Password})
			},
		} {
			answer := try().Want(t, 429, "too_many_attempts")
			if answer.Header.Get("Retry-After") != "60" {
				t.Errorf("Retry-After %q, want 60", answer.Header.Get("Retry-After"))
			}
		}
		bystander.Login(t, a.Client)
		p.Do(t, "PATCH", "/"+p.ID, object{"user_type": "org"}).Want(t, 200) // what needs no proof
		a.Clock.Move(time.Minute)
		p.Do(t, "PATCH", "/"+p.ID, right).Want(t, 200)
	})
}

// An Admin proves himself with his own password, not with that of the user whom
// he changes.
func TestAdminProvesHimselfWithHisOwnPassword(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		p := a.NewPerson(t)
		admin := create(t, a, "Admin", true)
		admin.Do(t, "PATCH", "/"+admin.ID, object{"password": "admins-Anchor-71-quartz"}).Want(t, 200)
		a.Clock.Move(account.ProofWindow + time.Second)
		change := object{"password": "changed-Anchor-71-quartz"}
		admin.Do(t, "PATCH", "/"+p.ID, change).Want(t, 403, "reauthentication_required")
		admin.Do(t, "DELETE", "/"+p.ID, nil).Want(t, 403, "reauthentication_required")
		admin.Do(t, "PATCH", "/"+p.ID, with(change, "current_password", p.Password)).Want(t, 403, "wrong_password")
		admin.Do(t, "PATCH", "/"+p.ID, with(change, "current_password", "admins-Anchor-71-quartz")).Want(t, 200)
		a.Do(t, "POST", "/login", object{"email_or_name": p.Email, "password": "changed-Anchor-71-quartz"}).Want(t, 200)
	})
}
