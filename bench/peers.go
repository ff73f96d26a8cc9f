package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	crypto "golang.org/x/crypto/argon2"

	"propusk/internal/secret/argon2"
)

// The peers are this program again, in processes of their own, as the program
// under test is. They end when their standard input does, so they outlive
// nobody.
const (
	bareCommand = "peer-bare-http"
	hashCommand = "peer-bare-hash"
)

// peer is a running one.
type peer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startPeer(ctx context.Context, args ...string) (*peer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &peer{cmd: exec.CommandContext(ctx, self, args...)} //nolint:gosec // this very program
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = dieWithParent()
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

// ask sends a line and gives the line that comes back.
func (p *peer) ask(line string) (string, error) {
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return "", err
	}
	answer, err := p.out.ReadString('\n')
	return strings.TrimSpace(answer), err
}

func (p *peer) stop() {
	_ = p.in.Close() // it ends by this
	_ = p.cmd.Wait() // how it ends is of no interest
}

// answer is what a bare server is to give, header for header and byte for byte.
type answer struct {
	Headers [][2]string
	Body    []byte
}

// answerOf asks url once and keeps what came. Date and Content-Length are
// net/http's own work on both sides.
func answerOf(ctx context.Context, url, token string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close() //nolint:errcheck // all of it was read
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return answer{}, err
	}
	if res.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("GET %s: %s: %s", url, res.Status, body)
	}
	a := answer{Body: body}
	for name, values := range res.Header {
		if !slices.Contains([]string{"Date", "Content-Length", "Connection"}, name) {
			a.Headers = append(a.Headers, [2]string{name, strings.Join(values, ", ")})
		}
	}
	return a, nil
}

// serveBare is the bare net/http server: it answers every request with the
// answer that it reads from in, and prints its address.
func serveBare(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return err
	}
	return servePeer(bareHandler(a), lines, out)
}

// servePeer prints its address, and ends with in.
func servePeer(h http.Handler, in io.Reader, out io.Writer) error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in) // until whoever started us is done
		_ = l.Close()
	}()
	if _, err := fmt.Fprintln(out, l.Addr()); err != nil {
		return err
	}
	server := &http.Server{Handler: h} //nolint:gosec // as bare as it gets: that is what it is for
	if err := server.Serve(l); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func bareHandler(a answer) http.Handler {
	values := make([][]string, len(a.Headers))
	for i, h := range a.Headers {
		values[i] = []string{h[1]}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for i := range a.Headers {
			h[a.Headers[i][0]] = values[i]
		}
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(a.Body) // the client counts what it misses
	})
}

func startBare(ctx context.Context, a answer) (p *peer, addr string, err error) {
	if p, err = startPeer(ctx, bareCommand); err != nil {
		return nil, "", err
	}
	line, err := json.Marshal(a)
	if err == nil {
		addr, err = p.ask(string(line))
	}
	if err != nil {
		p.stop()
		return nil, "", fmt.Errorf("bare server: %w", err)
	}
	return p, addr, nil
}

// cost is that of one password hash.
type cost struct {
	memory, passes uint32
	lanes          uint8
}

func parseArgon2(text string) (c cost, err error) {
	var rest string
	n, _ := fmt.Sscanf(text+" ", "m=%d,t=%d,p=%d%s", &c.memory, &c.passes, &c.lanes, &rest)
	if n != 3 || c.memory == 0 || c.passes == 0 || c.lanes == 0 {
		return c, fmt.Errorf("-argon2 %s: not of the form m=19456,t=2,p=1", text)
	}
	return c, nil
}

// Whose hash is made.
const (
	ownHash    = "own"    // that of the program's pool
	cryptoHash = "crypto" // that of golang.org/x/crypto
)

// hashBare hashes as fast as it can whenever it is told for how long, on as
// many goroutines as there are cores, and tells how many that were.
func hashBare(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 || args[0] != ownHash && args[0] != cryptoHash {
		return errors.New("whose hash, or its cost, is missing")
	}
	c, err := parseArgon2(args[1])
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		d, err := time.ParseDuration(lines.Text())
		if err != nil {
			return err
		}
		done, elapsed := hashFor(args[0], c, d, runtime.GOMAXPROCS(0))
		if _, err := fmt.Fprintln(out, done, elapsed.Nanoseconds()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func hashFor(whose string, c cost, d time.Duration, workers int) (done int, elapsed time.Duration) {
	counts, ends := make([]int, workers), make([]time.Duration, workers)
	begun := time.Now()
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			salt, memory := make([]byte, 16), new(argon2.Memory)
			for ends[i] < d {
				if whose == ownHash {
					argon2.IDKey(memory, []byte(password), salt, c.passes, c.memory, c.lanes, 32)
				} else {
					crypto.IDKey([]byte(password), salt, c.passes, c.memory, c.lanes, 32)
				}
				counts[i]++
				ends[i] = time.Since(begun)
			}
		})
	}
	wg.Wait()
	for _, n := range counts {
		done += n
	}
	return done, slices.Max(ends)
}

// hashPeer is bare hashing as a [runner].
type hashPeer struct{ *peer }

func startHash(ctx context.Context, whose, cost string) (hashPeer, error) {
	p, err := startPeer(ctx, hashCommand, whose, cost)
	return hashPeer{p}, err
}

func (p hashPeer) round(ctx context.Context, d time.Duration) (r result, err error) {
	before, err := cpuOf(p.cmd.Process.Pid)
	if err != nil {
		return r, err
	}
	line, err := p.ask(d.String())
	if err != nil {
		return r, errors.Join(fmt.Errorf("bare hashing: %w", err), ctx.Err())
	}
	count, ns, _ := strings.Cut(line, " ")
	if r.done, err = strconv.Atoi(count); err != nil {
		return r, fmt.Errorf("bare hashing: %w", err)
	}
	elapsed, err := strconv.ParseInt(ns, 10, 64)
	if err != nil {
		return r, fmt.Errorf("bare hashing: %w", err)
	}
	after, err := cpuOf(p.cmd.Process.Pid)
	r.elapsed, r.cpu = time.Duration(elapsed), after-before
	return r, err
}
