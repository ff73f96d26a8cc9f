package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"propusk/internal/account"
	"propusk/internal/config"
)

// usageError is an error whose cure is another command line.
type usageError string

func (e usageError) Error() string { return string(e) }

// complain tells people what went wrong, and gives the exit code.
func complain(w io.Writer, err error) (code int) {
	var problems *config.Problems
	var usage usageError
	var refusal *account.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &problems):
		fmt.Fprintf(w, "propusk: the configuration has problems:\n  %s\n", strings.ReplaceAll(problems.Error(), "\n", "\n  "))
		return exitUsage
	case errors.As(err, &usage):
		fmt.Fprintln(w, "propusk:", err)
		return exitUsage
	case errors.As(err, &refusal):
		fmt.Fprintln(w, "propusk:", words(err, refusal))
	case errors.Is(err, syscall.EADDRINUSE):
		fmt.Fprintln(w, "propusk:", inUse(err))
	default:
		fmt.Fprintln(w, "propusk:", err)
	}
	return exitFailure
}

// words puts each field at fault on a line of its own, named as its flag.
func words(err error, refusal *account.Error) string {
	if len(refusal.Fields) == 0 {
		return err.Error()
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(refusal.Fields)) {
		flag := "--" + strings.ReplaceAll(name, "_", "-")
		if name == "password" { // which no flag gives
			flag = name
		}
		lines = append(lines, flag+": "+refusal.Fields[name].Text("en"))
	}
	if len(lines) == 1 {
		return lines[0]
	}
	return refusal.Fault.Text("en") + "\n  " + strings.Join(lines, "\n  ")
}

// inUse says which setting wants an address that somebody else has.
func inUse(err error) string {
	setting, _, _ := strings.Cut(err.Error(), ":")
	address := ""
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		address = op.Addr.String() + " "
	}
	return fmt.Sprintf("%s: %sis in use by another program, perhaps another propusk: stop that one, or choose another address with --%s", setting, address, setting)
}

// misused tells what is wrong with the command line, and where to read on.
func misused(k *kong.Kong, w io.Writer, err error) (code int) {
	var e *kong.ParseError
	var cmd *kong.Node
	if errors.As(err, &e) && e.Context != nil {
		cmd = e.Context.Selected()
	}
	if cmd != nil && !cmd.Leaf() && strings.HasPrefix(err.Error(), "expected ") { // a group and nothing after it
		fmt.Fprintf(w, "propusk: %q needs a command\n\n", path(k, cmd))
		k.Stdout = w
		if e.Context.PrintUsage(false) == nil {
			return exitUsage
		}
	}
	fmt.Fprintf(w, "propusk: %s\nSee: %s --help\n", parseWords(err.Error()), path(k, cmd))
	return exitUsage
}

var (
	noValue  = regexp.MustCompile(`^(--[a-z-]+): expected .* value but got "EOL".*$`)
	noNumber = regexp.MustCompile(`^(--[a-z-]+): expected a valid .* int but got (".*")$`)
	noArg    = regexp.MustCompile(`^expected "(<[^"]*)"$`)
)

// parseWords turns kong's terms into words for people.
func parseWords(s string) string {
	s = noValue.ReplaceAllString(s, "$1 needs a value")
	s = noNumber.ReplaceAllString(s, "$1: $2 is not a whole number")
	s = noArg.ReplaceAllString(s, "$1 is missing")
	if rest, ok := strings.CutPrefix(s, "unexpected argument "); ok {
		word, hint, suggested := strings.Cut(rest, ", did you mean ")
		s = fmt.Sprintf("there is no command or argument %q", word)
		if suggested {
			s += "; did you mean " + hint
		}
	}
	return s
}
