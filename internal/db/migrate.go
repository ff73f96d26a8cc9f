package db

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"golang.org/x/sys/unix"
)

//go:embed migrations
var migrations embed.FS

const (
	// migrateTimeout bounds how long a start waits for another that migrates.
	migrateTimeout = 5 * time.Minute
	// migrateTick is how often it looks whether the other is done.
	migrateTick = 100 * time.Millisecond
)

// Migrate brings the schema to this program's version, under a lock, so that
// of several programs that start at once one migrates and the others wait. It
// gives [ErrNewer], and changes nothing, when a newer program was here before.
func (d *DB) Migrate(ctx context.Context) error {
	return d.migrate(ctx, func(ctx context.Context, p *goose.Provider) error {
		behind, err := isBehind(ctx, p)
		if err != nil || !behind {
			return err
		}
		if _, err := p.Up(ctx); err != nil {
			return classify(err)
		}
		// Whoever had the lock before us may have been newer.
		_, err = isBehind(ctx, p)
		return err
	})
}

func isBehind(ctx context.Context, p *goose.Provider) (bool, error) {
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return false, classify(err)
	}
	if current > target {
		return false, fmt.Errorf("%w: its schema is version %d, this program knows %d", ErrNewer, current, target)
	}
	return current < target, nil
}

func (d *DB) migrate(ctx context.Context, do func(context.Context, *goose.Provider) error) error {
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	d.migrating.Lock()
	defer d.migrating.Unlock()
	unlock, err := d.lockFile(ctx)
	if err != nil {
		return fmt.Errorf("lock for migration: %w", err)
	}
	defer unlock()
	pool := d.pool
	if d.engine == SQLite { // whose pool only reads, and whose writer is spoken for
		if pool, err = sql.Open("sqlite", d.dsn); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		defer pool.Close() //nolint:errcheck // a connection that only migrated
	}
	p, err := d.provider(pool)
	if err == nil {
		err = do(ctx, p)
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func (d *DB) provider(pool *sql.DB) (*goose.Provider, error) {
	dir, dialect := "migrations/sqlite", goose.DialectSQLite3
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if d.engine == Postgres {
		dir, dialect = "migrations/postgres", goose.DialectPostgres
		// A row, not an advisory lock: poolers and distributed engines lack those.
		l, err := lock.NewPostgresTableLocker(lock.WithTableLockTimeout(migrateTick, uint64(migrateTimeout/migrateTick)))
		if err != nil {
			return nil, err
		}
		opts = append(opts, goose.WithLocker(l))
	}
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, pool, files, opts...)
}

// lockFile takes the lock beside a SQLite file. The kernel lets go of it when
// the process ends, however that happens.
func (d *DB) lockFile(ctx context.Context) (unlock func(), err error) {
	if d.path == "" {
		return func() {}, nil
	}
	f, err := os.OpenFile(d.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(migrateTick)
	defer tick.Stop()
	for {
		// Without LOCK_NB nothing but the lock itself would end the wait.
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%w: another program migrates", classify(ctx.Err())), f.Close())
		}
	}
}
