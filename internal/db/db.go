// Package db puts SQLite and PostgreSQL behind one [DB]: opening, migrating,
// transactions, and the classes of error that leave a database. It knows no
// rule and no table but the migrations' own; whoever owns a table keeps its
// statements beside the rule that needs them.
//
// One text of SQL serves both engines. Statements use $1, named columns,
// integers for time (microseconds since 1970 in UTC) and text for identifiers.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Engine names what is behind a [DB].
type Engine string

// The engines.
const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
)

// Options say how to open a database.
type Options struct {
	// URL is "sqlite:PATH", "sqlite::memory:" or a "postgres://" URL.
	URL string
	// MaxConns bounds the connections to PostgreSQL, and the readers of SQLite.
	// 0 means 16 and 4.
	MaxConns int
}

// Querier is what a statement can run on: the database itself, where each
// statement sees the last commit, or one transaction.
type Querier interface {
	// Exec gives the number of rows that the statement touched.
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	// QueryRow scans the only row, or gives [ErrNotFound].
	QueryRow(ctx context.Context, query string, args []any, dest ...any) error
	// Query calls each for every row, with the row's Scan.
	Query(ctx context.Context, query string, args []any, each func(scan func(dest ...any) error) error) error
}

// DB is an open database. Its methods are safe for concurrent use.
type DB struct {
	engine  Engine
	path    string // of the SQLite file; "" in memory and for PostgreSQL
	dsn     string // of SQLite, for a connection that may write
	pool    *sql.DB
	writer  *writer       // SQLite only: the one connection that writes
	readers chan struct{} // SQLite only: a place for each connection that reads
	stmts   sync.Map
	closers []func()

	migrating sync.Mutex
}

// Open opens the database and proves that it answers. It changes nothing in
// it: see [DB.Migrate].
func Open(ctx context.Context, o Options) (*DB, error) {
	switch {
	case strings.HasPrefix(o.URL, "sqlite:"):
		return openSQLite(ctx, strings.TrimPrefix(o.URL, "sqlite:"), o)
	case strings.HasPrefix(o.URL, "postgres://"), strings.HasPrefix(o.URL, "postgresql://"):
		return openPostgres(ctx, o)
	default:
		return nil, errors.New("database: neither sqlite: nor postgres://")
	}
}

// Engine tells which engine is behind d.
func (d *DB) Engine() Engine { return d.engine }

// Close waits for running transactions and closes every connection.
func (d *DB) Close() error {
	var errs []error
	if d.writer != nil {
		errs = append(errs, d.writer.close())
	}
	d.stmts.Range(func(_, s any) bool {
		errs = append(errs, s.(*sql.Stmt).Close())
		return true
	})
	errs = append(errs, d.pool.Close())
	for _, c := range d.closers {
		c()
	}
	return errors.Join(errs...)
}

// Ping proves that a statement can be answered now.
func (d *DB) Ping(ctx context.Context) error {
	var one int
	return d.QueryRow(ctx, `SELECT 1`, nil, &one)
}

// Tx runs fn in one transaction and commits it when fn gives nil. When Tx gives
// nil, the commit is durable; when it gives an error, nothing of fn has
// happened, save for [ErrUnavailable] from PostgreSQL and for a ctx that ended
// meanwhile: a connection lost during the commit leaves that open.
//
// A statement that fails, other than by [ErrNotFound], ends the transaction:
// later ones give the same error, and so does Tx even where fn gives nil.
//
// fn may run more than once, so it must keep its results in variables that it
// sets anew on each run. Inside fn there is no hashing, network or sleep: on
// SQLite all writers wait for one another.
func (d *DB) Tx(ctx context.Context, fn func(*Tx) error) error {
	return d.tx(ctx, false, fn)
}

// TxRelaxed is [DB.Tx] for what a power cut (of PostgreSQL's machine, or the end of
// its server) may take back if it comes within the next moment: its commit does
// not wait for the disk. Everybody sees it at once, it outlives this process, what
// it leaves is never half of it, and any later commit of Tx makes it as durable as
// itself (sqlite.org/pragma.html#pragma_synchronous; PostgreSQL manual,
// "Asynchronous Commit").
func (d *DB) TxRelaxed(ctx context.Context, fn func(*Tx) error) error {
	return d.tx(ctx, true, fn)
}

func (d *DB) tx(ctx context.Context, relaxed bool, fn func(*Tx) error) error {
	if d.writer != nil {
		return d.writer.do(ctx, relaxed, fn)
	}
	return d.txPostgres(ctx, relaxed, fn)
}

// Tx is a running transaction. It is of no use after fn has returned.
type Tx struct {
	exec   preparer
	engine Engine
	failed error // the first statement's error, or that all is over
}

var errOver = errors.New("the transaction is over")

// run is one run of fn. PostgreSQL refuses every statement after one that has
// failed, and SQLite would go on; here both refuse, so that a rule which works
// on one engine works on the other.
func (t *Tx) run(fn func(*Tx) error) error {
	defer func() { t.failed = errOver }()
	if err := fn(t); err != nil {
		return err
	}
	return t.failed
}

func (t *Tx) classify(err error) error {
	err = classify(err)
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.failed = err
	}
	return err
}

// preparer gives a statement ready to run on the transaction's connection.
type preparer interface {
	exec(ctx context.Context, query string, args []any) (sql.Result, error)
	query(ctx context.Context, query string, args []any) (*sql.Rows, error)
}

// Exec implements [Querier].
func (t *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if t.failed != nil {
		return 0, t.failed
	}
	res, err := t.exec.exec(t.ctx(ctx), query, args)
	if err != nil {
		return 0, t.classify(err)
	}
	n, err := res.RowsAffected()
	return n, t.classify(err)
}

// QueryRow implements [Querier].
func (t *Tx) QueryRow(ctx context.Context, query string, args []any, dest ...any) error {
	if t.failed != nil {
		return t.failed
	}
	rows, err := t.exec.query(t.ctx(ctx), query, args)
	return scanOne(rows, err, t.classify, dest)
}

// Query implements [Querier].
func (t *Tx) Query(ctx context.Context, query string, args []any, each func(func(...any) error) error) error {
	if t.failed != nil {
		return t.failed
	}
	rows, err := t.exec.query(t.ctx(ctx), query, args)
	return scanAll(rows, err, t.classify, each)
}

// A cancelled statement would roll back the whole of SQLite's transaction, and
// with it the neighbours that share the commit. Its statements are local and
// short; they run to their end.
func (t *Tx) ctx(ctx context.Context) context.Context {
	if t.engine == SQLite {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// Exec implements [Querier], in a transaction of its own.
func (d *DB) Exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = d.Tx(ctx, func(tx *Tx) error {
		n, err = tx.Exec(ctx, query, args...)
		return err
	})
	return n, err
}

// QueryRow implements [Querier].
func (d *DB) QueryRow(ctx context.Context, query string, args []any, dest ...any) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	rows, err := d.query(ctx, query, args)
	return scanOne(rows, err, classify, dest)
}

// Query implements [Querier].
func (d *DB) Query(ctx context.Context, query string, args []any, each func(func(...any) error) error) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	rows, err := d.query(ctx, query, args)
	return scanAll(rows, err, classify, each)
}

// Poll is [DB.Query] for the one background reader that must never stand behind
// requests: on SQLite it has a connection beside theirs.
func (d *DB) Poll(ctx context.Context, query string, args []any, each func(func(...any) error) error) error {
	if err := ctx.Err(); err != nil {
		return classify(err)
	}
	rows, err := d.query(ctx, query, args)
	return scanAll(rows, err, classify, each)
}

// enter waits for one of SQLite's readers as long as ctx lasts; database/sql,
// which is told nothing of ctx there, would wait for ever.
func (d *DB) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return classify(err)
	}
	if d.readers == nil {
		return nil
	}
	select {
	case d.readers <- struct{}{}:
		return nil
	case <-ctx.Done():
		return classify(ctx.Err())
	}
}

func (d *DB) leave() {
	if d.readers != nil {
		<-d.readers
	}
}

func (d *DB) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	if d.engine == Postgres { // pgx keeps prepared statements itself
		return d.pool.QueryContext(ctx, query, args...)
	}
	ctx = context.WithoutCancel(ctx)
	s, ok := d.stmts.Load(query)
	if !ok {
		fresh, err := d.pool.PrepareContext(ctx, query)
		if err != nil {
			return nil, err
		}
		var raced bool
		if s, raced = d.stmts.LoadOrStore(query, fresh); raced {
			_ = fresh.Close() //nolint:sqlclosecheck // the twin that was faster stays; this one goes
		}
	}
	return s.(*sql.Stmt).QueryContext(ctx, args...)
}

func scanOne(rows *sql.Rows, err error, classify func(error) error, dest []any) error {
	if err != nil {
		return classify(err)
	}
	defer rows.Close() //nolint:errcheck // what Close could say, Err below has said
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return classify(err)
		}
		return ErrNotFound
	}
	if err := rows.Scan(dest...); err != nil {
		return fmt.Errorf("scan row: %w", err)
	}
	for rows.Next() { //nolint:revive // runs a RETURNING statement to its end
	}
	return classify(rows.Err())
}

func scanAll(rows *sql.Rows, err error, classify func(error) error, each func(func(...any) error) error) error {
	if err != nil {
		return classify(err)
	}
	defer rows.Close() //nolint:errcheck // what Close could say, Err below has said
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return classify(rows.Err())
}

// Micros is how an instant is stored: microseconds since 1970 in UTC.
func Micros(t time.Time) int64 { return t.UnixMicro() }

// Time reads what [Micros] wrote.
func Time(us int64) time.Time { return time.UnixMicro(us).UTC() }

// NullMicros is [Micros] for an instant that may be absent.
func NullMicros(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

// NullTime reads what [NullMicros] wrote: the zero time where there is none.
func NullTime(us sql.NullInt64) time.Time {
	if !us.Valid {
		return time.Time{}
	}
	return Time(us.Int64)
}
