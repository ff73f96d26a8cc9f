package cli

import (
	"errors"
	"fmt"

	"propusk/internal/account"
)

type sessionCmd struct {
	List   sessionListCmd   `cmd:"" help:"List the live sessions of a user, the newest first."`
	Revoke sessionRevokeCmd `cmd:"" help:"End the sessions of a user; a running service knows within a second."`
}

type sessionListCmd struct{ named }

// Run lists the sessions of a user.
func (c *sessionListCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(d *desk, u account.UserData) error {
		sessions, err := d.service.SessionsOf(d.ctx, d.as, u.ID)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, s := range sessions {
			rows = append(rows, []string{s.ID, d.time(s.CreatedAt), d.time(s.LastSeenAt), d.time(s.ExpiresAt), s.IP, s.UserAgent})
		}
		return table(r.Out, []string{"ID", "CREATED", "LAST SEEN", "EXPIRES", "IP", "USER AGENT"}, rows)
	})
}

type sessionRevokeCmd struct {
	Session string `placeholder:"ID" help:"End this session only; without it, all of the user's."`
	named
}

// Run ends sessions.
func (c *sessionRevokeCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(d *desk, u account.UserData) error {
		n, err := d.service.RevokeSessions(d.ctx, d.as, u.ID, c.Session)
		switch {
		case err != nil:
			return err
		case n == 0 && c.Session != "":
			return errors.New("the user has no such session")
		case n == 0:
			return d.confirm(u, "had no session", nil)
		}
		return d.confirm(u, fmt.Sprintf("had %s, which ended; a running service knows within a second", counted(n, "session")), nil)
	})
}

func counted(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
