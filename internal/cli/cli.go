// Package cli is the command line, and the composition root: the only package
// that builds the others and puts them together.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"

	"github.com/alecthomas/kong"

	"propusk/internal/config"
	"propusk/internal/secret"
)

// Version is the program's. A release sets it when it is linked.
var Version = "0.1.0-dev" //nolint:gochecknoglobals // the linker can set nothing else

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // the command line or the configuration is wrong
)

// Streams are the world around one run of the program.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  []string
}

// commands is the grammar of the command line.
type commands struct {
	Serve   serveCmd   `cmd:"" help:"Run the service."`
	Dev     devCmd     `cmd:"" help:"Run a throwaway instance on this machine alone: in memory, no token needed, weak passwords taken."`
	User    userCmd    `cmd:"" help:"Look after users: add, list, show, role, disable, enable, unlock, delete."`
	Session sessionCmd `cmd:"" help:"Look after sessions: list, revoke."`
	Key     keyCmd     `cmd:"" help:"Look after the keys of services: add, list, revoke."`
	Outbox  outboxCmd  `cmd:"" help:"Look after messages that wait to be sent: list, show, retry, drop."`
	Config  configCmd  `cmd:"" help:"Look at the configuration: check."`
	OpenAPI openapiCmd `cmd:"" name:"openapi" help:"Print the OpenAPI document."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// run is what a command gets.
type run struct {
	Streams
	ctx context.Context //nolint:containedctx // kong hands commands one value; each passes it on as an argument
}

// helpShown is what kong's Exit panics with.
type helpShown struct{ code int }

// Main runs the program with args (without its name) until it is done or ctx
// ends, and gives the exit code.
func Main(ctx context.Context, args []string, s Streams) (code int) {
	if len(args) > 0 && args[0] == secret.WorkerArg { // which no person types, so no help shows it
		return complain(s.Err, secret.ServeHashes(args[1:], s.In, s.Out))
	}
	var c commands
	parser, err := kong.New(&c, kong.Name("propusk"), kong.Description(description), kong.Writers(s.Out, s.Err),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, NoAppDescFormat: true, WrapUpperBound: 100}),
		kong.Exit(func(code int) { panic(helpShown{code}) }))
	if err != nil {
		fmt.Fprintln(s.Err, "propusk:", err)
		return exitFailure
	}
	defer func() { // kong ends the program after --help by its Exit
		switch p := recover().(type) {
		case nil:
		case helpShown:
			code = p.code
		default:
			panic(p)
		}
	}()
	layOut(parser.Model)
	k, err := parser.Parse(habits(args))
	if err != nil {
		return misused(parser, s.Err, err)
	}
	return complain(s.Err, k.Run(&run{Streams: s, ctx: ctx}))
}

// habits turns what people type out of habit into what the grammar knows.
func habits(args []string) []string {
	if len(args) == 0 {
		return []string{"--help"}
	}
	switch args[0] {
	case "help":
		return append(slices.Clone(args[1:]), "--help")
	case "--version", "-version", "-V", "-v":
		return append([]string{"version"}, args[1:]...)
	}
	return args
}

type versionCmd struct{}

// Run prints the version, and what the program was built with.
func (versionCmd) Run(r *run) error {
	goVersion, revision := "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value
			}
		}
	}
	_, err := fmt.Fprintf(r.Out, "propusk %s%s (%s)\n", Version, revision, goVersion)
	return err
}

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Print the settings in force as a configuration file, with secrets masked; fail if any is wrong."`
}

type configCheckCmd struct{ config.Flags }

// Run prints the settings in force.
func (c *configCheckCmd) Run(r *run) error {
	cfg, err := config.Load(c.Flags, r.Environ, os.ReadFile, config.Serve)
	if err != nil {
		return err
	}
	return cfg.Print(r.Out)
}

type openapiCmd struct{}

// Run prints the OpenAPI document of this version.
func (openapiCmd) Run(r *run) error {
	doc, err := document()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.Out, "%s\n", doc)
	return err
}
