package cli

import (
	"fmt"
	"time"

	"propusk/internal/account"
)

type userRecoverCmd struct{ named }

// Run makes a link, or where the public URL is not known the token of one, with
// which the user sets a new password.
func (c *userRecoverCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(d *desk, u account.UserData) error {
		token, link, expires, err := d.service.IssueRecovery(d.ctx, d.as, u.ID)
		if err != nil {
			return err
		}
		if link == "" {
			link = token.Reveal()
		}
		fmt.Fprintf(d.Err, "%s sets a new password with this, once, until %s; for POST /auth/recover/confirm, or as a link with --public-url:\n",
			u.Username, expires.In(d.zone).Format(time.RFC3339))
		_, err = fmt.Fprintln(d.Out, link)
		return err
	})
}
