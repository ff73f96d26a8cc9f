package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a PostgreSQL that one test has for itself, to stop and to freeze.
// It is always a throwaway one, whatever PROPUSK_TEST_POSTGRES says. Its methods
// are for one goroutine at a time.
type Server struct {
	c      *cluster
	frozen []int // processes, the first of all last
}

// Own starts one, with settings such as "max_connections=20". It is taken away
// in t.Cleanup.
func Own(t testing.TB, settings ...string) *Server {
	t.Helper()
	c, err := newCluster(settings...)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	s := &Server{c: c}
	t.Cleanup(func() {
		s.Thaw()
		c.abandon()
	})
	return s
}

// URL is that of a new, empty schema, as [URL] gives it; nobody looks whether
// the test leaves transactions open.
func (s *Server) URL(t testing.TB) string {
	t.Helper()
	schema, err := newSchema(s.c.url)
	if err != nil {
		t.Fatalf("pgtest: create a schema: %v", err)
	}
	return schemaURL(s.c.url, schema)
}

// Stop ends the server at once, without telling its clients why (pg_ctl stop -m
// immediate), and returns when it is gone.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	postmaster, err := s.postmaster()
	if err != nil {
		t.Fatalf("pgtest: stop: %v", err)
	}
	_, err = s.c.leash.WriteString("keep the directory\n")
	if err = errors.Join(err, s.c.leash.Close()); err != nil {
		t.Fatalf("pgtest: stop: %v", err)
	}
	s.c.leash = nil
	const step = 5 * time.Millisecond
	for waited := time.Duration(0); syscall.Kill(postmaster, 0) == nil; waited += step {
		if waited > startTimeout {
			t.Fatalf("pgtest: the server does not stop")
		}
		time.Sleep(step)
	}
}

// Start starts it again, on the same port, and returns as soon as it takes
// queries.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.c.run(); err != nil {
		t.Fatalf("pgtest: start again: %v", err)
	}
}

// Freeze stops all of the server's processes where they are (SIGSTOP): its
// connections stay, and nobody answers.
func (s *Server) Freeze(t testing.TB) {
	t.Helper()
	postmaster, err := s.postmaster()
	if err != nil {
		t.Fatalf("pgtest: freeze: %v", err)
	}
	// It first, so that it has no more children.
	if err := syscall.Kill(postmaster, syscall.SIGSTOP); err != nil {
		t.Fatalf("pgtest: freeze: %v", err)
	}
	children := childrenOf(postmaster)
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended
	}
	s.frozen = append(children, postmaster)
	if len(children) == 0 {
		t.Fatalf("pgtest: freeze: PostgreSQL without a child")
	}
}

// Thaw lets them go on.
func (s *Server) Thaw() {
	for _, pid := range s.frozen {
		_ = syscall.Kill(pid, syscall.SIGCONT) // it may have ended
	}
	s.frozen = nil
}

func (s *Server) postmaster() (int, error) {
	text, err := os.ReadFile(filepath.Join(s.c.lock.Name(), "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("postmaster.pid holds %q", first)
	}
	return pid, nil
}

// childrenOf looks through /proc: PostgreSQL's processes have sessions and
// groups of their own.
func childrenOf(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // its only error is a bad pattern
	for _, name := range stats {
		stat, _ := os.ReadFile(name) // it may have ended
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 2 || string(fields[1]) != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
