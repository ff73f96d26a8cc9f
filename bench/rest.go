package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// restAfter is how long a fresh server is left alone before its memory is
// looked at.
const restAfter = 3 * time.Second

// measureMemory looks at a fresh server after a handful of cheap requests, and
// again after many logins and a while without any.
func (b *bencher) measureMemory(ctx context.Context) error {
	p, stop, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	err = p.ask(ctx, 10, get("/readyz", ""), get("/auth/session", "00000000-0000-4000-8000-000000000000"))
	if err != nil {
		return err
	}
	if err := pause(ctx, restAfter); err != nil {
		return err
	}
	fresh, err := memoryOf(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	b.addFigure(figure{
		Part: partMemory, Name: fmt.Sprintf("%s after the start", restAfter), Value: mebibytes(fresh.All), Unit: "MiB", Goal: 35,
		Note: fmt.Sprintf("%.1f its own, %.1f pages of the program", mebibytes(fresh.Anon), mebibytes(fresh.File)),
	})
	people, err := enrol(ctx, p.addr, 50)
	if err != nil {
		return err
	}
	logins, err := b.logInTimes(ctx, p, people, b.o.logins)
	if err != nil {
		return err
	}
	if err := pause(ctx, b.o.idle); err != nil {
		return err
	}
	after, err := memoryOf(p.cmd.Process.Pid)
	b.addFigure(figure{
		Part: partMemory, Name: fmt.Sprintf("after %d logins and %s idle", logins, b.o.idle), Value: mebibytes(after.All), Unit: "MiB",
		Note: fmt.Sprintf("%.1f its own, %.1f pages of the program; %.1f at the most", mebibytes(after.Anon), mebibytes(after.File), mebibytes(after.Peak)),
	})
	return err
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// logInAtMost bounds how long the logins before the second look may take.
const logInAtMost = 30 * time.Second

// logInTimes logs in about n times, or as often as there is time for, and gives
// how often that was.
func (b *bencher) logInTimes(ctx context.Context, p *program, people []person, n int) (done int, err error) {
	l := newLoad(target{addr: p.addr, pid: p.cmd.Process.Pid, next: logins(people)}, 4)
	defer l.close()
	for begun := time.Now(); done < n && time.Since(begun) < logInAtMost; {
		r, err := l.round(ctx, 500*time.Millisecond)
		if err != nil {
			return done, err
		}
		if r.wrong > 0 || r.done == 0 {
			return done, fmt.Errorf("logins: %d wrong answers: %s", r.wrong, r.complaint)
		}
		done += r.done
	}
	return done, nil
}

// ask sends the requests in turn, n in all, and does not look at the answers.
func (p *program) ask(ctx context.Context, n int, requests ...[]byte) error {
	c, err := dial(ctx, p.addr)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // all answers were read
	for i := range n {
		if _, _, err := c.do(requests[i%len(requests)]); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// measureStart times from the start of the process to the first good answer, on
// directories where nothing is and on one that was used before.
func (b *bencher) measureStart(ctx context.Context) error {
	var fresh, existing []float64
	var used place
	for range b.o.starts {
		at, err := b.places.fresh(ctx)
		if err != nil {
			return err
		}
		took, err := b.timeStart(ctx, at)
		if err != nil {
			return err
		}
		fresh, used = append(fresh, milliseconds(took)), at
	}
	for range b.o.starts {
		took, err := b.timeStart(ctx, used)
		if err != nil {
			return err
		}
		existing = append(existing, milliseconds(took))
	}
	b.addFigure(figure{Part: partStart, Name: "first good answer, fresh directory", Unit: "ms", Goal: 150}.of(fresh))
	b.addFigure(figure{Part: partStart, Name: "first good answer, existing directory", Unit: "ms", Goal: 50}.of(existing))
	return nil
}

func (b *bencher) timeStart(ctx context.Context, at place) (took time.Duration, err error) {
	begun := time.Now()
	p, err := launch(ctx, b.binary, b.o.argon2, at)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	err = p.ready(ctx)
	return time.Since(begun), err
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
