package outbox_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	netmail "net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"propusk/internal/db"
	"propusk/internal/outbox"
)

// Exim, as anybody may run it: mail for example.com goes into a folder, all other
// is refused, and only who has logged in through TLS may send at all.
const eximConfig = `
exim_user = %[2]d
exim_group = %[3]d
admin_groups = %[3]d
trusted_groups = %[3]d
keep_environment =
primary_hostname = mx.example
spool_directory = %[1]s/spool
log_file_path = %[1]s/%%s.log
pid_file_path = %[1]s/pid
daemon_smtp_ports = %[4]d
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts = *
tls_certificate = %[1]s/cert.pem
tls_privatekey = %[1]s/key.pem
auth_advertise_hosts = ${if eq{$tls_in_cipher}{}{}{*}}
acl_smtp_mail = mail
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
begin acl
mail:
  require message = log in first
          authenticated = *
  accept
rcpt:
  defer message = later
        local_parts = busy
  accept domains = example.com
  deny message = relay not permitted
begin routers
box:
  driver = accept
  domains = example.com
  transport = folder
begin transports
folder:
  driver = appendfile
  directory = %[1]s/mail
  maildir_format
  create_directory
  user = %[2]d
  group = %[3]d
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{propusk}}{eq{$auth3}{pass:word}}}}
  server_set_id = $auth2
`

// exim is a running server.
type exim struct {
	dir   string
	port  int
	roots *x509.CertPool
}

func startExim(t *testing.T) *exim {
	t.Helper()
	path, err := exec.LookPath("exim4")
	if err != nil {
		path = "/usr/sbin/exim4" // where Debian keeps it, outside of PATH
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal("no mail server for the tests: scripts/test-deps.sh installs Debian's package exim4-daemon-light")
	}
	// Not t.TempDir, which only we can enter.
	dir, err := os.MkdirTemp("", "propusk-exim-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	e := &exim{dir: dir}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 { // as which it would look for another user to be
		uid, gid = 65534, 65534
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	files := e.certificate(t)
	files["exim.conf"] = fmt.Appendf(nil, eximConfig, e.dir, uid, gid, e.port)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(e.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), path, "-C", filepath.Join(e.dir, "exim.conf"), "-bdf")
	log, err := os.Create(filepath.Join(e.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // the server has its own
	cmd.Stderr = log  // where it logs when it is not root
	if os.Getuid() == 0 {
		for _, name := range append(slices.Sorted(mapKeys(files)), "") {
			if err := os.Chown(filepath.Join(e.dir, name), uid, gid); err != nil {
				t.Fatal(err)
			}
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: []uint32{uint32(gid)}}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		time.Sleep(100 * time.Millisecond)
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(e.port)))
		if err == nil {
			_ = c.Close()
			return e
		}
		if time.Now().After(end) {
			t.Fatalf("exim does not listen: %v\n%s", err, e.log())
		}
	}
}

func mapKeys(m map[string][]byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (e *exim) certificate(t *testing.T) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "exim"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	e.roots = x509.NewCertPool()
	e.roots.AppendCertsFromPEM(cert)
	return map[string][]byte{"cert.pem": cert, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})}
}

func (e *exim) log() string {
	text, _ := os.ReadFile(filepath.Join(e.dir, "log")) // it is there
	return string(text)
}

// mails waits until there are so many in the folder.
func (e *exim) mails(t *testing.T, n int) (out []*netmail.Message) {
	t.Helper()
	var files []string
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		files, _ = filepath.Glob(filepath.Join(e.dir, "mail", "new", "*")) // its only error is a bad pattern
		if len(files) >= n {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d mails have come, want %d\n%s", len(files), n, e.log())
		}
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		m, err := netmail.ReadMessage(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// A mail server that others have written takes what we send, and what it refuses
// is understood.
func TestRealMailServerTakesTheMail(t *testing.T) {
	e := startExim(t)
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		before := len(e.mails(t, 0))
		smtp, err := outbox.NewSMTP(outbox.SMTPOptions{
			Host: "127.0.0.1", Port: e.port, Encryption: outbox.StartTLS, Roots: e.roots, Username: "propusk", Password: "pass:word",
			From: &netmail.Address{Name: "Пропуск", Address: "no-reply@id.example"}, Hello: "id.example",
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = smtp.Close() })
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = smtp })
		for i := range 5 {
			b.mail(fmt.Sprintf("u%d@example.com", i%3), i)
		}
		b.mail("anna@elsewhere.example", 6)
		b.mail("busy@example.com", 7)
		b.deliver(7)
		ids := map[string]bool{}
		for _, m := range e.mails(t, before+5) {
			ids[m.Header.Get("Message-Id")] = true
			if !strings.Contains(m.Header.Get("Content-Type"), "multipart/alternative") || m.Header.Get("Auto-Submitted") != "auto-generated" {
				t.Errorf("header %v", m.Header)
			}
		}
		if len(ids) != before+5 {
			t.Errorf("%d different mails", len(ids))
		}
		if log := e.log(); !strings.Contains(log, "P=esmtpsa X=TLS1.3") || strings.Contains(log, "SMTP protocol") {
			t.Errorf("the server's log:\n%s", log)
		}
		rows, err := outbox.List(t.Context(), d, b.clock.Now(), outbox.Filter{Limit: 10})
		if err != nil || len(rows) != 2 || rows[0].State != outbox.StateFailed || rows[0].LastError != "smtp 550" || rows[1].State != outbox.StateWaiting || rows[1].LastError != "smtp 451" {
			t.Errorf("left: %+v, %v", rows, err)
		}
	})
	wrong, err := outbox.NewSMTP(outbox.SMTPOptions{
		Host: "127.0.0.1", Port: e.port, Encryption: outbox.StartTLS, Roots: e.roots, Username: "propusk", Password: "guess",
		From: &netmail.Address{Address: "no-reply@id.example"}, Hello: "id.example",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	wantClass(t, wrong.Send(ctx, letter), outbox.SendError{Class: "login refused, smtp 535", Down: true})
}
