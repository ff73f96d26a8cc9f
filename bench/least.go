package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"

	"propusk/internal/secret/argon2"
)

// leastCommand is the peer that does what no login can do without, and nothing
// else: it reads the JSON, makes the hash, and answers when a record of the login
// is on the disk. What it falls short of bare hashing by is HTTP's, the disk's and
// the client's, who has the same cores.
const leastCommand = "peer-least-login"

const (
	leastRecord = 512 // bytes of each login
	leastAnswer = `{"status":"ok","data":{"token":"00000000-0000-0000-0000-000000000000"}}` + "\n"
)

// serveLeast is told the cost of a hash, and the directory for its records.
func serveLeast(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("the cost of a hash, or the directory, is missing")
	}
	c, err := parseArgon2(args[0])
	if err != nil {
		return err
	}
	disk, err := os.Create(filepath.Join(args[1], "logins")) //nolint:gosec // this very program says where
	if err != nil {
		return err
	}
	defer disk.Close() //nolint:errcheck // what was to be kept was synchronised
	return servePeer(leastHandler(c, disk), in, out)
}

func leastHandler(c cost, disk *os.File) http.Handler {
	workers := make(chan *argon2.Memory, runtime.GOMAXPROCS(0))
	for range cap(workers) {
		workers <- new(argon2.Memory)
	}
	records := make(chan chan error)
	go keepRecords(disk, records)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var login struct {
			EmailOrName string `json:"email_or_name"`
			Password    string `json:"password"`
		}
		if err := json.NewDecoder(r.Body).Decode(&login); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		m := <-workers
		argon2.IDKey(m, []byte(login.Password), make([]byte, 16), c.passes, c.memory, c.lanes, 32)
		workers <- m
		kept := make(chan error, 1)
		records <- kept
		if err := <-kept; err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, leastAnswer) // the client counts what it misses
	})
}

// keepRecords writes a record for each that asks; who asks meanwhile shares the
// next write and its sync.
func keepRecords(disk *os.File, records <-chan chan error) {
	var batch []chan error
	for first := range records {
		batch = append(batch[:0], first)
		for more := true; more; {
			select {
			case one := <-records:
				batch = append(batch, one)
			default:
				more = false
			}
		}
		_, err := disk.Write(make([]byte, leastRecord*len(batch)))
		err = errors.Join(err, disk.Sync())
		for _, kept := range batch {
			kept <- err
		}
	}
}

func (b *bencher) startLeast(ctx context.Context) (p *peer, t target, err error) {
	at, err := b.places.fresh(ctx)
	if err != nil {
		return nil, t, err
	}
	if p, err = startPeer(ctx, leastCommand, b.o.argon2, at.dir); err != nil {
		return nil, t, err
	}
	addr, err := p.out.ReadString('\n')
	if err != nil {
		p.stop()
		return nil, t, fmt.Errorf("least login: %w", err)
	}
	one := call{request: loginRequest("anybody"), status: http.StatusOK, want: []byte(`"token":"`)}
	return p, target{addr: addr[:len(addr)-1], pid: p.cmd.Process.Pid, next: func(int) call { return one }}, nil
}
