package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"
)

// bencher is one run.
type bencher struct {
	o        options
	progress io.Writer
	places   *places
	binary   string
	others   others
	report   report
}

// enrolled is how many users there are to check and to log in: many more than
// connections that log in at one time.
const enrolled = 64

func (b *bencher) run(ctx context.Context) (err error) {
	if b.places, err = newPlaces(b.o.dir, b.o.database); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.places.remove()) }()
	b.report.Machine = thisMachine()
	defer func() { b.report.Machine.Others, b.report.Machine.LoadAfter = b.others.cores(), loadAverage() }()
	b.report.Settings = settings{
		Database: "SQLite", Argon2: b.o.argon2, Rounds: b.o.check.n, Round: b.o.check.long.String(), HashRounds: b.o.hash.n, HashRound: b.o.hash.long.String(),
	}
	if b.o.database != "" {
		b.report.Settings.Database = "PostgreSQL"
	}
	if b.o.program != "" {
		b.binary, err = filepath.Abs(b.o.program) // it runs in a directory of its own
	} else {
		b.say("building the program")
		b.binary, err = build(ctx, b.places.root)
	}
	if err != nil {
		return err
	}
	for _, step := range []struct {
		parts []string
		run   func(context.Context) error
	}{
		{[]string{partStart}, b.measureStart},
		{[]string{partMemory}, b.measureMemory},
		{[]string{partSession, partUser}, b.measureChecks},
		{[]string{partRegister, partLogin}, b.measureHashing},
	} {
		if !slices.ContainsFunc(step.parts, b.wanted) {
			continue
		}
		b.say("measuring %v", step.parts)
		if err := step.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *bencher) wanted(part string) bool { return slices.Contains(b.o.only, part) }

func (b *bencher) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "bench: "+format+"\n", args...)
}

func (b *bencher) addFigure(f figure) { b.report.Figures = append(b.report.Figures, f.judged()) }

// start runs the program on a fresh place and waits until it answers.
func (b *bencher) start(ctx context.Context) (p *program, stop func(), err error) {
	at, err := b.places.fresh(ctx)
	if err != nil {
		return nil, nil, err
	}
	if p, err = launch(ctx, b.binary, b.o.argon2, at); err != nil {
		return nil, nil, err
	}
	if err := p.ready(ctx); err != nil {
		p.kill()
		return nil, nil, err
	}
	return p, func() {
		if err := p.stop(); err != nil {
			b.say("%v", err)
		}
	}, nil
}

// measureChecks holds the session check, and reading a user, against a bare
// server with the same answer.
func (b *bencher) measureChecks(ctx context.Context) error {
	p, stop, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	people, err := enrol(ctx, p.addr, enrolled)
	if err != nil {
		return err
	}
	if b.wanted(partSession) {
		err := b.measureCheck(ctx, p, partSession, people, 0.60, "user_id", func(person) string { return "/auth/session" })
		if err != nil {
			return err
		}
	}
	if b.wanted(partUser) {
		return b.measureCheck(ctx, p, partUser, people, 0, "id", func(p person) string { return "/" + p.id })
	}
	return nil
}

func (b *bencher) measureCheck(ctx context.Context, p *program, part string, people []person, goal float64, member string, path func(person) string) error {
	first := people[0]
	fixed, err := answerOf(ctx, "http://"+p.addr+path(first), first.token)
	if err != nil {
		return err
	}
	bare, bareAddr, err := startBare(ctx, fixed)
	if err != nil {
		return err
	}
	defer bare.stop()
	var ours, theirs []call
	for _, who := range people {
		request := get(path(who), who.token)
		ours = append(ours, call{request, 200, []byte(`"` + member + `":"` + who.id + `"`)})
		theirs = append(theirs, call{request, 200, []byte(`"` + member + `":"` + first.id + `"`)})
	}
	us := target{addr: p.addr, pid: p.cmd.Process.Pid, next: inOrder(ours)}
	them := target{addr: bareAddr, pid: bare.cmd.Process.Pid, next: inOrder(theirs)}
	for _, conns := range b.o.checkConns {
		if err := b.compare(ctx, p, part, goal, conns, us, them); err != nil {
			return err
		}
	}
	if part == partSession && b.o.profile != "" {
		return b.profile(ctx, p, us)
	}
	return nil
}

func (b *bencher) compare(ctx context.Context, p *program, part string, goal float64, conns int, us, them target) error {
	a, peer := newLoad(us, conns), newLoad(them, conns)
	defer a.close()
	defer peer.close()
	b.say("%s at %d connections", part, conns)
	return b.others.during(func() error {
		all, err := inTurns(ctx, b.o.check, func() error { return b.noteLog(p) }, a, peer)
		if err != nil {
			return err
		}
		b.report.Comparisons = append(b.report.Comparisons, compared(part, conns, goal, all[0], all[1]))
		return nil
	}, us.pid, them.pid)
}

// noteLog empties the log, and keeps in mind that there was one.
func (b *bencher) noteLog(p *program) error {
	n, err := p.emptyLog()
	b.report.Settings.LogBytes += n
	return err
}

// profile loads the program at 64 connections for a while.
func (b *bencher) profile(ctx context.Context, p *program, us target) error {
	const seconds = 10
	l := newLoad(us, 64)
	defer l.close()
	profiled := make(chan error, 1)
	go func() { profiled <- p.profile(ctx, seconds, b.o.profile) }()
	_, err := l.round(ctx, (seconds+1)*time.Second)
	return errors.Join(err, <-profiled, b.noteLog(p))
}

// measureHashing holds registering and logging in against bare hashing.
func (b *bencher) measureHashing(ctx context.Context) error {
	p, stop, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	people, err := enrol(ctx, p.addr, enrolled)
	if err != nil {
		return err
	}
	raw, err := startHash(ctx, b.o.argon2)
	if err != nil {
		return err
	}
	defer raw.stop()
	pid, newcomers, known := p.cmd.Process.Pid, registrations(), logins(people)
	for _, conns := range b.o.hashConns {
		runners, names := []runner{raw}, []string{""}
		for _, part := range []string{partRegister, partLogin} {
			if !b.wanted(part) {
				continue
			}
			next := newcomers
			if part == partLogin {
				next = known
			}
			l := newLoad(target{addr: p.addr, pid: pid, next: next}, conns)
			defer l.close()
			runners, names = append(runners, l), append(names, part)
		}
		b.say("%v at %d connections", names[1:], conns)
		err := b.others.during(func() error {
			all, err := inTurns(ctx, b.o.hash, func() error { return b.noteLog(p) }, runners...)
			for i := 1; i < len(all); i++ {
				b.report.Comparisons = append(b.report.Comparisons, compared(names[i], conns, 0.85, all[i], all[0]))
			}
			return err
		}, pid, raw.cmd.Process.Pid)
		if err != nil {
			return err
		}
	}
	return nil
}
