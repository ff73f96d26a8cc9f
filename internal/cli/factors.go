package cli

import (
	"fmt"
	"text/tabwriter"
	"time"

	"propusk/internal/account"
)

type userFactorsCmd struct{ named }

// Run lists the second factors of the user.
func (c *userFactorsCmd) Run(r *run) error {
	return onUser(r, c.Flags, c.User, func(d *desk, u account.UserData) error {
		f, err := d.service.Factors(d.ctx, d.as, u.ID)
		if err != nil {
			return err
		}
		at := func(t time.Time) string {
			if t.IsZero() {
				return "never"
			}
			return t.In(d.zone).Format(time.RFC3339)
		}
		w := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "KIND\tID\tNAME\tADDED\tLAST USED")
		if f.TOTP {
			fmt.Fprintf(w, "totp\t-\t-\t%s\t%s\n", at(f.TOTPAddedAt), at(f.TOTPUsedAt))
		}
		for _, p := range f.Passkeys {
			fmt.Fprintf(w, "passkey\t%s\t%s\t%s\t%s\n", p.ID, harmless(p.Name), at(p.CreatedAt), at(p.LastUsedAt))
		}
		fmt.Fprintf(w, "recovery_codes\t-\t%d left\t-\t-\n", f.RecoveryCodesLeft)
		if f.Required {
			fmt.Fprintln(w, "A second factor is required.")
		}
		return w.Flush()
	})
}

type userRemoveFactorsCmd struct {
	Kind string `enum:"totp,passkey,recovery_codes,all" default:"all" placeholder:"KIND" help:"totp, passkey, recovery_codes, or all."`
	named
}

// Run removes second factors of a user who has lost them.
func (c *userRemoveFactorsCmd) Run(r *run) error {
	kind := account.FactorKind(c.Kind)
	if c.Kind == "all" {
		kind = ""
	}
	return onUser(r, c.Flags, c.User, func(d *desk, u account.UserData) error {
		return d.confirm(u, "has lost the second factors ("+c.Kind+"); every session is ended", d.service.RemoveFactors(d.ctx, d.as, u.ID, kind))
	})
}

type userRequireFactorCmd struct {
	Off bool `help:"Not any more."`
	named
}

// Run says whether the user must have a second factor.
func (c *userRequireFactorCmd) Run(r *run) error {
	said := "must have a second factor from the next login on"
	if c.Off {
		said = "need not have a second factor"
	}
	return onUser(r, c.Flags, c.User, func(d *desk, u account.UserData) error {
		return d.confirm(u, said, d.service.SetFactorRequired(d.ctx, d.as, u.ID, !c.Off))
	})
}
