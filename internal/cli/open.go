package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"propusk/internal/account"
	"propusk/internal/api"
	"propusk/internal/config"
	"propusk/internal/db"
	"propusk/internal/dev"
	"propusk/internal/secret"
)

// instance is the rules over an open database.
type instance struct {
	db      *db.DB
	keys    *secret.Keys
	service *account.Service
	hasher  *secret.Hasher
	data    string           // where everything is, for people
	made    bool             // everything was made just now
	clock   func() time.Time // of the rules
	moved   *dev.Clock       // the same, in a throwaway instance
	wake    func()           // called when a message was queued; commands leave that to the service
}

func (i *instance) close() {
	i.hasher.Close()
	_ = i.db.Close()
}

// open opens and migrates the database, reads the master key (on the very first
// start it makes one), and builds the rules.
func open(ctx context.Context, cfg config.Config, log *slog.Logger) (*instance, error) {
	d, err := db.Open(ctx, db.Options{URL: cfg.Database.Reveal()})
	if err != nil {
		return nil, err
	}
	i, err := build(ctx, cfg, log, d)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return i, nil
}

func build(ctx context.Context, cfg config.Config, log *slog.Logger, d *db.DB) (*instance, error) {
	if err := d.Migrate(ctx); err != nil {
		return nil, err
	}
	keys, made, err := masterKey(ctx, cfg, d)
	if err != nil {
		return nil, err
	}
	i := &instance{db: d, keys: keys, hasher: newHasher(cfg, log), data: whereabouts(cfg, made), made: made, clock: now, wake: func() {}}
	if cfg.Mode == config.Dev {
		i.moved = dev.NewClock(now)
		i.clock = i.moved.Now
	}
	i.service = account.New(account.Options{
		DB: d, Keys: keys, Hasher: i.hasher, Log: log, Now: i.clock, Elapsed: elapsed, Policy: policy(cfg), Wake: func() { i.wake() },
	})
	if err := i.service.Claim(ctx); err != nil {
		if errors.Is(err, account.ErrOtherKey) {
			err = fmt.Errorf("master-key-file: %s is not the key that this database was started with: put that one back", cfg.MasterKeyFile)
		}
		return nil, err
	}
	return i, nil
}

func newHasher(cfg config.Config, log *slog.Logger) *secret.Hasher {
	o := secret.HasherOptions{
		Cost:    secret.Argon2{Memory: cfg.Argon2.Memory, Passes: cfg.Argon2.Passes, Threads: cfg.Argon2.Lanes},
		Workers: cfg.HashWorkers, Queue: cfg.HashQueue, MaxWait: cfg.HashWait, Log: log,
	}
	if cfg.Mode == config.Serve {
		o.Command = thisProgram
	}
	return secret.NewHasher(o)
}

// thisProgram is this very program, also after an upgrade has put another into
// its place. It gets nothing of the environment, which may hold secrets.
func thisProgram() *exec.Cmd {
	path := "/proc/self/exe"
	if _, err := os.Stat(path); err != nil {
		path, _ = os.Executable() // where there is no name either, the start fails, and says so
	}
	env := []string{}
	for _, name := range []string{"GODEBUG", "GOTRACEBACK", "GORACE", "GOCOVERDIR"} { // the Go runtime's
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return &exec.Cmd{Path: path, Args: os.Args[:1:1], Env: env, Stderr: os.Stderr}
}

func policy(cfg config.Config) account.Policy {
	p := account.Policy{
		TokenLifetime: cfg.TokenLifetime, TokenLifetimeRemembered: cfg.TokenLifetimeRemembered, TokenIdle: cfg.TokenIdle,
		PasswordMinLength: cfg.PasswordMinLength, PasswordBlocklist: cfg.PasswordBlocklist,
		UserTypes: cfg.UserTypes, PhoneRegion: cfg.PhoneRegion, Registration: registration(cfg.Registration),
		AttemptsPerAccount: cfg.AttemptsPerAccount, AttemptsPerNetwork: cfg.AttemptsPerNetwork, AttemptsRefill: cfg.AttemptsRefill,
		AttemptsMaxWait: cfg.AttemptsMaxWait, AttemptsLimit: cfg.AttemptsLimit, DeviceLifetime: cfg.DeviceLifetime,
		RegistrationsPerNetwork: cfg.RegistrationsPerNetwork, RegistrationsRefill: cfg.RegistrationsRefill,
		SecondFactorLifetime: cfg.SecondFactorLifetime, SecondFactorIdle: cfg.SecondFactorIdle, RequiredFactor: cfg.RequireSecondFactor, TrustDevices: cfg.TrustDevices,
		PasskeyRPID: cfg.PasskeyRPID, PasskeyOrigins: cfg.PasskeyOrigins, PasskeyAAGUIDs: cfg.PasskeyAAGUIDs, PasskeyRoots: cfg.PasskeyRoots,
		RequireVerified: cfg.RequireVerified, NoticeSignIns: cfg.NoticeSignIns, MessagesPerAddress: cfg.MessagesPerAddress,
		MessagesRefill: cfg.MessagesRefill, AsksPerNetwork: cfg.AsksPerNetwork, Mail: !cfg.SMTP.IsZero(), Zone: cfg.TimeZone, Language: mainLanguage(cfg),
		SessionMemory: cfg.SessionMemory, OfflineChecks: cfg.OfflineChecks,
	}
	if cfg.PublicURL != nil {
		p.PublicURL = cfg.PublicURL.String()
	}
	if cfg.Mode == config.Dev {
		p.FirstUserID, p.FixedCode, p.Mail = seedUserID, cfg.DevCode, true
	}
	return p
}

// mainLanguage is in which strangers are written to who ask for none: English,
// as they are answered, where it is on offer.
func mainLanguage(cfg config.Config) string {
	if slices.Contains(cfg.Languages, "en") {
		return "en"
	}
	return cfg.Languages[0]
}

func registration(r config.Registration) account.RegistrationPolicy {
	switch r {
	case config.RegistrationOpen:
		return account.RegistrationOpen
	case config.RegistrationVerifyFirst:
		return account.RegistrationVerifyFirst
	case config.RegistrationClosed:
	}
	return account.RegistrationClosed
}

// masterKey reads the master key, and makes one where neither a file nor a
// database that was started with one is there: a new key in the place of a lost
// one would open nothing that is stored.
func masterKey(ctx context.Context, cfg config.Config, d *db.DB) (keys *secret.Keys, made bool, err error) {
	if cfg.Mode == config.Dev {
		return secret.NewKeys(), true, nil
	}
	keys, err = secret.ReadKeys(cfg.MasterKeyFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, false, err
	}
	has, err := account.HasKey(ctx, d)
	if err != nil {
		return nil, false, err
	}
	if has {
		return nil, false, fmt.Errorf("master-key-file: %s is missing, and this database was started with a key: put it back from where you keep it", cfg.MasterKeyFile)
	}
	keys, err = secret.CreateKeys(cfg.MasterKeyFile)
	return keys, true, err
}

func whereabouts(cfg config.Config, made bool) string {
	key := "master key: " + absolute(cfg.MasterKeyFile)
	if made {
		key += " (made just now: keep a copy of it elsewhere)"
	}
	if cfg.Database.Engine == config.SQLite {
		return absolute(cfg.Database.Path) + ", " + key
	}
	return cfg.Database.String() + ", " + key
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// document is the OpenAPI document, which needs no database.
func document() ([]byte, error) {
	face, err := api.New(api.Options{Languages: []string{"en"}, Version: Version})
	if err != nil {
		return nil, err
	}
	return face.Document(), nil
}
