package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"propusk/internal/account"
	"propusk/internal/config"
)

// desk is where an operator works: the rules over the configured database.
type desk struct {
	*run
	ctx     context.Context //nolint:containedctx // each command passes it on as an argument
	service *account.Service
	as      account.Caller
	zone    *time.Location // in which times are shown
	data    string         // where everything is, when it was made just now; else ""
}

// tool runs f at the desk of the configured database.
func tool(r *run, cfg config.Config, f func(*desk) error) error {
	in, err := open(r.ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer in.close()
	d := &desk{run: r, ctx: r.ctx, service: in.service, as: operator(), zone: cfg.TimeZone}
	if in.made {
		d.data = in.data
	}
	return f(d)
}

// onData runs f at the desk of a database that is there already. A command that
// looks something up must not make an empty one in whatever folder it was
// called, and then say that it found nothing.
func onData(r *run, flags config.Flags, f func(*desk) error) error {
	cfg, err := config.Load(flags, r.Environ, os.ReadFile, config.Tool)
	if err != nil {
		return err
	}
	if path := cfg.Database.Path; cfg.Database.Engine == config.SQLite {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no database at %s: run this where propusk serve runs, or name the database with --database", absolute(path))
		}
	}
	return tool(r, cfg, f)
}

// onUser runs f on the user whom ref names.
func onUser(r *run, flags config.Flags, ref string, f func(*desk, account.UserData) error) error {
	return onData(r, flags, func(d *desk) error {
		u, err := d.service.FindUser(d.ctx, d.as, ref)
		if err != nil {
			return err
		}
		return f(d, u)
	})
}

// named is the argument of commands on one user.
type named struct {
	User string `arg:"" help:"Id, e-mail address or username."`
	config.Flags
}

// operator is whoever can run the program on its own data.
func operator() account.Caller {
	c := account.Caller{Kind: account.Operator, UserAgent: "propusk " + Version}
	if u, err := user.Current(); err == nil {
		c.UserAgent += " as " + u.Username
	}
	return c
}

// confirm tells what became of a user.
func (d *desk) confirm(u account.UserData, what string, err error) error {
	if err == nil {
		_, err = fmt.Fprintf(d.Out, "%s (%s) %s\n", u.Username, u.ID, what)
	}
	return err
}

func (d *desk) time(t time.Time) string { return t.In(d.zone).Format(time.RFC3339) }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// table prints rows under a heading.
func table(w io.Writer, head []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = harmless(cell)
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// harmless takes out what would command the terminal or turn its text around:
// the User-Agent of a session is whatever a stranger sent.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
