package config_test

import (
	"net/url"
	"strings"
	"testing"

	"propusk/internal/config"
)

// only loads one flag without kong, which is no part of what is fuzzed.
func only(mode config.Mode, flags config.Flags) (config.Config, error) {
	return config.Load(flags, nil, files{}.read, mode)
}

func FuzzArgon2(f *testing.F) {
	for _, seed := range []string{"m=19456,t=2,p=1", "p=1, t=5, m=7168", "m=4194304,t=64,p=64", "m=1,t=1", "m=,t=,p="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, mode := range []config.Mode{config.Serve, config.Dev} {
			c, err := only(mode, config.Flags{Argon2: &text})
			if err != nil {
				continue
			}
			a := c.Argon2
			if a.Memory < 8*uint32(a.Lanes) || a.Memory > 4<<20 || a.Passes < 1 || a.Passes > 64 || a.Lanes < 1 || a.Lanes > 64 {
				t.Errorf("%q gave %v", text, a)
			}
			if mode == config.Serve && a.Memory < 7168 {
				t.Errorf("%q is too weak", text)
			}
			written := a.String()
			if again, err := only(mode, config.Flags{Argon2: &written}); err != nil || again.Argon2 != a {
				t.Errorf("%q gave %v, which reads as %v (%v)", text, a, again.Argon2, err)
			}
		}
	})
}

func FuzzNetworks(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8", "10.0.0.1,::1", "fc00::/7, 192.168.0.0/16", "::ffff:1.2.3.4", "1.2.3.4/0", "fe80::1%1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := only(config.Serve, config.Flags{TrustedNetworks: &text})
		if err != nil {
			return
		}
		for _, p := range c.TrustedNetworks {
			if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Bits() < 7 {
				t.Errorf("%q gave %v", text, p)
			}
		}
		if len(c.TrustedNetworks) == 0 && text != "" {
			t.Errorf("%q vanished", text)
		}
	})
}

func FuzzDatabase(f *testing.F) {
	for _, seed := range []string{"sqlite:a.db", "sqlite::memory:", "postgres://u:p@h/d", "postgresql://u:p@h1,h2:1/d?password=x", "postgres://%zz", "postgres://u:p/w@h"} {
		f.Add(seed, "s3cret-word")
	}
	f.Fuzz(func(t *testing.T, text, password string) {
		key := "k"
		c, err := only(config.Serve, config.Flags{Database: &text, MasterKeyFile: &key})
		if err == nil && c.Database.Reveal() != text {
			t.Errorf("%q became %q", text, c.Database.Reveal())
		}
		if err == nil && c.Database.Engine == config.SQLite && (c.Database.Memory || strings.ContainsAny(c.Database.Path, "?#") || c.Database.Path == "") {
			t.Errorf("%q is a file %q", text, c.Database.Path)
		}
		if len(password) < 8 || strings.Contains(text+"postgres://user@host/name", password) {
			return // it would be found in what may be shown
		}
		full := (&url.URL{Scheme: "postgres", User: url.UserPassword("user", password), Host: "host", Path: "/name"}).String()
		c, err = only(config.Serve, config.Flags{Database: &full, MasterKeyFile: &key})
		if err != nil || c.Database.String() != "postgres://user:xxxxx@host/name" {
			t.Errorf("%q is shown as %q (%v)", full, c.Database, err)
		}
		// Somebody forgot to escape it: whether that passes or not, it stays hidden.
		raw := "postgres://user:" + password + "@host/name"
		if _, err = only(config.Dev, config.Flags{Database: &raw, MasterKeyFile: nil}); err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("%q: %v", raw, err)
		}
	})
}
