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
		{[]string{partSession, partForward, partUser}, b.measureChecks},
		{[]string{partMillion}, b.measureMillion},
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
	return b.startBinary(ctx, b.binary)
}

func (b *bencher) startBinary(ctx context.Context, binary string) (p *program, stop func(), err error) {
	at, err := b.places.fresh(ctx)
	if err != nil {
		return nil, nil, err
	}
	if p, err = launch(ctx, binary, b.o.argon2, at); err != nil {
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

// check is a part that is held against a bare server with the same answer.
type check struct {
	part   string
	goal   float64 // of the rate; 0: none
	path   func(person) string
	says   func(id string) string // what an answer for that user holds
	header string                 // in this header's line, with its colon; "": in its body
}

// tokenChecks are what services and gateways ask with every request of their
// own.
func tokenChecks() []check {
	return []check{
		{partSession, 0.90, func(person) string { return "/auth/session" }, func(id string) string { return `"user_id":"` + id + `"` }, ""},
		{partForward, 0.90, func(person) string { return "/auth/forward" }, func(id string) string { return "X-User-Id: " + id }, "X-User-Id:"},
	}
}

// populated is a running program with people in it.
type populated struct {
	*program
	people []person
}

func (b *bencher) startPopulated(ctx context.Context, binary string) (c populated, stop func(), err error) {
	if c.program, stop, err = b.startBinary(ctx, binary); err != nil {
		return c, nil, err
	}
	if c.people, err = enrol(ctx, c.addr, enrolled); err != nil {
		stop()
	}
	return c, stop, err
}

// asked is what the check asks of a program.
func (c populated) asked(what check) target {
	return target{addr: c.addr, pid: c.cmd.Process.Pid, next: inOrder(what.calls(c.people, ""))}
}

// measureChecks holds the session check, the gateways' check, and reading a
// user, against a bare server with the same answer, and against another build
// where one is given.
func (b *bencher) measureChecks(ctx context.Context) error {
	p, stop, err := b.startPopulated(ctx, b.binary)
	if err != nil {
		return err
	}
	defer stop()
	var other *populated
	if b.o.against != "" {
		c, stop, err := b.startPopulated(ctx, b.o.against)
		if err != nil {
			return err
		}
		defer stop()
		other = &c
	}
	checks := append(tokenChecks(),
		check{partUser, 0, func(p person) string { return "/" + p.id }, func(id string) string { return `"id":"` + id + `"` }, ""})
	for _, c := range checks {
		if !b.wanted(c.part) {
			continue
		}
		if err := b.measureCheck(ctx, p, c); err != nil {
			return err
		}
		if other == nil {
			continue
		}
		for _, conns := range b.o.checkConns {
			one, err := b.compare(ctx, p.program, c.part, otherBuild, sameSpeed, conns, p.asked(c), other.asked(c))
			if err != nil {
				return err
			}
			b.report.Comparisons = append(b.report.Comparisons, one)
		}
	}
	return nil
}

// calls are c for each of the people; where whose is given, all answers are for
// that one, as those of a bare server are.
func (c check) calls(people []person, whose string) []call {
	calls := make([]call, len(people))
	for i, who := range people {
		id := whose
		if id == "" {
			id = who.id
		}
		calls[i] = call{get(c.path(who), who.token), 200, []byte(c.says(id)), []byte(c.header)}
	}
	return calls
}

func (b *bencher) measureCheck(ctx context.Context, p populated, c check) error {
	first := p.people[0]
	fixed, err := answerOf(ctx, "http://"+p.addr+c.path(first), first.token)
	if err != nil {
		return err
	}
	bare, bareAddr, err := startBare(ctx, fixed)
	if err != nil {
		return err
	}
	defer bare.stop()
	us := p.asked(c)
	them := target{addr: bareAddr, pid: bare.cmd.Process.Pid, next: inOrder(c.calls(p.people, first.id))}
	for _, conns := range b.o.checkConns {
		one, err := b.compare(ctx, p.program, c.part, bareServer, c.goal, conns, us, them)
		if err != nil {
			return err
		}
		if conns == 1 && c.goal > 0 {
			one = one.withLatency(latencyGoal)
		}
		b.report.Comparisons = append(b.report.Comparisons, one)
	}
	if c.part == partSession && b.o.profile != "" {
		return b.profile(ctx, p.program, us)
	}
	return nil
}

func (b *bencher) compare(ctx context.Context, p *program, part, beside string, goal float64, conns int, us, them target) (one comparison, err error) {
	a, peer := newLoad(us, conns), newLoad(them, conns)
	defer a.close()
	defer peer.close()
	b.say("%s at %d connections, beside %s", part, conns, beside)
	err = b.others.during(func() error {
		all, err := inTurns(ctx, b.o.check, func() error { return b.noteLog(p) }, a, peer)
		if err == nil {
			one = compared(part, beside, conns, goal, all[0], all[1])
		}
		return err
	}, us.pid, them.pid)
	return one, err
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

// measureHashing holds registering and logging in against bare hashing, with
// the program's own hash and with that of golang.org/x/crypto, and against the
// least that a login needs beside it.
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
	var raw [2]hashPeer
	for i, whose := range []string{ownHash, cryptoHash} {
		if raw[i], err = startHash(ctx, whose, b.o.argon2); err != nil {
			return err
		}
		defer raw[i].stop()
	}
	own, crypto := raw[0], raw[1]
	leastPeer, least, err := b.startLeast(ctx)
	if err != nil {
		return err
	}
	defer leastPeer.stop()
	pid, newcomers, known := p.cmd.Process.Pid, registrations(), logins(people)
	for _, conns := range b.o.hashConns {
		bottom := newLoad(least, conns)
		defer bottom.close()
		runners, names := []runner{own, crypto, bottom}, []string{"", "", ""}
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
		b.say("%v at %d connections", names[3:], conns)
		err := b.others.during(func() error {
			all, err := inTurns(ctx, b.o.hash, func() error { return b.noteLog(p) }, runners...)
			if err != nil {
				return err
			}
			b.report.Comparisons = append(b.report.Comparisons, compared(partLeast, bareOwnHash, conns, 0, all[2], all[0]))
			for i := 3; i < len(all); i++ {
				b.report.Comparisons = append(b.report.Comparisons, compared(names[i], bareOwnHash, conns, 0.95, all[i], all[0]),
					compared(names[i], leastLogin, conns, 0, all[i], all[2]), compared(names[i], bareCryptoHash, conns, 0, all[i], all[1]))
			}
			return nil
		}, pid, own.cmd.Process.Pid, crypto.cmd.Process.Pid, least.pid)
		if err != nil {
			return err
		}
	}
	return nil
}
