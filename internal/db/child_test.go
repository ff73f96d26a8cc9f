package db_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"propusk/internal/db"
)

// children are what this test program can be besides itself: see childVariable.
var children = map[string]func() int{
	"writers": writers,
	"pairs":   pairs,
}

// child is this test program as a process of its own, wrapped into another
// program where that is given.
func child(t *testing.T, name string, env map[string]string, wrapper ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	line := append(wrapper, self)
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stderr = os.Stderr
	return cmd
}

func number(name string) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	return n
}

// writers insert one row in each transaction, and tell of each on standard
// output when its commit was acknowledged, or refused. With RELAXED, all of them
// are relaxed, or every "second"; and then nothing is closed at the end.
func writers() int {
	ctx := context.Background()
	d, err := db.Open(ctx, db.Options{URL: os.Getenv("URL")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if s := os.Getenv("ON_WRITER"); s != "" {
		if err := d.OnWriter(ctx, s); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	relaxed := os.Getenv("RELAXED")
	var all sync.WaitGroup
	for w := range number("WRITERS") {
		all.Go(func() {
			for i := range number("EACH") {
				name := fmt.Sprintf("row-%d-%d;", w, i)
				word, tx := "ack", d.Tx
				if relaxed == "all" || relaxed == "second" && i%2 == 0 {
					word, tx = "relaxed", d.TxRelaxed
				}
				err := tx(ctx, func(tx *db.Tx) error {
					_, err := tx.Exec(ctx, insertThing, name, nil)
					return err
				})
				if err != nil {
					word = "refused"
				}
				_, _ = fmt.Println(word, name) // one write for each, which the kernel keeps whole
			}
		})
	}
	all.Wait()
	if relaxed != "" {
		return 0
	}
	if err := d.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// told reads what a child has told, by the first word of each line.
func told(t *testing.T, out string) map[string][]string {
	t.Helper()
	m := map[string][]string{}
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		word, name, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			t.Errorf("the child told %q", lines.Text())
		}
		m[word] = append(m[word], name)
	}
	return m
}
