package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// measureMillion runs the program with very many live sessions in its database,
// and a second one with few beside it: the same checks must be as fast.
func (b *bencher) measureMillion(ctx context.Context) error {
	if b.o.database != "" {
		b.say("the part %s is measured on SQLite only", partMillion)
		return nil
	}
	few, stopFew, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer stopFew()
	people, err := enrol(ctx, few.addr, enrolled)
	if err != nil {
		return err
	}
	at, everyone, err := b.seeded(ctx)
	if err != nil {
		return err
	}
	many, inMemory, err := b.startSeeded(ctx, at, everyone)
	if err != nil {
		return err
	}
	defer func() {
		if err := many.stop(); err != nil {
			b.say("%v", err)
		}
	}()
	if err := b.measureCrowdMemory(ctx, many, few, inMemory); err != nil {
		return err
	}
	return b.measureCrowdChecks(ctx, many, few, everyone, people)
}

// seeded is a place with a migrated database that has been filled.
func (b *bencher) seeded(ctx context.Context) (at place, everyone crowd, err error) {
	if at, err = b.places.fresh(ctx); err != nil {
		return at, everyone, err
	}
	p, err := launch(ctx, b.binary, b.o.argon2, at)
	if err != nil {
		return at, everyone, err
	}
	if err := errors.Join(p.ready(ctx), p.stop()); err != nil {
		return at, everyone, err
	}
	b.say("putting %d sessions of %d users into the database", b.o.sessions, b.o.users)
	everyone = newCrowd(b.o.sessions, b.o.users)
	return at, everyone, everyone.seed(ctx, at)
}

// allInMemoryWithin bounds the wait for the sessions to be in memory.
const allInMemoryWithin = time.Minute

// startSeeded times from the start of the process to the first good answer to a
// token, and until all sessions are in memory, or as many as come.
func (b *bencher) startSeeded(ctx context.Context, at place, everyone crowd) (p *program, inMemory int, err error) {
	begun := time.Now()
	if p, err = launch(ctx, b.binary, b.o.argon2, at); err != nil {
		return nil, 0, err
	}
	if err := p.readyFor(ctx, get("/auth/session", everyone.tokens[len(everyone.tokens)/2])); err != nil {
		p.kill()
		return nil, 0, err
	}
	first := time.Since(begun)
	b.addFigure(figure{
		Part: partMillion, Name: fmt.Sprintf("first good answer with %d sessions", b.o.sessions), Value: milliseconds(first), Unit: "ms", Goal: 2000,
		Note: "to a token, from the start of the process",
	})
	for inMemory < b.o.sessions && time.Since(begun) < allInMemoryWithin {
		if inMemory, err = p.metric(ctx, "propusk_sessions_in_memory"); err == nil {
			err = pause(ctx, 10*time.Millisecond)
		}
		if err != nil {
			p.kill()
			return nil, 0, err
		}
	}
	b.addFigure(figure{
		Part: partMillion, Name: "all of them in memory", Value: milliseconds(time.Since(begun)), Unit: "ms",
		Note: fmt.Sprintf("%d of %d", inMemory, b.o.sessions),
	})
	return p, inMemory, nil
}

// measureCrowdMemory looks at both programs after a rest. What is not in memory
// does not make the others cheaper.
func (b *bencher) measureCrowdMemory(ctx context.Context, many, few *program, inMemory int) error {
	if err := pause(ctx, b.o.settle); err != nil {
		return err
	}
	with, err := memoryOf(many.cmd.Process.Pid)
	if err != nil {
		return err
	}
	without, err := memoryOf(few.cmd.Process.Pid)
	if err != nil {
		return err
	}
	b.addFigure(figure{
		Part: partMillion, Name: "memory for each session in it", Value: float64(with.All-without.All) / float64(max(inMemory, 1)), Unit: "bytes", Goal: 250,
		Note: fmt.Sprintf("%.1f MiB, beside %.1f with few, after %s; %.1f at the most", mebibytes(with.All), mebibytes(without.All), b.o.settle, mebibytes(with.Peak)),
	})
	return nil
}

// measureCrowdChecks holds the checks of all sessions against those of few, and
// both against a bare server with the same answer.
func (b *bencher) measureCrowdChecks(ctx context.Context, many, few *program, everyone crowd, people []person) error {
	fixed, err := answerOf(ctx, "http://"+many.addr+"/auth/session", everyone.tokens[0])
	if err != nil {
		return err
	}
	bare, bareAddr, err := startBare(ctx, fixed)
	if err != nil {
		return err
	}
	defer bare.stop()
	pids := []int{many.cmd.Process.Pid, few.cmd.Process.Pid, bare.cmd.Process.Pid}
	session := tokenChecks()[0]
	for _, conns := range b.o.checkConns {
		loads := []*load{
			newLoad(target{addr: many.addr, pid: pids[0], next: everyone.checks(conns, "")}, conns),
			newLoad(target{addr: few.addr, pid: pids[1], next: inOrder(session.calls(people, ""))}, conns),
			newLoad(target{addr: bareAddr, pid: pids[2], next: everyone.checks(conns, everyone.userOf(0))}, conns),
		}
		b.say("%s at %d connections", partMillion, conns)
		err := b.others.during(func() error {
			empty := func() error { return errors.Join(b.noteLog(many), b.noteLog(few)) }
			all, err := inTurns(ctx, b.o.check, empty, loads[0], loads[1], loads[2])
			if err == nil {
				b.report.Comparisons = append(b.report.Comparisons, compared(partMillion, bareServer, conns, 0, all[0], all[2]),
					compared(partMillion, fewSessions, conns, 0.90, all[0], all[1]))
			}
			return err
		}, pids...)
		for _, l := range loads {
			l.close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// metric reads one number from the operations listener.
func (p *program) metric(ctx context.Context, name string) (int, error) {
	c, err := dial(ctx, p.ops)
	if err != nil {
		return 0, err
	}
	defer c.Close() //nolint:errcheck // all that was wanted has been read
	if _, err := io.WriteString(c, "GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
		return 0, err
	}
	text, err := io.ReadAll(io.LimitReader(c, maxBody))
	if err != nil {
		return 0, err
	}
	return parseMetric(text, name)
}

func parseMetric(text []byte, name string) (int, error) {
	for line := range bytes.Lines(text) {
		value, found := bytes.CutPrefix(line, []byte(name+" "))
		if !found {
			continue
		}
		n, err := strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		return int(n), nil
	}
	return 0, fmt.Errorf("the program has no metric %s", name)
}
