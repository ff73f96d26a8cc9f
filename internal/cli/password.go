package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/term"

	"propusk/internal/account"
)

// readPassword asks for a new password on a terminal, and takes the first line
// of anything else. A password never comes from the command line: others on the
// machine could read it there.
func readPassword(r *run, ask bool) (account.Secret, error) {
	if f, ok := r.In.(*os.File); ok && ask && term.IsTerminal(fd(f)) {
		return askPassword(r, f)
	}
	line, err := bufio.NewReader(io.LimitReader(r.In, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return account.Secret{}, fmt.Errorf("read the password: %w", err)
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if line == "" {
		return account.Secret{}, usageError("no password came on standard input: give it there, or let one be made with --generate")
	}
	return account.NewSecret(line), nil
}

func askPassword(r *run, f *os.File) (account.Secret, error) {
	first, err := hiddenLine(r, f, "Password: ")
	if err != nil {
		return account.Secret{}, err
	}
	second, err := hiddenLine(r, f, "The same again: ")
	if err != nil {
		return account.Secret{}, err
	}
	if first != second {
		return account.Secret{}, errors.New("the two passwords differ; nothing was done")
	}
	return account.NewSecret(first), nil
}

// hiddenLine reads a line that does not show. A terminal that was left without
// its echo by Ctrl-C would stay so.
func hiddenLine(r *run, f *os.File, prompt string) (string, error) {
	before, err := term.GetState(fd(f))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	ctx, stop := signal.NotifyContext(r.ctx, os.Interrupt)
	defer stop()
	forget := context.AfterFunc(ctx, func() {
		_ = term.Restore(fd(f), before) // nothing better can be done on the way out
		fmt.Fprintln(r.Err)
		os.Exit(exitFailure)
	})
	defer forget()
	fmt.Fprint(r.Err, prompt)
	line, err := term.ReadPassword(fd(f))
	fmt.Fprintln(r.Err)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(line), nil
}

func fd(f *os.File) int { return int(f.Fd()) }
