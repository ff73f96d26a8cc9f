package account_test

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"

	"propusk/internal/account"
	"propusk/internal/apptest"
	"propusk/internal/db"
	"propusk/internal/secret"
)

// service is the rules alone over a database, under a key.
func service(d *db.DB, keys *secret.Keys) *account.Service {
	return account.New(account.Options{
		DB: d, Keys: keys, Hasher: secret.NewHasher(secret.HasherOptions{Cost: secret.Argon2{Memory: 8, Passes: 1, Threads: 1}, Workers: 1, Queue: 1}),
		Log: slog.New(slog.DiscardHandler), Now: apptest.NewClock().Now, Policy: account.Policy{UserTypes: []string{"ind"}},
	})
}

// V103: another key in the place of the lost one is refused, and changes nothing.
func TestDatabaseBelongsToItsMasterKey(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		before := direct(t, a.URL).read(t)
		for range 2 {
			if err := service(a.DB, secret.NewKeys()).Claim(t.Context()); !errors.Is(err, account.ErrOtherKey) {
				t.Errorf("another key: %v, want ErrOtherKey", err)
			}
		}
		must(t, service(a.DB, a.Keys).Claim(t.Context()))
		if diff := differences(before, direct(t, a.URL).read(t)); len(diff) > 0 {
			t.Errorf("changed: %v", diff)
		}
	})
}

// Of many first starts at once, each with a key that it has just made, one
// ties the database to its key.
func TestFirstKeyWins(t *testing.T) {
	t.Parallel()
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			d, err := db.Open(t.Context(), db.Options{URL: freshURL(t, engine)})
			must(t, err)
			defer d.Close() //nolint:errcheck // nothing was written since
			must(t, d.Migrate(t.Context()))
			if has, err := account.HasKey(t.Context(), d); has || err != nil {
				t.Errorf("a fresh database has a key: %v, %v", has, err)
			}
			var won, lost atomic.Int64
			together(16, func(int) {
				switch err := service(d, secret.NewKeys()).Claim(t.Context()); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, account.ErrOtherKey):
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
			if won.Load() != 1 || lost.Load() != 15 {
				t.Errorf("%d won, %d lost; want 1 and 15", won.Load(), lost.Load())
			}
			if has, err := account.HasKey(t.Context(), d); !has || err != nil {
				t.Errorf("a claimed database has no key: %v, %v", has, err)
			}
		})
	}
}

// HasKey must not take a database that cannot be asked for one without a key:
// a new key would be made in the place of the right one.
func TestKeyOfAnUnreachableDatabaseIsNotTakenForMissing(t *testing.T) {
	t.Parallel()
	apptest.Each(t, apptest.Options{Idle: true}, func(t *testing.T, a *apptest.App) {
		direct(t, a.URL).exec(t, `ALTER TABLE installation RENAME TO gone`)
		if has, err := account.HasKey(t.Context(), a.DB); err == nil {
			t.Errorf("has key: %v, and no error", has)
		}
	})
}
