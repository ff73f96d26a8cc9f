package gateways_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// gateways are those that the tests run. Traefik and Envoy are in no package of
// Debian's.
var gateways = map[string]func(t *testing.T, l layout) *exec.Cmd{
	"nginx":   nginx,
	"caddy":   caddy,
	"haproxy": haproxy,
}

// layout is where everything is.
type layout struct {
	dir, gateway, propusk, app string
	edit                       func(text string) string // beyond the addresses; may be nil
}

// each runs f behind every gateway.
func each(t *testing.T, f func(w *world)) {
	for name := range gateways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(behind(t, name, nil))
		})
	}
}

// behind starts one gateway, with the configuration of this directory.
func behind(t *testing.T, name string, edit func(string) string) *world {
	t.Helper()
	w := &world{T: t, gateway: name, addr: freePort(t), propusk: newPropusk(t), app: newApplication(t)}
	cmd := gateways[name](t, layout{t.TempDir(), w.addr, w.propusk.addr, w.app.addr, edit})
	out := &output{}
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, dieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // by a signal
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out)
		}
	})
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", w.addr); err == nil {
			_ = c.Close() // only to see that somebody listens
			return w
		}
		select {
		case <-ended:
			t.Fatalf("%s ended:\n%s", name, out)
		default:
		}
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("%s does not listen:\n%s", name, out)
		}
	}
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// program finds a gateway's. Debian keeps some where only root looks.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, at := range []string{name, "/usr/sbin/" + name} {
		path, err := exec.LookPath(at)
		if err == nil {
			return path
		}
		if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	t.Fatalf("%s is not installed: see scripts/test-deps.sh", name)
	return ""
}

// place copies a file of this directory with other addresses and nothing else
// changed. Each must be there, so that the test cannot pass by another one.
func place(t *testing.T, l layout, name string, addresses ...string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for pair := range slices.Chunk(addresses, 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("%s does not hold %q", name, pair[0])
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	if l.edit != nil {
		text = l.edit(text)
	}
	return write(t, l, name, text)
}

func write(t *testing.T, l layout, name, text string) string {
	t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // a worker of nginx reads it as somebody else
		t.Fatal(err)
	}
	return path
}

func nginx(t *testing.T, l layout) *exec.Cmd {
	ours := place(t, l, "nginx.conf", "127.0.0.1:8001", l.propusk, "127.0.0.1:9000", l.app, "listen 8080", "listen "+l.gateway)
	temporary := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += kind + "_temp_path " + filepath.Join(l.dir, kind) + ";\n"
	}
	user := ""
	if os.Geteuid() == 0 { // or it becomes nobody, who may not come in here
		user = "user root;\n"
	}
	main := write(t, l, "main.conf", user+"daemon off;\nworker_processes 2;\npid "+filepath.Join(l.dir, "pid")+";\nerror_log stderr warn;\n"+
		"events {}\nhttp {\naccess_log off;\n"+temporary+"include "+ours+";\n}\n")
	return exec.Command(program(t, "nginx"), "-e", "stderr", "-p", l.dir, "-c", main)
}

func caddy(t *testing.T, l layout) *exec.Cmd {
	_, port, err := net.SplitHostPort(l.gateway)
	if err != nil {
		t.Fatal(err)
	}
	ours := place(t, l, "Caddyfile", "127.0.0.1:8001", l.propusk, "127.0.0.1:9000", l.app, ":8080", ":"+port, "localhost:2019", freePort(t))
	cmd := exec.Command(program(t, "caddy"), "run", "--adapter", "caddyfile", "--config", ours)
	cmd.Env = append(os.Environ(), "HOME="+l.dir, "XDG_CONFIG_HOME="+l.dir, "XDG_DATA_HOME="+l.dir)
	return cmd
}

func haproxy(t *testing.T, l layout) *exec.Cmd {
	check := "abns@propusk-check-" + filepath.Base(filepath.Dir(l.dir)) + strings.ReplaceAll(l.gateway, ":", "-")
	script := place(t, layout{dir: l.dir}, "haproxy-auth.lua", "abns@propusk-check", check)
	ours := place(t, l, "haproxy.cfg", "127.0.0.1:8001", l.propusk, "127.0.0.1:9000", l.app, "bind :8080", "bind "+l.gateway,
		"abns@propusk-check", check, "/etc/haproxy/haproxy-auth.lua", script)
	return exec.Command(program(t, "haproxy"), "-db", "-f", ours)
}

var ports atomic.Int64

// freePort finds one that nobody has, below those that the system gives to
// connections going out: of these the tests make many, and one of them could
// have the number by the time that somebody wants to listen there.
func freePort(t *testing.T) string {
	t.Helper()
	const first, many = 20_000, 12_000
	for range 100 {
		port := first + (int64(os.Getpid())*100+ports.Add(1))%many
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.FormatInt(port, 10)))
		if err != nil {
			continue // somebody's
		}
		defer l.Close() //nolint:errcheck // it had nothing but its number
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}
