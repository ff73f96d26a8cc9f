package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// How long PostgreSQL may take before a request is answered with 503 instead of
// waiting on.
const (
	connectTimeout   = 5 * time.Second
	statementTimeout = "10s"
	lockTimeout      = "5s"
	idleTxTimeout    = "30s"
)

func openPostgres(ctx context.Context, o Options) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, errors.New("database: the URL cannot be read") // pgx's own words could hold the password
	}
	if !strings.Contains(o.URL, "pool_max_conns=") { // pgx has read it otherwise
		cfg.MaxConns = 16
	}
	if o.MaxConns > 0 {
		cfg.MaxConns = int32(min(o.MaxConns, 10_000))
	}
	cfg.MinConns = 1
	cfg.ConnConfig.ConnectTimeout = connectTimeout
	for name, value := range map[string]string{
		"application_name":                    "propusk",
		"statement_timeout":                   statementTimeout,
		"lock_timeout":                        lockTimeout,
		"idle_in_transaction_session_timeout": idleTxTimeout,
	} {
		if _, given := cfg.ConnConfig.RuntimeParams[name]; !given {
			cfg.ConnConfig.RuntimeParams[name] = value
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", ErrUnavailable)
	}
	d := &DB{engine: Postgres, pool: stdlib.OpenDBFromPool(pool), closers: []func(){pool.Close}}
	if err := d.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database on %s: %w", cfg.ConnConfig.Host, err), d.Close())
	}
	return d, nil
}

// maxRetries bounds how often a transaction that lost against another runs anew.
const maxRetries = 8

// txPostgres runs under READ COMMITTED: rules do not lean on what a SELECT saw,
// they check and use in one statement.
func (d *DB) txPostgres(ctx context.Context, relaxed bool, fn func(*Tx) error) error {
	for try := 0; ; try++ {
		err := d.tryPostgres(ctx, relaxed, fn)
		if try < maxRetries && lostRace(err) {
			continue
		}
		return err
	}
}

func (d *DB) tryPostgres(ctx context.Context, relaxed bool, fn func(*Tx) error) error {
	tx, err := d.pool.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if relaxed {
		if _, err := tx.ExecContext(ctx, "SET LOCAL synchronous_commit = off"); err != nil {
			return classify(err)
		}
	}
	if err := (&Tx{exec: pgTx{tx}, engine: Postgres}).run(fn); err != nil {
		return err
	}
	return classify(tx.Commit())
}

// lostRace tells a serialisation failure or a deadlock: PostgreSQL rolled the
// transaction back and asks for it to be run again.
func lostRace(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

type pgTx struct{ tx *sql.Tx }

func (t pgTx) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	return t.tx.ExecContext(ctx, query, args...)
}

func (t pgTx) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	return t.tx.QueryContext(ctx, query, args...)
}
