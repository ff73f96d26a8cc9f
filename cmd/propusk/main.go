// Command propusk is a user management and authentication service.
package main

import (
	"context"
	"os"
	_ "time/tzdata" // --time-zone works on machines without a zone database

	"propusk/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}))
}
