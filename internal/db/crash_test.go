package db_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/apptest/pgtest"
	"propusk/internal/db"
)

const insertCredential = `INSERT INTO credentials (name, data) VALUES ($1, $2)`

// pairs writes users and their credentials for ever, each pair in one
// transaction, and tells of each when it begins and when it is acknowledged.
func pairs() int {
	ctx := context.Background()
	d, err := db.Open(ctx, db.Options{URL: os.Getenv("URL"), MaxConns: number("WRITERS")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fault := os.Getenv("FAULT")
	insert := func(ctx context.Context, name string) error {
		return d.Tx(ctx, func(tx *db.Tx) error {
			if fault == "tells too early" {
				_, _ = fmt.Println("ack", name)
			}
			if _, err := tx.Exec(ctx, insertThing, name, nil); err != nil {
				return err
			}
			if fault == "writes halves" {
				_, err := fmt.Println("ack", name)
				return err
			}
			_, err := tx.Exec(ctx, insertCredential, name, []byte(name))
			return err
		})
	}
	var all sync.WaitGroup
	for w := range number("WRITERS") {
		all.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%s-%d-%d", os.Getenv("CYCLE"), w, i)
				_, _ = fmt.Println("begin", name)
				if err := insert(ctx, name); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				if fault == "" {
					_, _ = fmt.Println("ack", name)
				}
			}
		})
	}
	all.Wait()
	return 1 // it was meant to be killed
}

// crashes kills the child "pairs" again and again until so many transactions
// were interrupted, and gives what of the database contradicts what was told.
func crashes(t *testing.T, url string, atLeast, writers int, fault string) (interrupted, acked int, wrong []string) {
	t.Helper()
	acknowledged := map[string]bool{}
	for cycle := 0; interrupted < atLeast; cycle++ {
		if cycle > 4*atLeast/writers+10 {
			t.Fatalf("%d cycles interrupted %d transactions only", cycle, interrupted)
		}
		begun, acks := crash(t, map[string]string{
			"URL": url, "CYCLE": fmt.Sprint(cycle), "WRITERS": fmt.Sprint(writers), "FAULT": fault,
		})
		interrupted += begun - len(acks)
		acked += len(acks)
		for _, name := range acks {
			acknowledged[name] = true
		}
		if wrong = contradictions(t, url, acknowledged); wrong != nil {
			break
		}
	}
	return interrupted, acked, wrong
}

// crash runs one child, kills it a moment after its first acknowledgement, and
// gives how many transactions it began, and which were acknowledged.
func crash(t *testing.T, env map[string]string) (begun int, acks []string) {
	t.Helper()
	cmd := child(t, "pairs", env)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	moment, err := rand.Int(rand.Reader, big.NewInt(int64(150*time.Millisecond)))
	if err != nil {
		t.Fatal(err)
	}
	kill := sync.OnceFunc(func() {
		time.AfterFunc(time.Duration(moment.Int64()), func() { _ = cmd.Process.Kill() })
	})
	out := bufio.NewReader(stdout)
	for {
		line, err := out.ReadString('\n')
		if err != nil { // what the kill cut short was not told
			if err != io.EOF {
				t.Error(err)
			}
			break
		}
		switch word, name, _ := strings.Cut(strings.TrimSpace(line), " "); word {
		case "begin":
			begun++
		case "ack":
			acks = append(acks, name)
			kill()
		default:
			t.Errorf("the child told %q", line)
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child ended by itself: %v", err)
	}
	return begun, acks
}

func contradictions(t *testing.T, url string, acknowledged map[string]bool) (wrong []string) {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{URL: url})
	if err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	defer d.Close() //nolint:errcheck // other tests look at that
	for _, name := range column[string](t, d, `SELECT name FROM things WHERE name NOT IN (SELECT name FROM credentials)`) {
		wrong = append(wrong, name+" has no credential")
	}
	for _, name := range column[string](t, d, `SELECT name FROM credentials WHERE name NOT IN (SELECT name FROM things)`) {
		wrong = append(wrong, "the credential "+name+" has no user")
	}
	whole := map[string]bool{}
	err = d.Query(t.Context(), `SELECT name, data FROM credentials`, nil, func(scan func(...any) error) error {
		var name string
		var data []byte
		err := scan(&name, &data)
		whole[name] = string(data) == name
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range acknowledged {
		if !whole[name] {
			wrong = append(wrong, name+" was acknowledged and is not there, or not whole")
		}
	}
	if d.Engine() == db.SQLite {
		if got := column[string](t, d, `PRAGMA integrity_check`); len(got) != 1 || got[0] != "ok" {
			wrong = append(wrong, got...)
		}
	}
	return wrong
}

func createPairs(t *testing.T, url string) string {
	t.Helper()
	d := open(t, url)
	createThings(t, d)
	create(t, d, `CREATE TABLE credentials (name TEXT NOT NULL PRIMARY KEY, data BLOB NOT NULL) STRICT`)
	if err := d.Close(); err != nil { // so that who opens it next has to recover it
		t.Fatal(err)
	}
	return url
}

func TestKilledProcessLeavesEveryAcknowledgedTransactionWhole(t *testing.T) {
	for name, c := range map[string]struct {
		url     func(*testing.T) string
		writers int
	}{
		"sqlite":   {fileURL, 100},
		"postgres": {func(t *testing.T) string { return pgtest.URL(t) }, 64}, // of the server's 200 connections
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := createPairs(t, c.url(t))
			start := time.Now()
			interrupted, acked, wrong := crashes(t, url, 1000, c.writers, "")
			t.Logf("in %s %d transactions were interrupted and %d acknowledged", time.Since(start).Round(time.Second), interrupted, acked)
			for _, w := range wrong {
				t.Error(w)
			}
		})
	}
}

// The test above must fail where a program breaks the promise.
func TestBrokenPromisesAreFoundOutByKilling(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"tells too early", "writes halves"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			if _, _, wrong := crashes(t, createPairs(t, fileURL(t)), 1000, 64, fault); wrong == nil {
				t.Error("it was not found out")
			}
		})
	}
}
