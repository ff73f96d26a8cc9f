package pgtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"propusk/internal/apptest/pgtest"
)

func TestGateCutResetsOldAndNewConnectionsUntilRestored(t *testing.T) {
	t.Parallel()
	gate := pgtest.Proxy(t, pgtest.URL(t))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // a hang is a failure
	defer cancel()
	conn := connect(t, gate.URL)
	run(t, conn, `CREATE TABLE things (id integer PRIMARY KEY)`)
	run(t, conn, `BEGIN`)
	run(t, conn, `INSERT INTO things (id) VALUES (1)`)

	gate.Cut()
	if _, err := conn.Exec(ctx, `COMMIT`); err == nil {
		t.Error("a connection that was cut still works")
	}
	if late, err := pgx.Connect(ctx, gate.URL); err == nil {
		_ = late.Close(ctx)
		t.Error("a new connection passed the cut")
	}
	if ctx.Err() != nil {
		t.Fatal("connections hang instead of being reset")
	}

	gate.Restore()
	if conn.Ping(ctx) == nil {
		t.Error("a connection that was cut came back")
	}
	if n := count(t, connect(t, gate.URL), `SELECT count(*) FROM things`); n != 0 {
		t.Errorf("%d rows of a transaction whose commit was cut off", n)
	}
}

func TestGateStallPassesNothingUntilRestored(t *testing.T) {
	t.Parallel()
	direct := pgtest.URL(t)
	gate := pgtest.Proxy(t, direct)
	conn, watcher := connect(t, gate.URL), connect(t, direct)
	run(t, conn, `CREATE TABLE things (id integer PRIMARY KEY)`)

	gate.Stall()
	type result struct {
		conn *pgx.Conn
		err  error
	}
	old, late := make(chan error, 1), make(chan result, 1)
	go func() {
		_, err := conn.Exec(t.Context(), `INSERT INTO things (id) VALUES (1)`)
		old <- err
	}()
	go func() {
		c, err := pgx.Connect(t.Context(), gate.URL)
		late <- result{c, err}
	}()
	impatient, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if c, err := pgx.Connect(impatient, gate.URL); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connecting through a stalled gate gave %v, %v; want the deadline exceeded", c, err)
	}
	select {
	case err := <-old:
		t.Fatalf("a statement on an old connection did not stall: %v", err)
	case l := <-late:
		t.Fatalf("a new connection did not stall: %v", l.err)
	default:
	}
	if n := count(t, watcher, `SELECT count(*) FROM things`); n != 0 {
		t.Error("a statement reached the server through a stalled gate")
	}

	gate.Restore()
	if err := <-old; err != nil {
		t.Errorf("the stalled statement: %v", err)
	}
	l := <-late
	if l.err != nil {
		t.Fatalf("the stalled connection: %v", l.err)
	}
	defer l.conn.Close(t.Context()) //nolint:errcheck // the test is over
	if n := count(t, l.conn, `SELECT count(*) FROM things`); n != 1 {
		t.Errorf("%d rows after the stall, want 1", n)
	}
}

func TestGateCutEndsAStall(t *testing.T) {
	t.Parallel()
	gate := pgtest.Proxy(t, pgtest.URL(t))
	conn := connect(t, gate.URL)
	gate.Stall()
	stalled := make(chan error, 1)
	go func() { stalled <- conn.Ping(t.Context()) }()
	gate.Cut()
	if err := <-stalled; err == nil {
		t.Error("a ping passed a gate that was stalled and then cut")
	}
}

func TestGateSlowHoldsAnswersBack(t *testing.T) {
	t.Parallel()
	gate := pgtest.Proxy(t, pgtest.URL(t))
	conn := connect(t, gate.URL)
	const delay = 100 * time.Millisecond
	ping := func() time.Duration {
		begun := time.Now()
		if err := conn.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		return time.Since(begun)
	}
	gate.Slow(delay)
	if took := ping(); took < delay {
		t.Errorf("a ping through a slow gate took %s", took)
	}
	gate.Slow(0)
	if took := min(ping(), ping(), ping()); took >= delay {
		t.Errorf("a ping took %s when the gate was quick again", took)
	}
}

func TestGateTearDoesWhatIsAskedAndTellsNobody(t *testing.T) {
	t.Parallel()
	direct := pgtest.URL(t)
	gate := pgtest.Proxy(t, direct)
	conn, watcher := connect(t, gate.URL), connect(t, direct)
	run(t, conn, `CREATE TABLE things (id integer PRIMARY KEY)`)
	gate.Tear()
	if _, err := conn.Exec(t.Context(), `INSERT INTO things (id) VALUES (1)`); err == nil {
		t.Error("an answer came whole through a torn gate")
	}
	if n := count(t, watcher, `SELECT count(*) FROM things`); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}
