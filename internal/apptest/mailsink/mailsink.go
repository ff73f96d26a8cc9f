// Package mailsink is a mail server for tests: it keeps what it is sent, and
// misbehaves as it is told.
package mailsink

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Mode is how the server behaves.
type Mode int

// The modes.
const (
	Accept        Mode = iota
	Hang               // takes connections and says nothing
	HangAfterData      // takes the mail, does not keep it, and says nothing
	DropAfterData      // takes the mail, keeps it, and hangs up instead of saying so
	LoseAfterData      // takes the mail, does not keep it, and hangs up
	Refuse             // answers with Options.Answer, or what SetAnswer said
)

// Stage is when it refuses.
type Stage int

// The stages.
const (
	AtRcpt Stage = iota
	AtMail
	AtData // after the mail itself
)

// Options say what the server offers.
type Options struct {
	NoTLS          bool // no STARTTLS
	Implicit       bool // TLS from the first byte
	User, Password string
	NoUTF8         bool
}

// Message is a mail as it came.
type Message struct {
	*mail.Message
	From       string
	Recipients []string
	Raw        []byte
	Encrypted  bool
	User       string // who logged in
	At         time.Time
}

// Sink is a running server.
type Sink struct {
	Host  string
	Port  int
	Roots *x509.CertPool // who trusts these trusts the server
	PEM   []byte         // the same, as a file

	o    Options
	t    testing.TB
	cert tls.Certificate

	mu          sync.Mutex
	listener    net.Listener
	server      *smtp.Server
	mode        Mode
	stage       Stage
	code        int
	enhanced    smtp.EnhancedCode
	for1        func(to string) bool
	messages    []Message
	connections int
	held        []net.Conn
}

// Start runs a server until the test ends.
func Start(t testing.TB, o Options) *Sink {
	t.Helper()
	s := &Sink{o: o, t: t, Host: "127.0.0.1"}
	s.certificate()
	s.Up()
	t.Cleanup(s.Down)
	return s
}

// Up makes the server take connections, at the same address as before.
func (s *Sink) Up() {
	s.t.Helper()
	address := net.JoinHostPort(s.Host, "0")
	if s.Port != 0 {
		address = (&net.TCPAddr{IP: net.ParseIP(s.Host), Port: s.Port}).String()
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		s.t.Fatalf("mail sink: %v", err)
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	server := smtp.NewServer(smtp.BackendFunc(s.session))
	server.Domain = "sink.example"
	server.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableSMTPUTF8 = !s.o.NoUTF8
	server.AllowInsecureAuth = true
	server.MaxMessageBytes = 1 << 20
	if !s.o.NoTLS {
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS12}
	}
	s.mu.Lock()
	s.listener, s.server = l, server
	s.mu.Unlock()
	var in net.Listener = &listener{Listener: l, sink: s}
	if s.o.Implicit {
		in = tls.NewListener(in, server.TLSConfig)
	}
	go func() { _ = server.Serve(in) }() // its end is Down's
}

// Down makes the server refuse connections, and cuts those that there are.
func (s *Sink) Down() {
	s.mu.Lock()
	l, server, held := s.listener, s.server, s.held
	s.listener, s.server, s.held = nil, nil, nil
	s.mu.Unlock()
	if server != nil {
		_ = l.Close()
		_ = server.Close()
	}
	for _, c := range held {
		_ = c.Close()
	}
}

// Set makes the server behave in another way from now on.
func (s *Sink) Set(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode, s.for1 = m, nil
}

// Answer makes it refuse with a code at a stage, whom f says; nil is everyone.
func (s *Sink) Answer(stage Stage, code int, enhanced [3]int, f func(to string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode, s.stage, s.code, s.enhanced, s.for1 = Refuse, stage, code, smtp.EnhancedCode(enhanced), f
}

// Messages is what it has kept, in the order in which it came.
func (s *Sink) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Connections is how many there have been.
func (s *Sink) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections
}

func (s *Sink) is(m Mode) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mode == m
}

// listener holds connections back while the server hangs.
type listener struct {
	net.Listener
	sink *Sink
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.sink.mu.Lock()
		l.sink.connections++
		hang := l.sink.mode == Hang
		if hang {
			l.sink.held = append(l.sink.held, c)
		}
		l.sink.mu.Unlock()
		if !hang {
			return c, nil
		}
	}
}

func (s *Sink) session(c *smtp.Conn) (smtp.Session, error) {
	return &session{sink: s, conn: c}, nil
}

type session struct {
	sink *Sink
	conn *smtp.Conn
	m    Message
	user string
}

func (s *session) AuthMechanisms() []string {
	if s.sink.o.User == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != s.sink.o.User || password != s.sink.o.Password {
			return smtp.ErrAuthFailed
		}
		s.user = user
		return nil
	}), nil
}

func (s *session) Reset()        { s.m = Message{} }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.sink.o.User != "" && s.user == "" {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "log in first"}
	}
	s.m = Message{From: from}
	return s.refuse(AtMail, "")
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.m.Recipients = append(s.m.Recipients, to)
	return s.refuse(AtRcpt, to)
}

func (s *session) refuse(stage Stage, to string) error {
	k := s.sink
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mode != Refuse || k.stage != stage || k.for1 != nil && !k.for1(to) {
		return nil
	}
	// The words hold the address, as those of real servers do.
	return &smtp.SMTPError{Code: k.code, EnhancedCode: k.enhanced, Message: "<" + to + "> is refused"}
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	k := s.sink
	if k.is(HangAfterData) {
		k.mu.Lock()
		k.held = append(k.held, s.conn.Conn())
		k.mu.Unlock()
		<-gone(s.conn.Conn())
		return errors.New("nobody is there")
	}
	if err := s.refuse(AtData, s.m.Recipients[0]); err != nil {
		return err
	}
	if k.is(LoseAfterData) {
		_ = s.conn.Conn().Close()
		return nil
	}
	m := s.m
	m.Raw, m.User, m.At = raw, s.user, time.Now() //nolint:forbidigo // the sink's own clock is the world's
	_, m.Encrypted = s.conn.TLSConnectionState()
	if m.Message, err = mail.ReadMessage(bytes.NewReader(raw)); err != nil {
		k.t.Errorf("mail sink: %v in %q", err, raw)
		return err
	}
	k.mu.Lock()
	k.messages = append(k.messages, m)
	drop := k.mode == DropAfterData
	k.mu.Unlock()
	if drop {
		_ = s.conn.Conn().Close()
	}
	return nil
}

// gone is closed when the other side has hung up.
func gone(c net.Conn) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, c) // until there is nobody
	}()
	return done
}

// Text is the plain part of a mail.
func (m Message) Text(t testing.TB) string {
	t.Helper()
	body, encoding := io.Reader(bytes.NewReader(m.body())), m.Header.Get("Content-Transfer-Encoding")
	if _, params, _ := mime.ParseMediaType(m.Header.Get("Content-Type")); params["boundary"] != "" {
		p, err := multipart.NewReader(body, params["boundary"]).NextRawPart()
		if err != nil {
			t.Fatalf("mail sink: %v", err)
		}
		body, encoding = p, p.Header.Get("Content-Transfer-Encoding")
	}
	if encoding == "quoted-printable" {
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("mail sink: %v", err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// body can be read again and again.
func (m Message) body() []byte {
	_, body, _ := bytes.Cut(m.Raw, []byte("\r\n\r\n"))
	return body
}

// certificate makes one for 127.0.0.1 and localhost that nobody trusts but who
// is told to.
func (s *Sink) certificate() {
	s.t.Helper()
	check := func(err error) {
		if err != nil {
			s.t.Fatalf("mail sink: %v", err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail sink"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	parsed, err := x509.ParseCertificate(der)
	check(err)
	s.Roots = x509.NewCertPool()
	s.Roots.AddCert(parsed)
	s.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
