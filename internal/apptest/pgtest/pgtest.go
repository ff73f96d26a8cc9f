// Package pgtest gives every test a real PostgreSQL: [URL] a schema of its own
// in it, [Proxy] a way to break the line to it, and [Own] a server that the test
// may stop. It owns the server's life
// and the schema's, knows nothing of what is put there, and imports nothing of
// ours, so that the database package's own tests can use it.
//
// The server is the one named by the environment variable
// PROPUSK_TEST_POSTGRES or, where that is unset, a throwaway one, started from
// the installed programs once per test process. A missing server fails the
// test: a skip would let the whole suite pass without PostgreSQL.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const variable = "PROPUSK_TEST_POSTGRES"

const (
	// adminTimeout bounds what pgtest itself does on the server for one test.
	adminTimeout = 30 * time.Second
	// leakGrace is for a rollback still on its way when the test ends: a closed
	// socket reaches the server a moment after its pool was closed.
	leakGrace = time.Second
)

// URL gives a postgres:// URL whose search_path is a new, empty schema that
// only this test knows. The schema is dropped in t.Cleanup; the test fails
// there if one of its connections is still in a transaction. Close pools in a
// t.Cleanup of later registration, or before the test returns.
//
// The schema's name is also the application_name, by which those connections
// are found: a test that sets another one escapes the check. What PostgreSQL
// keeps per database, not per schema, is shared with tests that run at the
// same time: NOTIFY channels, advisory locks, roles, extensions.
func URL(t testing.TB) string {
	t.Helper()
	server, err := serverURL()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	schema, err := newSchema(server)
	if err != nil {
		t.Fatalf("pgtest: create a schema on %s: %v", origin(), err)
	}
	t.Cleanup(func() {
		err := onServer(server, func(ctx context.Context, conn *pgx.Conn) error {
			left, err := leftBehind(ctx, conn, schema)
			for _, l := range left {
				t.Errorf("pgtest: a transaction was left open: %s", l)
			}
			return errors.Join(err, drop(ctx, conn, schema))
		})
		if err != nil {
			t.Errorf("pgtest: drop schema %s on %s: %v", schema, origin(), err)
		}
	})
	return schemaURL(server, schema)
}

func newSchema(server *url.URL) (name string, err error) {
	name = "pgtest_" + strings.ToLower(rand.Text())
	return name, onServer(server, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE SCHEMA "+name)
		return err
	})
}

func serverURL() (*url.URL, error) {
	given := os.Getenv(variable)
	if given == "" {
		c, err := theCluster()
		if err != nil {
			return nil, err
		}
		return c.url, nil
	}
	u, err := url.Parse(given)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New(variable + " is not a postgres:// URL") // url.Parse's own words would hold the password
	}
	return u, nil
}

func origin() string {
	if os.Getenv(variable) != "" {
		return "the server in " + variable
	}
	return "the throwaway server"
}

func onServer(server *url.URL, do func(context.Context, *pgx.Conn) error) error {
	// Not t.Context: that one has ended when cleanups run.
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.String())
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, conn), conn.Close(ctx))
}

// A statement still at work counts as well as "idle in transaction": what runs
// on after the grace, the test has lost sight of. A transaction that failed
// ("aborted") has no xact_start.
const openTransactions = `SELECT state || ', last statement: ' || query FROM pg_stat_activity
	WHERE application_name = $1 AND (xact_start IS NOT NULL OR state LIKE 'idle in transaction%')`

func leftBehind(ctx context.Context, conn *pgx.Conn, schema string) ([]string, error) {
	grace, cancel := context.WithTimeout(ctx, leakGrace)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		rows, err := conn.Query(ctx, openTransactions, schema)
		if err != nil {
			return nil, fmt.Errorf("look for open transactions: %w", err)
		}
		left, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, fmt.Errorf("look for open transactions: %w", err)
		}
		if len(left) == 0 || grace.Err() != nil {
			return left, nil
		}
		<-tick.C
	}
}

// drop ends the schema's connections first: the locks of one left in a
// transaction would make DROP wait for ever.
func drop(ctx context.Context, conn *pgx.Conn, schema string) error {
	const terminate = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`
	if _, err := conn.Exec(ctx, terminate, schema); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+schema+" CASCADE")
	return err
}

// schemaURL puts the path into "options", which psql and pg_dump take from a
// URL too, and not into a "search_path" of its own, which only pgx does.
func schemaURL(server *url.URL, schema string) string {
	q := server.Query()
	q.Del("search_path")
	q.Set("application_name", schema)
	q.Set("options", strings.TrimSpace(q.Get("options")+" -csearch_path="+schema))
	own := *server
	own.RawQuery = encode(q)
	return own.String()
}

// encode writes a space as %20: libpq takes a plus sign for a plus sign.
func encode(q url.Values) string {
	return strings.ReplaceAll(q.Encode(), "+", "%20")
}
