package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"propusk/internal/apptest/mailsink"
	"propusk/internal/apptest/pgtest"
	"propusk/internal/config"
)

// words are what scripts can say besides testscript's own commands.
//
//	fails CODE COMMAND [ARG…]          run propusk; it must end with this code, and
//	                                   without a stack trace
//	start [-as NAME] COMMAND [ARG…]    run propusk in the background until it
//	                                   listens; sets $URL, $HOST (of it) and $OPS
//	                                   (with -as, $NAME_URL and so on)
//	signal [-as NAME] TERM|INT|KILL    send it a signal
//	ended [-as NAME] CODE              wait until it has ended; code "killed" is
//	                                   an end by a signal
//	log [-as NAME]                     what it wrote becomes stdout and stderr
//	http STATUS METHOD PATH [OPTION…] [BODY]
//	                                   send a request and check the status; the
//	                                   body becomes stdout, the head stderr. PATH
//	                                   may be a whole URL. -t TOKEN sends a token,
//	                                   -h HEADER a header (which may hold \u
//	                                   escapes), -ca FILE trusts a certificate
//	within DURATION http …             the same, again and again until it succeeds
//	hold PATH BODY                     begin a POST, and keep back its last byte
//	release STATUS                     send that byte, and check the answer
//	capture NAME PATH                  $NAME is a value of the last body, such as
//	                                   data.token or data.messages.0.code
//	keep NAME                          $NAME is what the last command printed
//	pgdb NAME                          $NAME is the URL of a fresh PostgreSQL
//	sql DATABASE STATEMENT             run it; rows become stdout
//	mode MODE FILE                     check the permissions of a file
//	taken NAME                         $NAME is an address where this test listens
//	certificate CERT KEY               make a pair for 127.0.0.1
//	mailsink                           run a mail server; $SMTP is its address, and
//	                                   $SSL_CERT_FILE makes programs trust it
//	mails N                            wait until it has N mails; the last one's
//	                                   header and text become stdout
//	tls VERSION ADDRESS                [!] a handshake of this version succeeds
//	samedocument FILE FILE             two OpenAPI documents differ in version and
//	                                   servers only
var words = map[string]func(*testscript.TestScript, bool, []string){
	"fails":   fails,
	"start":   func(ts *testscript.TestScript, neg bool, args []string) { worldOf(ts).start(ts, neg, args) },
	"signal":  func(ts *testscript.TestScript, _ bool, args []string) { worldOf(ts).signal(ts, args) },
	"ended":   func(ts *testscript.TestScript, _ bool, args []string) { worldOf(ts).ended(ts, args) },
	"log":     func(ts *testscript.TestScript, _ bool, args []string) { worldOf(ts).log(ts, args) },
	"http":    func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(worldOf(ts).http(ts, args)) },
	"within":  within,
	"hold":    func(ts *testscript.TestScript, _ bool, args []string) { worldOf(ts).hold(ts, args) },
	"release": func(ts *testscript.TestScript, _ bool, args []string) { worldOf(ts).release(ts, args) },
	"capture": func(ts *testscript.TestScript, _ bool, args []string) { worldOf(ts).capture(ts, args) },
	"keep": func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
	},
	"pgdb":         func(ts *testscript.TestScript, _ bool, args []string) { ts.Setenv(args[0], pgtest.URL(worldOf(ts).t)) },
	"sql":          sqlWord,
	"mode":         mode,
	"taken":        func(ts *testscript.TestScript, _ bool, args []string) { taken(ts, args[0]) },
	"certificate":  func(ts *testscript.TestScript, _ bool, args []string) { certificate(ts, args[0], args[1]) },
	"mailsink":     func(ts *testscript.TestScript, _ bool, _ []string) { worldOf(ts).mailsink(ts) },
	"mails":        func(ts *testscript.TestScript, _ bool, args []string) { worldOf(ts).mails(ts, args[0]) },
	"tls":          tlsWord,
	"samedocument": sameDocument,
}

func fails(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("propusk", args[1:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
		ts.Fatalf("ended with %v, want exit status %s", err, args[0])
	}
	ts.Check(noTrace(ts.ReadFile("stderr")))
}

type worldKey struct{}

// world is what one script has going.
type world struct {
	t         testing.TB
	processes map[string]*process
	body      []byte   // of the last answer
	held      net.Conn // the request that is kept back
	last      string   // what is kept back of it
	sink      *mailsink.Sink
}

func newWorld(e *testscript.Env) *world {
	w := &world{t: e.T().(testing.TB), processes: map[string]*process{}}
	e.Defer(func() {
		for name, p := range w.processes {
			if err := p.end(os.Kill); err != nil {
				w.t.Errorf("process %q: %v", name, err)
			}
		}
		if w.held != nil {
			_ = w.held.Close()
		}
	})
	return w
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// named takes "-as NAME" off the arguments.
func named(args []string) (name string, rest []string) {
	if len(args) > 1 && args[0] == "-as" {
		return args[1], args[2:]
	}
	return "", args
}

func (w *world) process(ts *testscript.TestScript, args []string) (*process, []string) {
	name, rest := named(args)
	p := w.processes[name]
	if p == nil {
		ts.Fatalf("no process %q was started", name)
	}
	return p, rest
}

func (w *world) start(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("write: fails CODE …")
	}
	name, rest := named(args)
	p, err := launch(ts.MkAbs("."), environment(ts), rest...)
	if p != nil {
		w.processes[name] = p
	}
	ts.Check(err)
	if name != "" {
		name += "_"
	}
	ts.Setenv(name+"URL", p.url)
	ts.Setenv(name+"HOST", strings.TrimPrefix(strings.TrimPrefix(p.url, "https://"), "http://"))
	ts.Setenv(name+"OPS", p.ops)
	w.log(ts, args)
}

// environment is what a script has set for propusk, and the little else that a
// program may look at.
func environment(ts *testscript.TestScript) (env []string) {
	names := []string{"HOME", "TMPDIR", "PATH", "GORACE", "SSL_CERT_FILE"}
	for _, row := range config.Table() {
		names = append(names, row.Env)
	}
	for _, name := range names {
		if v := ts.Getenv(name); v != "" || name == "PROPUSK_OPS_LISTEN" { // which may be empty on purpose
			env = append(env, name+"="+v)
		}
	}
	return env
}

func (w *world) log(ts *testscript.TestScript, args []string) {
	p, _ := w.process(ts, args)
	_, _ = io.WriteString(ts.Stdout(), p.out.String())
	_, _ = io.WriteString(ts.Stderr(), p.err.String())
}

var signals = map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": os.Interrupt, "KILL": os.Kill}

func (w *world) signal(ts *testscript.TestScript, args []string) {
	p, rest := w.process(ts, args)
	s, ok := signals[rest[0]]
	if !ok {
		ts.Fatalf("no signal %q", rest[0])
	}
	ts.Check(p.cmd.Process.Signal(s))
}

// ended: 10 seconds is what the program promises.
func (w *world) ended(ts *testscript.TestScript, args []string) {
	p, rest := w.process(ts, args)
	ts.Check(p.wait(10 * time.Second))
	w.log(ts, args)
	got := strconv.Itoa(p.code)
	if p.code < 0 {
		got = "killed"
	}
	if got != rest[0] {
		ts.Fatalf("ended with %s, want %s", got, rest[0])
	}
}

// request is what the word http was told.
type request struct {
	status          int
	method, url, ca string // ca is PEM
	header          http.Header
	body            io.Reader
}

func parseRequest(ts *testscript.TestScript, args []string) request {
	if len(args) < 3 {
		ts.Fatalf("usage: http STATUS METHOD PATH [OPTION…] [BODY]")
	}
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	q := request{status: status, method: args[1], url: args[2], header: http.Header{}}
	if strings.HasPrefix(q.url, "/") {
		q.url = ts.Getenv("URL") + q.url
	}
	rest := args[3:]
	for ; len(rest) >= 2 && strings.HasPrefix(rest[0], "-"); rest = rest[2:] {
		switch rest[0] {
		case "-t":
			q.header.Set("Authorization", "Bearer "+rest[1])
		case "-h":
			text, err := strconv.Unquote(`"` + rest[1] + `"`)
			ts.Check(err)
			k, v, _ := strings.Cut(text, ":")
			q.header.Add(k, strings.TrimSpace(v))
		case "-ca":
			q.ca = ts.ReadFile(rest[1])
		default:
			ts.Fatalf("http: no option %s", rest[0])
		}
	}
	if len(rest) == 1 {
		q.body = strings.NewReader(os.Expand(rest[0], ts.Getenv)) // single quotes are for JSON here
		if q.header.Get("Content-Type") == "" {
			q.header.Set("Content-Type", "application/json")
		}
	} else if len(rest) > 1 {
		ts.Fatalf("http: too many arguments: %q", rest)
	}
	return q
}

func (w *world) http(ts *testscript.TestScript, args []string) error {
	q := parseRequest(ts, args)
	r, err := http.NewRequestWithContext(w.t.Context(), q.method, q.url, q.body)
	if err != nil {
		return err
	}
	r.Header = q.header
	transport := &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true}
	if q.ca != "" {
		transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(q.ca))
	}
	res, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end below
	return w.answer(ts, res, q.status)
}

func (w *world) answer(ts *testscript.TestScript, res *http.Response, status int) error {
	var err error
	if w.body, err = io.ReadAll(res.Body); err != nil {
		return err
	}
	_, _ = ts.Stdout().Write(w.body)
	fmt.Fprintln(ts.Stderr(), res.Status)
	_ = res.Header.Write(ts.Stderr()) // to memory
	if res.StatusCode != status {
		return fmt.Errorf("status %d, want %d: %s", res.StatusCode, status, w.body)
	}
	return nil
}

func within(ts *testscript.TestScript, _ bool, args []string) {
	bound, err := time.ParseDuration(args[0])
	ts.Check(err)
	for end := time.Now().Add(bound); ; time.Sleep(20 * time.Millisecond) {
		asked := time.Now()
		err := worldOf(ts).http(ts, args[2:])
		if err == nil {
			return
		}
		if asked.After(end) {
			ts.Fatalf("not within %s: %v", bound, err)
		}
	}
}

func (w *world) hold(ts *testscript.TestScript, args []string) {
	u, err := url.Parse(ts.Getenv("URL"))
	ts.Check(err)
	w.held, err = (&net.Dialer{}).DialContext(w.t.Context(), "tcp", u.Host)
	ts.Check(err)
	body := os.Expand(args[1], ts.Getenv)
	_, err = fmt.Fprintf(w.held, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		args[0], u.Host, len(body), body[:len(body)-1])
	ts.Check(err)
	w.last = body[len(body)-1:]
	time.Sleep(50 * time.Millisecond) // it is in flight once the server has read of it
}

func (w *world) release(ts *testscript.TestScript, args []string) {
	_, err := io.WriteString(w.held, w.last)
	ts.Check(err)
	ts.Check(w.held.SetReadDeadline(time.Now().Add(10 * time.Second)))
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	res, err := http.ReadResponse(bufio.NewReader(w.held), nil)
	ts.Check(err)
	defer res.Body.Close() //nolint:errcheck // read to its end below
	ts.Check(w.answer(ts, res, status))
}

func (w *world) capture(ts *testscript.TestScript, args []string) {
	var v any
	ts.Check(json.Unmarshal(w.body, &v))
	for name := range strings.SplitSeq(args[1], ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			ts.Check(err)
			if v = nil; i < len(in) {
				v = in[i]
			}
		default:
			v = nil
		}
		if v == nil {
			ts.Fatalf("there is no %s in %s", args[1], w.body)
		}
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

func sqlWord(ts *testscript.TestScript, _ bool, args []string) {
	driver, dsn := "pgx", args[0]
	if path, ok := strings.CutPrefix(args[0], "sqlite:"); ok {
		driver, dsn = "sqlite", "file:"+ts.MkAbs(path)
	}
	rows, err := query(worldOf(ts).t.Context(), driver, dsn, args[1])
	ts.Check(err)
	for _, row := range rows {
		fmt.Fprintln(ts.Stdout(), strings.Join(row, "|"))
	}
}

func query(ctx context.Context, driver, dsn, statement string) (out [][]string, err error) {
	d, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	rows, err := d.QueryContext(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // what Close could say, Err says
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		row, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		line := make([]string, len(columns))
		for i := range row {
			line[i] = row[i].String
		}
		out = append(out, line)
	}
	return out, rows.Err()
}

func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

func taken(ts *testscript.TestScript, name string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv(name, l.Addr().String())
}

func (w *world) mailsink(ts *testscript.TestScript) {
	w.sink = mailsink.Start(w.t, mailsink.Options{})
	ca := ts.MkAbs("ca.pem")
	ts.Check(os.WriteFile(ca, w.sink.PEM, 0o600))
	ts.Setenv("SSL_CERT_FILE", ca)
	ts.Setenv("SMTP", net.JoinHostPort(w.sink.Host, strconv.Itoa(w.sink.Port)))
}

func (w *world) mails(ts *testscript.TestScript, number string) {
	n, err := strconv.Atoi(number)
	ts.Check(err)
	for end := time.Now().Add(10 * time.Second); len(w.sink.Messages()) < n && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	all := w.sink.Messages()
	if len(all) != n {
		ts.Fatalf("%d mails have come, want %d", len(all), n)
	}
	if n == 0 {
		return
	}
	m := all[n-1]
	fmt.Fprintf(ts.Stdout(), "recipients: %s\nencrypted: %v\n", strings.Join(m.Recipients, " "), m.Encrypted)
	for _, name := range []string{"From", "To", "Subject", "Auto-Submitted", "Message-Id"} {
		text, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get(name))
		ts.Check(err)
		fmt.Fprintf(ts.Stdout(), "%s: %s\n", name, text)
	}
	fmt.Fprintf(ts.Stdout(), "\n%s", m.Text(w.t))
}

func certificate(ts *testscript.TestScript, certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "propusk test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		ts.Check(os.WriteFile(ts.MkAbs(file), pem.EncodeToMemory(block), 0o600))
	}
}

func tlsWord(ts *testscript.TestScript, neg bool, args []string) {
	version := map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[args[0]]
	u, err := url.Parse(args[1])
	ts.Check(err)
	// Whose certificate it is does not matter here; that is for "http -ca".
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}} //nolint:gosec // see above
	c, err := d.DialContext(worldOf(ts).t.Context(), "tcp", u.Host)
	if err == nil {
		_ = c.Close()
	}
	switch {
	case neg && err == nil:
		ts.Fatalf("a handshake of TLS %s succeeded", args[0])
	case neg && !regexp.MustCompile("protocol version").MatchString(err.Error()):
		ts.Fatalf("refused, but not for its version: %v", err)
	case !neg:
		ts.Check(err)
	}
}

func sameDocument(ts *testscript.TestScript, _ bool, args []string) {
	var docs [2]map[string]any
	for i := range docs {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[i])), &docs[i]))
		if docs[i]["openapi"] == nil || docs[i]["paths"] == nil {
			ts.Fatalf("%s is no OpenAPI document", args[i])
		}
		delete(docs[i], "servers")
		if info, _ := docs[i]["info"].(map[string]any); info != nil {
			delete(info, "version")
		}
	}
	if !reflect.DeepEqual(docs[0], docs[1]) {
		ts.Fatalf("%s and %s differ", args[0], args[1])
	}
}
