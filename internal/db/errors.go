package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// The classes of error that leave a database. Everything else is a fault in
// our own statements.
var (
	// ErrNotFound: the statement found no row.
	ErrNotFound = errors.New("no such row")
	// ErrUnavailable: the database cannot serve now: it is gone, full, locked or
	// failing. What was asked has not been done, or is not known to be.
	ErrUnavailable = errors.New("database unavailable")
	// ErrNewer: a newer version of the program has migrated this database.
	ErrNewer = errors.New("the database is newer than this program")
)

// ConflictError is a broken unique constraint. Index is the name of the index
// in PostgreSQL, and table_column in SQLite: unique indices are named so that
// both are the same word.
type ConflictError struct{ Index string }

func (e *ConflictError) Error() string { return "conflict on " + e.Index }

func classify(err error) error {
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnavailable) {
		return err
	}
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return classifySQLite(lite)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return classifyPostgres(pg)
	}
	if errors.Is(err, context.Canceled) {
		return err // the caller went away; nobody is left to be told
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func classifySQLite(err *sqlite.Error) error {
	switch code := err.Code(); code & 0xff {
	case sqlite3.SQLITE_CONSTRAINT:
		if code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
			return &ConflictError{Index: sqliteIndex(err.Error())}
		}
		return err
	case sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
		return err
	default: // busy, locked, full, I/O, corrupt, cannot open, read-only, …
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// sqliteIndex takes "users_email_key" from "constraint failed: UNIQUE constraint
// failed: users.email_key (2067)".
func sqliteIndex(msg string) string {
	_, name, _ := strings.Cut(msg, "UNIQUE constraint failed: ")
	name, _, _ = strings.Cut(name, " ")
	name, _, _ = strings.Cut(name, ",")
	return strings.ReplaceAll(name, ".", "_")
}

func classifyPostgres(err *pgconn.PgError) error {
	if err.Code == "23505" { // unique_violation
		return &ConflictError{Index: err.ConstraintName}
	}
	switch err.Code[:2] {
	case "22", "23", "42": // data exception, integrity constraint, syntax or access rule: our statement
		return err
	default: // connection, resources, shutdown, timeout, read-only, …
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}
