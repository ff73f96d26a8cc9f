package pgtest

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	dirPrefix    = "propusk-pgtest-"
	superuser    = "pgtest"
	startTimeout = time.Minute // for initdb, and again for the server; both take about a second
)

// cluster is a throwaway server. The process must hold both files as long as
// it lives: the garbage collector closes what nobody points to.
type cluster struct {
	url   *url.URL
	lock  *os.File // the directory, locked: [sweep] in other processes leaves it alone
	leash *os.File // the writing end of the watchdog's pipe; its end is the server's

	// Of the server's start, for another one.
	bin, port string
	settings  []string
	as        *syscall.Credential
}

// theCluster is a global because all tests of a process share the one server,
// and no caller has a place to keep it in.
var theCluster = sync.OnceValues(func() (*cluster, error) {
	return newCluster("max_connections=200")
})

// newCluster starts a server with settings of its own.
func newCluster(settings ...string) (*cluster, error) {
	bin, err := findPrograms()
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		c, err := startCluster(bin, settings)
		// Between the choice of a free port and its use another process may take it.
		if err == nil || try == 3 || !strings.Contains(err.Error(), "Address already in use") {
			return c, err
		}
	}
}

// findPrograms gives the directory that holds initdb and, beside it, the
// postgres of the same version.
func findPrograms() (string, error) {
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if initdb, err = filepath.EvalSymlinks(initdb); err == nil && executable(filepath.Dir(initdb), "postgres") {
			return filepath.Dir(initdb), nil
		}
	}
	best, bestVersion := "", 0
	// Debian keeps the server's programs out of PATH.
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // its only error is a bad pattern
	for _, dir := range dirs {
		version, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		if err == nil && version > bestVersion && executable(dir, "initdb") && executable(dir, "postgres") {
			best, bestVersion = dir, version
		}
	}
	if best == "" {
		return "", errors.New("no PostgreSQL for the tests: either install its server programs (initdb and postgres, " +
			"Debian's package postgresql), or set " + variable + " to the postgres:// URL of a database " +
			"in which schemas may be created")
	}
	return best, nil
}

func executable(dir, name string) bool {
	_, err := exec.LookPath(filepath.Join(dir, name))
	return err == nil
}

func startCluster(bin string, settings []string) (_ *cluster, err error) {
	as, err := lesserUser()
	if err != nil {
		return nil, err
	}
	parent, err := tempParent(as)
	if err != nil {
		return nil, err
	}
	sweep(parent)
	lock, err := claimDir(parent)
	if err != nil {
		return nil, err
	}
	c := &cluster{lock: lock, bin: bin, settings: settings, as: as}
	defer func() {
		if err != nil {
			c.abandon()
		}
	}()
	password := rand.Text()
	if err := initialise(bin, lock.Name(), password, as); err != nil {
		return nil, err
	}
	if c.port, err = freePort(); err != nil {
		return nil, err
	}
	c.url = &url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, password),
		Host:     net.JoinHostPort("127.0.0.1", c.port),
		Path:     "/postgres",
		RawQuery: "sslmode=disable",
	}
	return c, c.run()
}

// abandon takes back a start that came to nothing.
func (c *cluster) abandon() {
	if c.leash != nil {
		_ = c.leash.Close() // the watchdog does the rest
	} else {
		_ = os.RemoveAll(c.lock.Name())
	}
	_ = c.lock.Close()
}

func initialise(bin, dir, password string, as *syscall.Credential) error {
	passwordFile := filepath.Join(dir, "password")
	if err := os.WriteFile(passwordFile, []byte(scramVerifier(password)+"\n"), 0o600); err != nil {
		return err
	}
	if as != nil {
		for _, path := range []string{passwordFile, dir} {
			if err := os.Chown(path, int(as.Uid), int(as.Gid)); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"),
		"--username="+superuser, "--pwfile="+passwordFile, "--auth=scram-sha-256",
		"--locale=C.UTF-8", "--encoding=UTF8", "--no-sync", "--no-instructions")
	confine(cmd, dir, as)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// scramVerifier gives what PostgreSQL stores for a password (RFC 5803), and takes
// in place of it. One round instead of its 4096, which cost each connection 8 ms
// under the race detector: the password is 128 random bits and needs no stretching.
func scramVerifier(password string) string {
	sign := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		_, _ = h.Write([]byte(text)) // never fails
		return h.Sum(nil)
	}
	salt := rand.Text()
	salted := sign([]byte(password), salt+"\x00\x00\x00\x01") // the first and only round of PBKDF2
	stored := sha256.Sum256(sign(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$1:%s$%s:%s", b64([]byte(salt)), b64(stored[:]), b64(sign(salted, "Server Key")))
}

// watchdog starts the server, waits for its own standard input to end, and
// takes the server and its directory away. Only the test process holds the other
// end of that pipe: the kernel closes it when the process ends, whether by
// return, panic, time-out or kill -9. A line on it means that the server shall
// go and the directory stay, for another start.
//
// Pdeathsig would not do: it is tied to the thread that forked, which Go may
// end early, so a goroutine would have to sit locked on its thread for ever,
// and goleak would report it to everyone. It is also Linux only, and removes
// no directory.
//
// Descriptor 3 is for the server alone, so that it closes when the server ends.
// The server may have been frozen, hence CONT.
const watchdog = `
dir=$1; shift
"$@" </dev/null >>"$dir/log" 2>&1 &
exec 3>&-
read -r keep
kill -QUIT $!
kill -CONT $!
wait
[ -n "$keep" ] || rm -rf "$dir"
`

// run starts the server under its watchdog and returns when it takes queries.
func (c *cluster) run() error {
	dir := c.lock.Name()
	leashEnd, leash, err := os.Pipe()
	if err != nil {
		return err
	}
	alive, aliveEnd, err := os.Pipe()
	if err != nil {
		return errors.Join(err, leashEnd.Close(), leash.Close())
	}
	// Without fsync a crash of the machine may corrupt the cluster, which would
	// be thrown away anyway. Commits stay synchronous, as they are in production.
	cmd := exec.Command("sh", "-c", watchdog, "sh", dir,
		filepath.Join(c.bin, "postgres"), "-D", filepath.Join(dir, "data"), "-p", c.port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "full_page_writes=off")
	for _, setting := range c.settings {
		cmd.Args = append(cmd.Args, "-c", setting)
	}
	cmd.Stdin = leashEnd
	cmd.ExtraFiles = []*os.File{aliveEnd}
	confine(cmd, dir, c.as)
	// Out of reach of Ctrl-C, which would end the watchdog before its work.
	cmd.SysProcAttr.Setsid = true
	err = cmd.Start()
	_, _ = leashEnd.Close(), aliveEnd.Close() // the child has its own
	if err != nil {
		return errors.Join(fmt.Errorf("start the server's watchdog: %w", err), leash.Close(), alive.Close())
	}
	c.leash = leash
	_ = cmd.Process.Release() // it outlives us
	if err := c.ready(alive); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log")) // often the cause; without it err must do
		return fmt.Errorf("start PostgreSQL: %w\n%s", err, log)
	}
	return nil
}

// ready waits until the server takes queries, or until alive ends: the server
// has given up. It closes alive, which nobody watches any more.
func (c *cluster) ready(alive *os.File) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	ctx, gaveUp := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, alive)
		gaveUp(errors.New("it gave up"))
	}()
	defer func() {
		_ = alive.Close() // wakes the goroutine
		<-ended
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, c.url.String())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last answer: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// confine gives a child nothing of ours but PATH. PG* and LC_* variables would
// change the server; a working directory that it may not enter stops initdb.
func confine(cmd *exec.Cmd, dir string, as *syscall.Credential) {
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
}

// lesserUser gives whom to run the server as: PostgreSQL refuses root. Nil
// means as ourselves.
func lesserUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")
}

// tempParent gives where the cluster's directory goes: root's TMPDIR may lie
// where the lesser user cannot follow, and opening it up is not ours to do.
func tempParent(as *syscall.Credential) (string, error) {
	if as == nil {
		return os.TempDir(), nil
	}
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if reachable(dir) {
			return dir, nil
		}
	}
	return "", errors.New("PostgreSQL refuses to run as root, and no temporary directory is open to other users: set TMPDIR")
}

func reachable(dir string) bool {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil || !filepath.IsAbs(dir) {
		return false
	}
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
		dir = filepath.Dir(dir)
	}
}

// sweep removes the directories of processes that died together with their
// watchdogs, as when a machine stops or a container is killed. Those of other
// users stay.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, dirPrefix+"*")) // its only error is a bad pattern
	for _, dir := range dirs {
		if lock := tryLock(dir); lock != nil {
			_ = os.RemoveAll(dir) // the next start tries again
			_ = lock.Close()
		}
	}
}

func claimDir(parent string) (*os.File, error) {
	for range 10 {
		dir, err := os.MkdirTemp(parent, dirPrefix)
		if err != nil {
			return nil, err
		}
		// Until it is locked, a sweep in another process may take it away.
		if lock := tryLock(dir); lock != nil {
			return lock, nil
		}
	}
	return nil, fmt.Errorf("no directory under %s could be locked", parent)
}

// tryLock gives the directory, open and locked, or nil if it is locked or gone.
func tryLock(dir string) *os.File {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		if _, err := os.Lstat(dir); err == nil {
			return f
		}
	}
	_ = f.Close()
	return nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
