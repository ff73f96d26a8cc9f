package db

import (
	"context"
	"database/sql"
	"embed"
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

// migrateTimeout bounds how long a start waits for another that migrates.
const migrateTimeout = 5 * time.Minute

// Migrate brings the schema to this program's version, under a lock, so that
// of several programs that start at once one migrates and the others wait. It
// gives [ErrNewer], and changes nothing, when a newer program was here before.
func (d *DB) Migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	unlock, err := d.lockFile()
	if err != nil {
		return err
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
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", classify(err))
	}
	if current > target {
		return fmt.Errorf("%w: its schema is version %d, this program knows %d", ErrNewer, current, target)
	}
	if current == target {
		return nil
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", classify(err))
	}
	return nil
}

func (d *DB) provider(pool *sql.DB) (*goose.Provider, error) {
	dir, dialect := "migrations/sqlite", goose.DialectSQLite3
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if d.engine == Postgres {
		dir, dialect = "migrations/postgres", goose.DialectPostgres
		l, err := lock.NewPostgresTableLocker() // a row, not an advisory lock: poolers and distributed engines lack those
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
func (d *DB) lockFile() (unlock func(), err error) {
	if d.path == "" {
		return func() {}, nil
	}
	f, err := os.OpenFile(d.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock for migration: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil { //nolint:gosec // a file descriptor fits an int
		_ = f.Close()
		return nil, fmt.Errorf("lock for migration: %w", err)
	}
	return func() { _ = f.Close() }, nil
}
