package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// memories numbers the databases in memory, so that each is its own.
var memories atomic.Int64

// openSQLite opens a file in WAL mode with synchronous=FULL: under NORMAL a
// power cut takes back commits that were acknowledged (sqlite.org/wal.html,
// "Performance Considerations"). What the sync costs, the writer shares out:
// see writer.go.
func openSQLite(ctx context.Context, path string, o Options) (*DB, error) {
	d := &DB{engine: SQLite}
	dsn := url.URL{Scheme: "file", RawQuery: "_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)&_pragma=trusted_schema(0)"}
	if path == ":memory:" {
		dsn.Path = fmt.Sprintf("/propusk-%d", memories.Add(1))
		dsn.RawQuery += "&vfs=memdb"
	} else {
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("database path: %w", err)
		}
		if err := createPrivate(abs); err != nil {
			return nil, err
		}
		d.path, dsn.Path = abs, abs
		dsn.RawQuery += "&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
	}
	d.dsn = dsn.String()
	// The writer comes first: in memory, its connection keeps the database alive.
	w, err := sql.Open("sqlite", d.dsn)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if d.writer, err = newWriter(ctx, w); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), w.Close())
	}
	dsn.RawQuery += "&_pragma=query_only(1)"
	if d.pool, err = sql.Open("sqlite", dsn.String()); err != nil {
		return nil, errors.Join(err, d.writer.close())
	}
	readers := o.MaxConns
	if readers == 0 {
		readers = 4
	}
	d.readers = make(chan struct{}, readers)
	d.pool.SetMaxOpenConns(readers + 1) // one more: see Poll
	d.pool.SetMaxIdleConns(readers + 1)
	if err := d.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), d.Close())
	}
	return d, nil
}

// createPrivate makes the file and its folder readable to their owner only,
// before SQLite would make them readable to everyone. SQLite gives the -wal
// and -shm files the mode of the database file.
func createPrivate(path string) error {
	if strings.ContainsRune(path, 0) {
		return errors.New("database path holds a NUL")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("create data folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator's own setting names the file
	if err != nil {
		return fmt.Errorf("create database file: %w", err)
	}
	return f.Close()
}
