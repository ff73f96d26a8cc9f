package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// maxBatch bounds how many transactions share one commit, so that the first of
// them does not wait for an endless queue.
const maxBatch = 256

// writer owns the one connection of SQLite that writes. Transactions queue up
// for it; those that wait while a commit is being synchronised to the disk run
// together, each but the first inside a savepoint of its own, and share the next
// commit and its one sync. None is told of success before that sync, save where
// all of them are relaxed: then there is none.
type writer struct {
	pool *sql.DB
	conn *connStmts
	jobs chan *job
	held *job // taken from jobs, and not of the batch that ran then
	done chan struct{}

	closing sync.RWMutex // held for reading while a job is handed over
	closed  bool
}

// job is a transaction in the queue. Its fn runs on its caller's goroutine,
// while the writer's waits: so a panic, or the end of that goroutine, is the
// caller's own, stack and all.
type job struct {
	ctx     context.Context
	relaxed bool          // its commit need not wait for the disk
	turn    chan *Tx      // gives the transaction to the caller
	ran     chan struct{} // closed when fn has ended
	done    chan struct{} // closed when err holds the outcome
	err     error
}

func newWriter(ctx context.Context, pool *sql.DB) (*writer, error) {
	pool.SetMaxOpenConns(1)
	w := &writer{pool: pool, jobs: make(chan *job), done: make(chan struct{})}
	if err := w.connect(ctx); err != nil {
		return nil, err
	}
	go w.run()
	return w, nil
}

// do waits for the writer, runs fn, and waits for its commit. Once begun, a
// transaction runs to its end whatever becomes of ctx, so that its outcome is
// always known.
func (w *writer) do(ctx context.Context, relaxed bool, fn func(*Tx) error) error {
	j := &job{ctx: ctx, relaxed: relaxed, turn: make(chan *Tx), ran: make(chan struct{}), done: make(chan struct{})}
	if err := w.hand(ctx, j); err != nil {
		return err
	}
	select {
	case tx := <-j.turn:
		j.run(tx, fn)
		return j.err
	case <-j.done: // it never came to that
		return j.err
	case <-ctx.Done(): // nor will it: the writer sees that nobody takes the turn
		return fmt.Errorf("wait for the writer: %w", classify(ctx.Err()))
	}
}

// errBroken stands for a fn that did not return.
var errBroken = errors.New("the transaction's function did not return")

func (j *job) run(tx *Tx, fn func(*Tx) error) {
	j.err = errBroken
	defer func() {
		close(j.ran)
		<-j.done
	}()
	j.err = tx.run(fn)
}

func (w *writer) hand(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return classify(err)
	}
	w.closing.RLock()
	defer w.closing.RUnlock()
	if w.closed {
		return fmt.Errorf("%w: closed", ErrUnavailable)
	}
	select {
	case w.jobs <- j:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the writer: %w", classify(ctx.Err()))
	}
}

func (w *writer) close() error {
	w.closing.Lock()
	already := w.closed
	w.closed = true
	w.closing.Unlock()
	if already {
		return nil
	}
	close(w.jobs)
	<-w.done
	return w.pool.Close()
}

func (w *writer) run() {
	defer close(w.done)
	defer w.disconnect()
	for first := w.next(); first != nil; first = w.next() {
		batch := w.runBatch(first)
		for _, j := range batch {
			close(j.done)
		}
	}
}

// next gives the first job of the next batch, nil when the writer is closed.
func (w *writer) next() *job {
	if j := w.held; j != nil {
		w.held = nil
		return j
	}
	return <-w.jobs
}

// runBatch runs first, and whoever else is waiting by then, in one transaction. It
// is relaxed when first is; whoever is not begins the next.
func (w *writer) runBatch(first *job) []*job {
	ctx := context.Background()
	batch := []*job{first}
	if err := w.begin(ctx, first.relaxed); err != nil {
		w.fail(batch, err)
		return batch
	}
	// The first is alone in the transaction yet, so it needs no savepoint.
	w.takeTurn(first)
	if first.err != nil {
		if _, err := w.conn.exec(ctx, "ROLLBACK", nil); err != nil { // SQLite may have done so itself
			w.fail(batch, err)
		}
		return batch
	}
	for len(batch) < maxBatch {
		j := w.waiting()
		if j == nil {
			break
		}
		if first.relaxed && !j.relaxed {
			w.held = j
			break
		}
		batch = append(batch, j)
		if err := w.runJob(ctx, j); err != nil {
			w.fail(batch, err)
			return batch
		}
	}
	if _, err := w.conn.exec(ctx, "COMMIT", nil); err != nil {
		w.fail(batch, classify(err))
	}
	return batch
}

func (w *writer) waiting() *job {
	select {
	case j := <-w.jobs: // nil when closed
		return j
	default:
		return nil
	}
}

func (w *writer) begin(ctx context.Context, relaxed bool) error {
	if w.conn == nil {
		if err := w.connect(ctx); err != nil {
			return err
		}
	}
	if err := w.conn.relax(ctx, relaxed); err != nil {
		return classify(err)
	}
	_, err := w.conn.exec(ctx, "BEGIN IMMEDIATE", nil)
	return classify(err)
}

// takeTurn has the job's caller run it.
func (w *writer) takeTurn(j *job) {
	select {
	case j.turn <- &Tx{exec: w.conn, engine: SQLite}:
		<-j.ran
	case <-j.ctx.Done(): // nobody waits for it any more
		j.err = classify(j.ctx.Err())
	}
}

// runJob runs one transaction inside a savepoint. The error that it gives is
// one that ends the whole batch.
func (w *writer) runJob(ctx context.Context, j *job) error {
	if _, err := w.conn.exec(ctx, "SAVEPOINT job", nil); err != nil {
		return classify(err)
	}
	w.takeTurn(j)
	if j.err != nil {
		// SQLite rolls back everything by itself on some errors (disk full, I/O);
		// then there is no savepoint left, and no neighbour's work either.
		if _, err := w.conn.exec(ctx, "ROLLBACK TO job", nil); err != nil {
			return classify(err)
		}
	}
	_, err := w.conn.exec(ctx, "RELEASE job", nil)
	return classify(err)
}

// fail ends the batch: nobody in it was told of success yet, so nobody is
// misled. The connection is given up with whatever state it is in.
func (w *writer) fail(batch []*job, err error) {
	if !errors.Is(err, ErrUnavailable) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for _, j := range batch {
		if j.err == nil {
			j.err = err
		}
	}
	w.disconnect()
}

func (w *writer) connect(ctx context.Context) error {
	c, err := w.pool.Conn(ctx)
	if err != nil {
		return classify(err)
	}
	w.conn = &connStmts{conn: c, stmts: map[string]*sql.Stmt{}}
	return nil
}

func (w *writer) disconnect() {
	if w.conn == nil {
		return
	}
	_, _ = w.conn.conn.ExecContext(context.Background(), "ROLLBACK")
	for _, s := range w.conn.stmts {
		_ = s.Close()
	}
	_ = w.conn.conn.Close()
	w.conn = nil
}

// connStmts keeps the prepared statements of one connection. Only the writer's
// goroutine uses it, or the one whose turn it is.
type connStmts struct {
	conn    *sql.Conn
	stmts   map[string]*sql.Stmt
	relaxed bool // commits are not synchronised
}

// relax says whether commits wait for the disk from here on. SQLite takes the word
// when it compiles the statement, so that there is nothing to keep prepared.
func (c *connStmts) relax(ctx context.Context, relaxed bool) error {
	if c.relaxed == relaxed {
		return nil
	}
	pragma := "PRAGMA synchronous = FULL"
	if relaxed {
		pragma = "PRAGMA synchronous = NORMAL"
	}
	_, err := c.conn.ExecContext(ctx, pragma)
	if err == nil {
		c.relaxed = relaxed
	}
	return err
}

func (c *connStmts) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.conn.PrepareContext(ctx, query)
	if err == nil {
		c.stmts[query] = s
	}
	return s, err
}

func (c *connStmts) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	s, err := c.prepared(ctx, query) //nolint:sqlclosecheck // kept, and closed with the connection
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

func (c *connStmts) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	s, err := c.prepared(ctx, query) //nolint:sqlclosecheck // kept, and closed with the connection
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}
