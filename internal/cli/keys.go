package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"propusk/internal/account"
	"propusk/internal/config"
)

type keyCmd struct {
	Add    keyAddCmd    `cmd:"" help:"Make a key for a service and print it: it is shown this once."`
	List   keyListCmd   `cmd:"" help:"List the keys, the oldest first."`
	Revoke keyRevokeCmd `cmd:"" help:"End a key; a running service knows within a second."`
}

type keyAddCmd struct {
	Name    string        `placeholder:"NAME" help:"What to call it: 1 to 64 letters, digits, '-', '_' and '.'. Made up if not given."`
	Scope   []string      `required:"" placeholder:"SCOPE" help:"What it may do: introspect."`
	Expires time.Duration `placeholder:"DURATION" help:"How long it is good, such as 8760h; for ever if not given."`
	config.Flags
}

// Run makes a key.
func (c *keyAddCmd) Run(r *run) error {
	cfg, err := config.Load(c.Flags, r.Environ, os.ReadFile, config.Tool)
	if err != nil {
		return err
	}
	if c.Expires < 0 {
		return usageError("--expires: must be positive")
	}
	var scopes []account.Scope
	for _, s := range c.Scope {
		scopes = append(scopes, account.Scope(s))
	}
	return tool(r, cfg, func(d *desk) error {
		if d.data != "" { // there was nothing here: somebody in the wrong folder should see that
			fmt.Fprintln(r.Err, "made a new database:", d.data)
		}
		k, key, err := d.service.AddKey(d.ctx, d.as, c.Name, scopes, c.Expires)
		if err != nil {
			return err
		}
		if c.Name == "" {
			fmt.Fprintln(r.Err, "name:", k.Name)
		}
		_, err = fmt.Fprintln(r.Out, key.Reveal())
		return err
	})
}

type keyListCmd struct{ config.Flags }

// Run lists the keys.
func (c *keyListCmd) Run(r *run) error {
	return onData(r, c.Flags, func(d *desk) error {
		keys, err := d.service.Keys(d.ctx, d.as)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, k := range keys {
			scopes := make([]string, len(k.Scopes))
			for i, s := range k.Scopes {
				scopes[i] = string(s)
			}
			expires := "never"
			if !k.ExpiresAt.IsZero() {
				expires = d.time(k.ExpiresAt)
			}
			rows = append(rows, []string{k.ID, k.Name, strings.Join(scopes, ","), d.time(k.CreatedAt), expires})
		}
		return table(r.Out, []string{"ID", "NAME", "SCOPES", "CREATED", "EXPIRES"}, rows)
	})
}

type keyRevokeCmd struct {
	Key string `arg:"" help:"Id or name."`
	config.Flags
}

// Run ends a key.
func (c *keyRevokeCmd) Run(r *run) error {
	return onData(r, c.Flags, func(d *desk) error {
		k, err := d.service.RevokeKey(d.ctx, d.as, c.Key)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(r.Out, "%s (%s) is revoked; a running service knows within a second\n", k.Name, k.ID)
		return err
	})
}
