// Package cli is the command line, and the composition root: the only package
// that builds the others and puts them together.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"propusk/internal/config"
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
	Dev     devCmd     `cmd:"" help:"Run a throwaway instance on loopback: everything in memory, no token needed, weak passwords taken."`
	User    userCmd    `cmd:"" help:"Look after users."`
	Session sessionCmd `cmd:"" help:"Look after sessions."`
	Config  configCmd  `cmd:"" help:"Look at the configuration."`
	OpenAPI openapiCmd `cmd:"" name:"openapi" help:"Print the OpenAPI document."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// errUsage marks an error whose cure is another command line.
var errUsage = errors.New("usage")

// run is what a command gets.
type run struct {
	Streams
	ctx context.Context //nolint:containedctx // kong hands commands one value; each passes it on as an argument
}

// Main runs the program with args (without its name) until it is done or ctx
// ends, and gives the exit code.
func Main(ctx context.Context, args []string, s Streams) (code int) {
	var c commands
	exited := -1
	parser, err := kong.New(&c, kong.Name("propusk"), kong.Writers(s.Out, s.Err), kong.UsageOnError(),
		kong.Description("User management and authentication: one small service that registers people, logs them in, and tells other services whose token it is."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Exit(func(code int) { exited = code; panic(errUsage) }))
	if err != nil {
		fmt.Fprintln(s.Err, "propusk:", err)
		return exitFailure
	}
	defer func() { // kong ends the program after --help by its Exit
		if p := recover(); p != nil {
			if exited < 0 {
				panic(p)
			}
			code = exited
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err == nil {
		err = k.Run(&run{Streams: s, ctx: ctx})
	} else {
		err = fmt.Errorf("%w\nSee propusk --help.", err) //nolint:revive,staticcheck // for people
		fmt.Fprintln(s.Err, "propusk:", err)
		return exitUsage
	}
	var problems *config.Problems
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &problems):
		fmt.Fprintln(s.Err, "propusk: the configuration has problems:")
		fmt.Fprintln(s.Err, problems.Error())
		return exitUsage
	case errors.Is(err, errUsage):
		fmt.Fprintln(s.Err, "propusk:", err)
		return exitUsage
	default:
		fmt.Fprintln(s.Err, "propusk:", err)
		return exitFailure
	}
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
	Check configCheckCmd `cmd:"" help:"Print the settings in force, with secrets masked; fail if any is wrong."`
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
