package api_test

import (
	"slices"
	"strings"
	"testing"

	"propusk/internal/apptest"
)

// modelNames is every name under which something of the model might be set that
// no caller may set: the columns of every table, and what others call such
// things.
func modelNames() []string {
	names := strings.Fields(`role roles user_roles admin is_admin superuser staff is_staff verified is_verified email_verified is_email_verified
		verified_email email_confirmed phone_verified is_phone_verified contact_number_verified mobile_verified hash password_digest
		passwd disabled is_disabled active is_active enabled locked is_locked banned etag revision owner owner_id tenant tenant_id org_id
		permissions scopes scope groups claims metadata app_metadata amr acr auth_time session session_token refresh_token api_key
		mfa mfa_enabled second_factor totp_secret passkeys attempts failed_attempts created_by updated_by deleted deleted_at user
		account profile attributes data type status password_confirmation new_password old_password force skip_verification dry_run`)
	for _, list := range columns {
		names = append(names, strings.Fields(list)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// spellings gives a name as other programs would write it.
func spellings(name string) []string {
	words := strings.Split(name, "_")
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	pascal := strings.Join(words, "")
	s := []string{
		name, strings.ToUpper(name), pascal, strings.ToLower(pascal[:1]) + pascal[1:], strings.ReplaceAll(name, "_", "-"), strings.ReplaceAll(name, "_", ""),
		"user." + name, "user[" + name + "]",
	}
	slices.Sort(s)
	return slices.Compact(s)
}

// No name of the model, however it is written, sets anything but the fields of
// the call itself; a body that holds one is refused whole (S-30, S-39, V11, V67).
func TestNoNameOfTheModelSetsAnything(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true, Policy: patient}, func(t *testing.T, a *apptest.App) {
		calls := bodiedCalls(t, a)
		before := take(t, a)
		tried := 0
		for _, c := range calls {
			if c.path == "/register" || !slices.Contains(c.fields, "username") { // what changes no user
				continue
			}
			body := with(c.good, "username", "assigned7")
			for _, name := range modelNames() {
				for _, spelling := range spellings(name) {
					if slices.Contains(c.fields, spelling) {
						continue
					}
					tried++
					answer := c.as.Do(t, c.method, c.path, with(body, spelling, "Admin"))
					if answer.Status != 400 || answer.Code() != "unknown_field" {
						t.Errorf("%s with %q: %d %s", c, spelling, answer.Status, answer.Body)
					}
				}
			}
		}
		if tried < 1500 {
			t.Errorf("only %d names were tried", tried)
		}
		wantUnchanged(t, a, before, "a body with a name of the model")
	})
}
