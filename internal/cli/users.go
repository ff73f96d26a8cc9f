package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"propusk/internal/account"
	"propusk/internal/config"
	"propusk/internal/secret"
)

type userCmd struct {
	Add           userAddCmd           `cmd:"" help:"Make a user and print the new id. The password is asked for, or is the first line of standard input."`
	List          userListCmd          `cmd:"" help:"List users, the oldest first."`
	Show          userShowCmd          `cmd:"" help:"Show a user as JSON."`
	Role          userRoleCmd          `cmd:"" help:"Give a user another role."`
	Disable       userDisableCmd       `cmd:"" help:"Shut a user out; every session ends."`
	Enable        userEnableCmd        `cmd:"" help:"Let a disabled user in again."`
	Unlock        userUnlockCmd        `cmd:"" help:"Forget the wrong passwords that were tried on a user."`
	Recover       userRecoverCmd       `cmd:"" help:"Make a link with which a user sets a new password, once, within 24 hours."`
	Factors       userFactorsCmd       `cmd:"" help:"List the second factors of a user."`
	RemoveFactors userRemoveFactorsCmd `cmd:"" help:"Remove the second factors of a user who has lost them."`
	RequireFactor userRequireFactorCmd `cmd:"" help:"Make a user have a second factor from the next login on."`
	Delete        userDeleteCmd        `cmd:"" help:"Erase a user and everything that belongs to the account."`
}

type userAddCmd struct {
	Username      string `required:"" placeholder:"NAME" help:"2 to 64 characters, without @."`
	Email         string `required:"" placeholder:"ADDRESS" help:"E-mail address."`
	ContactNumber string `placeholder:"NUMBER" help:"Phone number."`
	UserType      string `placeholder:"TYPE" help:"One of --user-types; the first of them if not given."`
	UserRole      string `placeholder:"ROLE" help:"Not_Verifyed, Verified, Admin, or a role of your own. Not_Verifyed if not given, Verified with --verified."`
	Verified      bool   `help:"The e-mail address counts as proven."`
	PasswordStdin bool   `xor:"password" help:"Take the first line of standard input as the password, even on a terminal."`
	Generate      bool   `xor:"password" help:"Make a password up, and print it on the line after the id."`
	config.Flags
}

// Run makes a user.
func (c *userAddCmd) Run(r *run) error {
	cfg, err := config.Load(c.Flags, r.Environ, os.ReadFile, config.Tool)
	if err != nil {
		return err
	}
	if err := checkRole(c.UserRole); err != nil {
		return err
	}
	password := secret.NewToken()
	if !c.Generate {
		if password, err = readPassword(r, !c.PasswordStdin); err != nil {
			return err
		}
	}
	return tool(r, cfg, func(d *desk) error {
		if d.data != "" { // there was nothing here: somebody in the wrong folder should see that
			fmt.Fprintln(r.Err, "made a new database:", d.data)
		}
		id, err := d.service.CreateUser(d.ctx, d.as, account.Registration{
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

// checkRole refuses what looks like a role of ours and is none: whoever types
// "admin" means Admin, and would be told that all went well.
func checkRole(role string) error {
	for _, ours := range []string{account.RoleNotVerified, account.RoleVerified, account.RoleAdmin} {
		if role != ours && (strings.EqualFold(role, ours) || ours == account.RoleNotVerified && strings.EqualFold(role, "Not_Verified")) {
			return usageError(fmt.Sprintf("there is no role %s; did you mean %s?", role, ours))
		}
	}
	return nil
}

type userListCmd struct {
	JSON  bool   `name:"json" help:"One JSON object a line."`
	Limit int    `default:"100" placeholder:"N" help:"At most so many; 0 for all. Default: 100."`
	After string `placeholder:"ID" help:"Begin after the user with this id."`
	config.Flags
}

// Run lists users.
func (c *userListCmd) Run(r *run) error {
	if c.Limit < 0 {
		return usageError("--limit: must be 0 or more")
	}
	return onData(r, c.Flags, func(d *desk) error {
		var rows [][]string
		last, more, err := c.each(d, func(u account.UserData) error {
			if c.JSON {
				return d.printUser(u)
			}
			rows = append(rows, []string{u.ID, u.Username, u.Email, u.UserType, u.Role, yesNo(u.Disabled), d.time(u.CreatedAt)})
			return nil
		})
		if err == nil && !c.JSON {
			err = table(r.Out, []string{"ID", "USERNAME", "E-MAIL", "TYPE", "ROLE", "DISABLED", "CREATED"}, rows)
		}
		if err == nil && more {
			fmt.Fprintf(r.Err, "There are more: go on with --after=%s, or list all with --limit=0.\n", last)
		}
		return err
	})
}

const listPage = 1000

// each calls f for the users that were asked for, and tells the last of them and
// whether there are more.
func (c *userListCmd) each(d *desk, f func(account.UserData) error) (last string, more bool, err error) {
	last = c.After
	for n := 0; ; {
		page := listPage
		if c.Limit > 0 {
			page = min(page, c.Limit-n+1) // one more than is shown, to know whether it exists
		}
		users, err := d.service.Users(d.ctx, d.as, last, page)
		if err != nil {
			if last != "" {
				err = fmt.Errorf("users after %s: %w", last, err)
			}
			return "", false, err
		}
		for _, u := range users {
			if n == c.Limit && c.Limit > 0 {
				return last, true, nil
			}
			if err := f(u); err != nil {
				return "", false, err
			}
			n, last = n+1, u.ID
		}
		if len(users) < page {
			return last, false, nil
		}
	}
}

// apiTime is the form of an instant in the API.
const apiTime = "2006-01-02T15:04:05.000000-07:00"

// printUser prints what the API tells of a user, and whether he is disabled.
func (d *desk) printUser(u account.UserData) error {
	var number *string
	if u.ContactNumber != "" {
		number = &u.ContactNumber
	}
	b, err := json.Marshal(struct {
		ID            string  `json:"id"`
		Email         string  `json:"email"`
		UserType      string  `json:"user_type"`
		Username      string  `json:"username"`
		ContactNumber *string `json:"contact_number"`
		UserRole      string  `json:"user_role"`
		Created       string  `json:"created"`
		Updated       string  `json:"updated"`
		Disabled      bool    `json:"disabled"`
	}{
		u.ID, u.Email, u.UserType, u.Username, number, u.Role,
		u.CreatedAt.In(d.zone).Format(apiTime), u.UpdatedAt.In(d.zone).Format(apiTime), u.Disabled,
	}, jsontext.EscapeForHTML(false))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(d.Out, "%s\n", b)
	return err
}

type userShowCmd struct{ named }

// Run prints a user as JSON.
func (c *userShowCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, (*desk).printUser)
}

type userRoleCmd struct {
	User string `arg:"" help:"Id, e-mail address or username."`
	Role string `arg:"" help:"Not_Verifyed, Verified, Admin, or a role of your own."`
	config.Flags
}

// Run gives the user a role.
func (c *userRoleCmd) Run(r *run) error {
	if err := checkRole(c.Role); err != nil {
		return err
	}
	return onUser(r, c.Flags, c.User, func(d *desk, u account.UserData) error {
		return d.confirm(u, "now has the role "+c.Role, d.service.SetRole(d.ctx, d.as, u.ID, c.Role))
	})
}

type userDisableCmd struct{ named }

// Run disables the user.
func (c *userDisableCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(d *desk, u account.UserData) error {
		return d.confirm(u, "is disabled; a running service knows within a second", d.service.DisableUser(d.ctx, d.as, u.ID))
	})
}

type userEnableCmd struct{ named }

// Run enables the user.
func (c *userEnableCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(d *desk, u account.UserData) error {
		return d.confirm(u, "is enabled; old sessions stay ended", d.service.EnableUser(d.ctx, d.as, u.ID))
	})
}

type userUnlockCmd struct{ named }

// Run forgets what was guessed at the user's password.
func (c *userUnlockCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(d *desk, u account.UserData) error {
		return d.confirm(u, "is unlocked", d.service.UnlockUser(d.ctx, d.as, u.ID))
	})
}

type userDeleteCmd struct {
	Yes bool `help:"Do not ask."`
	named
}

// Run erases the user.
func (c *userDeleteCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(d *desk, u account.UserData) error {
		if !c.Yes {
			fmt.Fprintf(r.Err, "Erase %s (%s, %s)? This cannot be undone. Type yes: ", u.Username, harmless(u.Email), u.ID)
			line, err := bufio.NewReader(io.LimitReader(r.In, 64)).ReadString('\n')
			if err != nil { // nobody ended the line
				fmt.Fprintln(r.Err)
			}
			if strings.TrimSpace(line) != "yes" {
				return errors.New("nothing was erased")
			}
		}
		return d.confirm(u, "is erased", d.service.DeleteUser(d.ctx, d.as, u.ID, nil))
	})
}
