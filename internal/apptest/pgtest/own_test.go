package pgtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"propusk/internal/apptest/pgtest"
)

func TestOwnServerKeepsWhatWasCommittedOverAStop(t *testing.T) {
	t.Parallel()
	server := pgtest.Own(t, "max_connections=10")
	url := server.URL(t)
	conn := connect(t, url)
	run(t, conn, `CREATE TABLE things (id integer PRIMARY KEY)`)
	run(t, conn, `INSERT INTO things (id) VALUES (1)`)

	server.Stop(t)
	if conn.Ping(t.Context()) == nil {
		t.Error("a connection to a stopped server still works")
	}
	if late, err := pgx.Connect(t.Context(), url); err == nil {
		_ = late.Close(t.Context())
		t.Error("a stopped server took a connection")
	}
	server.Start(t)
	again := connect(t, url)
	if n := count(t, again, `SELECT count(*) FROM things`); n != 1 {
		t.Errorf("%d rows after the stop, want 1", n)
	}
	if n := count(t, again, `SELECT current_setting('max_connections')::integer`); n != 10 {
		t.Errorf("max_connections is %d", n)
	}
}

func TestOwnServerAnswersNobodyWhileFrozen(t *testing.T) {
	t.Parallel()
	server := pgtest.Own(t)
	url := server.URL(t)
	conn := connect(t, url)
	server.Freeze(t)
	impatient, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if c, err := pgx.Connect(impatient, url); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connecting to a frozen server gave %v, %v; want the deadline exceeded", c, err)
	}
	old := make(chan error, 1)
	go func() { old <- conn.Ping(t.Context()) }()
	select {
	case err := <-old:
		t.Fatalf("a statement on an old connection was answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	server.Thaw()
	if err := <-old; err != nil {
		t.Errorf("the statement that waited: %v", err)
	}
}
