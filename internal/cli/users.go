package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/term"

	"propusk/internal/account"
	"propusk/internal/config"
	"propusk/internal/secret"
)

type userCmd struct {
	Add     userAddCmd     `cmd:"" help:"Make a user. The password is asked for, or read from standard input."`
	List    userListCmd    `cmd:"" help:"List users, the oldest first."`
	Show    userShowCmd    `cmd:"" help:"Show a user."`
	Role    userRoleCmd    `cmd:"" help:"Give a user another role."`
	Disable userDisableCmd `cmd:"" help:"Shut a user out; every session ends."`
	Enable  userEnableCmd  `cmd:"" help:"Let a disabled user in again."`
	Delete  userDeleteCmd  `cmd:"" help:"Erase a user and everything that is his."`
}

// tool runs f with the rules over the configured database, as an operator.
func tool(r *run, flags config.Flags, f func(ctx context.Context, s *account.Service, as account.Caller) error) error {
	cfg, err := config.Load(flags, r.Environ, os.ReadFile, config.Tool)
	if err != nil {
		return err
	}
	in, err := open(r.ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer in.close()
	return f(r.ctx, in.service, operator())
}

// onUser runs f on the user whom ref names.
func onUser(r *run, flags config.Flags, ref string, f func(context.Context, *account.Service, account.Caller, account.UserData) error) error {
	return tool(r, flags, func(ctx context.Context, s *account.Service, as account.Caller) error {
		u, err := s.FindUser(ctx, as, ref)
		if err != nil {
			return err
		}
		return f(ctx, s, as, u)
	})
}

type userAddCmd struct {
	Username      string `required:"" help:"2 to 64 characters, without @."`
	Email         string `required:"" help:"E-mail address."`
	ContactNumber string `help:"Phone number."`
	UserType      string `help:"One of the user types; the first of them if not given."`
	UserRole      string `help:"Role; Not_Verifyed if not given, Verified with --verified."`
	Verified      bool   `help:"The e-mail address counts as proven."`
	PasswordStdin bool   `help:"Read the password from the first line of standard input, without asking."`
	Generate      bool   `help:"Make up a password and print it."`
	config.Flags
}

// Run makes a user and prints his id.
func (c *userAddCmd) Run(r *run) error {
	password, err := c.password(r)
	if err != nil {
		return err
	}
	return tool(r, c.Flags, func(ctx context.Context, s *account.Service, as account.Caller) error {
		id, err := s.CreateUser(ctx, as, account.Registration{
			UserType: c.UserType, Username: c.Username, Password: password, Email: c.Email, ContactNumber: c.ContactNumber,
		}, c.UserRole, c.Verified)
		if err != nil {
			return err
		}
		fmt.Fprintln(r.Out, id)
		if c.Generate {
			fmt.Fprintln(r.Out, password.Reveal())
		}
		return nil
	})
}

// password never comes from the command line: others on the machine could read
// it there.
func (c *userAddCmd) password(r *run) (account.Secret, error) {
	if c.Generate {
		return secret.NewToken(), nil
	}
	if f, ok := r.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) && !c.PasswordStdin { //nolint:gosec // a file descriptor fits an int
		fmt.Fprint(r.Err, "Password: ")
		b, err := term.ReadPassword(int(f.Fd())) //nolint:gosec // a file descriptor fits an int
		fmt.Fprintln(r.Err)
		return account.NewSecret(string(b)), err
	}
	line, err := bufio.NewReader(io.LimitReader(r.In, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return account.Secret{}, err
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if line == "" {
		return account.Secret{}, fmt.Errorf("%w: give the password on standard input, or use --generate", errUsage)
	}
	return account.NewSecret(line), nil
}

type userListCmd struct {
	JSON  bool   `name:"json" help:"One JSON object a line."`
	After string `help:"Id of the last user of the page before."`
	Limit int    `default:"100" help:"At most so many."`
	config.Flags
}

// Run lists users.
func (c *userListCmd) Run(r *run) error {
	return tool(r, c.Flags, func(ctx context.Context, s *account.Service, as account.Caller) error {
		users, err := s.Users(ctx, as, c.After, c.Limit)
		if err != nil {
			return err
		}
		if c.JSON {
			for _, u := range users {
				if err := printUser(r.Out, u); err != nil {
					return err
				}
			}
			return nil
		}
		return table(r.Out, "ID\tUSERNAME\tE-MAIL\tTYPE\tROLE\tDISABLED\tCREATED", users, func(u account.UserData) string {
			return strings.Join([]string{u.ID, u.Username, u.Email, u.UserType, u.Role, yesNo(u.Disabled), u.CreatedAt.Format(timeFormat)}, "\t")
		})
	})
}

const timeFormat = "2006-01-02T15:04:05Z07:00"

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// table prints rows under a heading. Names are people's own choice, but hold no
// control characters: see account.
func table[T any](w io.Writer, head string, rows []T, line func(T) string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, head)
	for _, row := range rows {
		fmt.Fprintln(t, line(row))
	}
	return t.Flush()
}

func printUser(w io.Writer, u account.UserData) error {
	b, err := json.Marshal(struct {
		ID            string `json:"id"`
		Email         string `json:"email"`
		UserType      string `json:"user_type"`
		Username      string `json:"username"`
		ContactNumber string `json:"contact_number,omitzero"`
		UserRole      string `json:"user_role"`
		Disabled      bool   `json:"disabled"`
		Created       string `json:"created"`
		Updated       string `json:"updated"`
	}{u.ID, u.Email, u.UserType, u.Username, u.ContactNumber, u.Role, u.Disabled, u.CreatedAt.Format(timeFormat), u.UpdatedAt.Format(timeFormat)},
		jsontext.EscapeForHTML(false))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

// named is the argument of commands on one user.
type named struct {
	User string `arg:"" help:"Id, e-mail address or username."`
	config.Flags
}

type userShowCmd struct{ named }

// Run prints a user as JSON.
func (c *userShowCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(_ context.Context, _ *account.Service, _ account.Caller, u account.UserData) error {
		return printUser(r.Out, u)
	})
}

type userRoleCmd struct {
	User string `arg:"" help:"Id, e-mail address or username."`
	Role string `arg:"" help:"Not_Verifyed, Verified, Admin, or a role of your own."`
	config.Flags
}

// Run gives the user a role.
func (c *userRoleCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(ctx context.Context, s *account.Service, as account.Caller, u account.UserData) error {
		return done(r, u, "has the role "+c.Role, s.SetRole(ctx, as, u.ID, c.Role))
	})
}

func done(r *run, u account.UserData, what string, err error) error {
	if err == nil {
		_, err = fmt.Fprintf(r.Out, "%s (%s) %s\n", u.Username, u.ID, what)
	}
	return err
}

type userDisableCmd struct{ named }

// Run disables the user.
func (c *userDisableCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(ctx context.Context, s *account.Service, as account.Caller, u account.UserData) error {
		return done(r, u, "is disabled; a running service knows within a second", s.DisableUser(ctx, as, u.ID))
	})
}

type userEnableCmd struct{ named }

// Run enables the user.
func (c *userEnableCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(ctx context.Context, s *account.Service, as account.Caller, u account.UserData) error {
		return done(r, u, "is enabled", s.EnableUser(ctx, as, u.ID))
	})
}

type userDeleteCmd struct {
	Yes bool `help:"Do not ask."`
	named
}

// Run erases the user.
func (c *userDeleteCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(ctx context.Context, s *account.Service, as account.Caller, u account.UserData) error {
		if !c.Yes {
			fmt.Fprintf(r.Err, "Erase %s (%s, %s)? This cannot be undone. Type yes: ", u.Username, u.Email, u.ID)
			line, _ := bufio.NewReader(io.LimitReader(r.In, 64)).ReadString('\n')
			if strings.TrimSpace(line) != "yes" {
				return fmt.Errorf("%w: nothing was erased", errUsage)
			}
		}
		return done(r, u, "is erased", s.DeleteUser(ctx, as, u.ID, nil))
	})
}

type sessionCmd struct {
	List   sessionListCmd   `cmd:"" help:"List the live sessions of a user."`
	Revoke sessionRevokeCmd `cmd:"" help:"End sessions of a user."`
}

type sessionListCmd struct{ named }

// Run lists the sessions of a user.
func (c *sessionListCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(ctx context.Context, s *account.Service, as account.Caller, u account.UserData) error {
		sessions, err := s.SessionsOf(ctx, as, u.ID)
		if err != nil {
			return err
		}
		return table(r.Out, "ID\tCREATED\tLAST SEEN\tEXPIRES\tIP\tUSER AGENT", sessions, func(s account.Session) string {
			return strings.Join([]string{
				s.ID, s.CreatedAt.Format(timeFormat), s.LastSeenAt.Format(timeFormat), s.ExpiresAt.Format(timeFormat), s.IP, s.UserAgent,
			}, "\t")
		})
	})
}

type sessionRevokeCmd struct {
	Session string `help:"Id of the only session to end; all of the user's if not given."`
	named
}

// Run ends sessions.
func (c *sessionRevokeCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(ctx context.Context, s *account.Service, as account.Caller, u account.UserData) error {
		n, err := s.RevokeSessions(ctx, as, u.ID, c.Session)
		if err != nil {
			return err
		}
		if n == 0 && c.Session != "" {
			return errors.New("the user has no such session")
		}
		_, err = fmt.Fprintf(r.Out, "%d ended; a running service knows within a second\n", n)
		return err
	})
}
