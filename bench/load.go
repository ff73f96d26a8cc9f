package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// call is one request, and what a right answer to it holds.
type call struct {
	request []byte
	status  int
	want    []byte
	header  []byte // whose line holds it, with its colon; nil: the body does
}

// target is one server and what is asked of it. next must be safe for
// concurrent use; i is the number of the connection.
type target struct {
	addr string
	pid  int
	next func(i int) call
}

// result is what came of one round.
type result struct {
	done, wrong int
	complaint   string // of the first wrong answer
	elapsed     time.Duration
	cpu         time.Duration // that the server used
	latencies   histogram     // of right answers
}

func (r result) rate() float64 {
	if r.elapsed <= 0 {
		return 0
	}
	return float64(r.done) / r.elapsed.Seconds()
}

func (r result) cpuEach() time.Duration {
	if r.done == 0 {
		return 0
	}
	return r.cpu / time.Duration(r.done)
}

// load is a number of connections to one target, kept over the rounds.
type load struct {
	target
	conns []*conn
}

func newLoad(t target, conns int) *load { return &load{target: t, conns: make([]*conn, conns)} }

func (l *load) close() {
	for _, c := range l.conns {
		if c != nil {
			_ = c.Close() // nothing is on its way
		}
	}
}

// patience is how long an answer may take beyond the end of its round.
const patience = 20 * time.Second

// round loads the target for d: each connection sends its next request as soon
// as it has its answer. The clock stops with the last answer.
func (l *load) round(ctx context.Context, d time.Duration) (result, error) {
	for i, c := range l.conns {
		if c == nil {
			fresh, err := dial(ctx, l.addr)
			if err != nil {
				return result{}, fmt.Errorf("load %s: %w", l.addr, err)
			}
			l.conns[i] = fresh
		}
	}
	before, err := cpuOf(l.pid)
	if err != nil {
		return result{}, err
	}
	each := make([]result, len(l.conns))
	var wg sync.WaitGroup
	begun := time.Now()
	for i := range l.conns {
		wg.Go(func() { l.drive(i, begun, d, &each[i]) })
	}
	wg.Wait()
	sum := result{}
	for i := range each {
		sum.add(&each[i])
	}
	after, err := cpuOf(l.pid)
	sum.cpu = after - before
	return sum, errors.Join(err, ctx.Err())
}

func (r *result) add(one *result) {
	r.done += one.done
	r.wrong += one.wrong
	r.elapsed = max(r.elapsed, one.elapsed)
	if r.complaint == "" {
		r.complaint = one.complaint
	}
	r.latencies.merge(&one.latencies)
}

// drive is one connection's part of a round. A connection that breaks is one
// wrong answer, and made anew in the next round.
func (l *load) drive(i int, begun time.Time, d time.Duration, r *result) {
	c, end, asked := l.conns[i], begun.Add(d), begun
	_ = c.SetDeadline(end.Add(patience)) // fails only on a closed connection, which do notices too
	for asked.Before(end) {
		call := l.next(i)
		status, body, err := c.doKeeping(call.request, call.header)
		now := time.Now()
		if err != nil {
			r.wrong++
			r.complaint = err.Error()
			l.conns[i] = nil
			_ = c.Close() // broken already
			return
		}
		if status == call.status && bytes.Contains(body, call.want) {
			r.done++
			r.latencies.add(now.Sub(asked))
			r.elapsed = now.Sub(begun)
		} else {
			r.wrong++
			r.complaint = fmt.Sprintf("answer %d, wanted %d with %s: %.300s", status, call.status, call.want, body)
		}
		asked = now
	}
}

// runner is something that can be measured in rounds.
type runner interface {
	round(ctx context.Context, d time.Duration) (result, error)
}

// series is the rounds of one runner.
type series struct {
	rounds    []result
	wrong     int // in the warm-up too
	complaint string
}

// warmUp is the part of a round that each side gets before the first.
const warmUp = 3

// inTurns loads the runners A B C A B C …, so that a drift of the machine hits
// all of them alike. between is called after each turn.
func inTurns(ctx context.Context, r rounds, between func() error, runners ...runner) ([]series, error) {
	out := make([]series, len(runners))
	for n := range r.n + 1 {
		long := r.long
		if n == 0 {
			long /= warmUp
		}
		for i, runner := range runners {
			one, err := runner.round(ctx, long)
			if err != nil {
				return nil, err
			}
			s := &out[i]
			if s.wrong += one.wrong; s.complaint == "" {
				s.complaint = one.complaint
			}
			if n > 0 {
				s.rounds = append(s.rounds, one)
			}
		}
		if err := between(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
