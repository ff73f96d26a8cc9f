// Command bench measures the program against what the machine under it can do,
// in one run and side by side: the token checks of services and of gateways
// beside a bare net/http server that answers the same bytes, the same with a
// million live sessions, registrations and logins beside bare password hashing and
// beside the least that a login needs, memory at rest, and the time to the first
// answer. Ratios survive a change of machine; absolute figures drift by a third
// between hours.
//
// It builds the program, runs it as an operator would (a fresh directory, every
// default, the log in a file), speaks to it over loopback only, and leaves
// nothing behind.
//
//	main.go     the command line
//	run.go      what is measured, in which order
//	program.go  building, starting and stopping the program; place.go where its data is
//	peers.go    those it is held against, in processes of their own; least.go the
//	            least that a login needs
//	client.go   HTTP/1.1 with little work, so that the client is not the limit
//	load.go     rounds of load, and two loads in turns
//	people.go   registering users, logging them in
//	rest.go     memory at rest, time to the first answer
//	million.go  very many live sessions; seed.go puts them into the database
//	machine.go  what the machine is, and what else it does meanwhile
//	stats.go    medians, spreads, latencies
//	report.go   tables and JSON
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitOK    = 0
	exitWrong = 1 // an answer was wrong, or something did not work
	exitUsage = 2
)

func main() {
	if len(os.Args) > 1 { // the peers are this program again
		switch os.Args[1] {
		case bareCommand:
			os.Exit(exitCode(serveBare(os.Stdin, os.Stdout)))
		case hashCommand:
			os.Exit(exitCode(hashBare(os.Args[2:], os.Stdin, os.Stdout)))
		case leastCommand:
			os.Exit(exitCode(serveLeast(os.Args[2:], os.Stdin, os.Stdout)))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := bench(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func exitCode(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return exitWrong
	}
	return exitOK
}

// The parts of a run, in their order.
const (
	partStart    = "start"
	partMemory   = "memory"
	partSession  = "session"
	partForward  = "forward"
	partUser     = "user"
	partMillion  = "million"
	partRegister = "register"
	partLogin    = "login"
	partLeast    = "least" // measured with the logins
)

var parts = []string{partStart, partMemory, partSession, partForward, partUser, partMillion, partRegister, partLogin}

// options are what the command line says.
type options struct {
	only     []string // parts
	asJSON   bool
	database string // postgres://…; "" for a SQLite file
	program  string // the binary; "" to build it
	against  string // another build, to be measured beside it; "" for none
	profile  string // file for a CPU profile of the program under session checks; "" for none
	dir      string // where the temporary directory is made; "" for the system's
	argon2   string

	check      rounds // against the bare server
	checkConns []int
	hash       rounds // against bare hashing
	hashConns  []int
	starts     int
	logins     int           // before the second look at memory
	idle       time.Duration // after them
	sessions   int           // of the part million, and of how many users
	users      int
	settle     time.Duration // before its memory is looked at
}

// rounds is how often and how long each side is loaded at each number of
// connections.
type rounds struct {
	n    int
	long time.Duration
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	o := options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	quick := fs.Bool("quick", false, "short rounds: a look, not a measurement")
	only := fs.String("only", "", "parts to run, of "+strings.Join(parts, ",")+" (default all)")
	round := fs.Duration("round", time.Second, "length of a round of token checks")
	n := fs.Int("rounds", 5, "rounds of token checks for each side at each number of connections")
	fs.BoolVar(&o.asJSON, "json", false, "print JSON")
	fs.StringVar(&o.database, "database", "", "a postgres:// `URL`; schemas are made in it and dropped again (default a SQLite file)")
	fs.StringVar(&o.program, "program", "", "measure this `binary` instead of building one")
	fs.StringVar(&o.against, "against", "", "measure checks beside this `binary` of another build, too")
	fs.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of the program under session checks to this `file`")
	fs.StringVar(&o.dir, "dir", "", "make the temporary directory in this one (default the system's)")
	fs.StringVar(&o.argon2, "argon2", "m=19456,t=2,p=1", "cost of a password hash, for both sides")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.check, o.checkConns = rounds{*n, *round}, []int{1, 16, 64, 256}
	o.hash, o.hashConns = rounds{3, 1200 * time.Millisecond}, []int{2, 4, 16}
	o.starts, o.logins, o.idle = 10, 1000, 10*time.Second
	o.sessions, o.users, o.settle = 1_000_000, 200_000, 30*time.Second
	if *quick {
		o.sessions, o.users, o.settle = 50_000, 10_000, 7*time.Second // the hashing pool rests after five
		o.check, o.checkConns = rounds{3, 200 * time.Millisecond}, []int{1, 64}
		o.hash, o.hashConns = rounds{1, time.Second}, []int{4}
		o.starts, o.logins, o.idle = 3, 100, 2*time.Second
	}
	o.only = parts
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	for _, part := range o.only {
		if !slices.Contains(parts, part) {
			return o, fmt.Errorf("-only %s: not one of %s", part, strings.Join(parts, ", "))
		}
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("%q is not expected here", fs.Arg(0))
	case *n < 1 || *round <= 0:
		return o, errors.New("-rounds and -round must be positive")
	case o.database != "" && !strings.HasPrefix(o.database, "postgres"):
		return o, errors.New("-database takes a postgres:// URL")
	}
	_, err := parseArgon2(o.argon2)
	return o, err
}

func bench(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitUsage
	}
	b := &bencher{o: o, progress: stderr}
	err = b.run(ctx)
	if o.asJSON {
		err = errors.Join(err, b.report.writeJSON(stdout))
	} else {
		err = errors.Join(err, b.report.write(stdout))
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitWrong
	}
	if b.report.wrong() > 0 {
		return exitWrong
	}
	return exitOK
}
