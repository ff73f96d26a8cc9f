package outbox

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
	"golang.org/x/net/idna"
)

const (
	dialWithin = 10 * time.Second
	// idleFor is for how long a connection is kept for the next mail, and perConn
	// how many one carries: servers have limits of their own.
	idleFor    = 10 * time.Second
	perConn    = 100
	quitWithin = time.Second
)

// Encryption is what a connection to a mail server must have.
type Encryption string

// The kinds of it. Certificates are verified wherever there is any.
const (
	StartTLS      Encryption = "starttls"      // or else nothing is sent
	ImplicitTLS   Encryption = "tls"           // from the first byte
	Opportunistic Encryption = "opportunistic" // STARTTLS where the server offers it
	Plain         Encryption = "none"
)

// SMTPOptions say by which server mail leaves. Every field is needed unless its
// comment says otherwise.
type SMTPOptions struct {
	Host               string
	Port               int
	Encryption         Encryption
	Username, Password string // may be empty
	From               *netmail.Address
	Hello              string         // the name by which the service greets the server
	DKIM               *DKIM          // may be nil
	Roots              *x509.CertPool // whom to trust; nil: whom the system trusts
}

// DKIM is what mail is signed with (RFC 6376).
type DKIM struct {
	Domain, Selector string
	Key              crypto.Signer // RSA or Ed25519
}

// SMTP sends mail through a server. It keeps a few connections for a moment.
type SMTP struct {
	o      SMTPOptions
	domain string // of the sender, in ASCII

	mu   sync.Mutex
	idle []*smtpConn
}

// NewSMTP connects to nothing yet.
func NewSMTP(o SMTPOptions) (*SMTP, error) {
	from, err := asciiAddress(o.From.Address)
	if err != nil {
		return nil, fmt.Errorf("sender of mail: %w", err)
	}
	_, domain, _ := strings.Cut(from, "@")
	o.From = &netmail.Address{Name: o.From.Name, Address: from}
	return &SMTP{o: o, domain: domain}, nil
}

// smtpConn is one connection. Its client is its own, since it remembers things
// about the server.
type smtpConn struct {
	client *gomail.Client
	smtp   *smtp.Client
	raw    net.Conn
	sent   int
	close  *time.Timer
}

// Send implements [Sender].
func (s *SMTP) Send(ctx context.Context, e Envelope) error {
	m, err := s.message(e)
	if err != nil {
		return &SendError{Class: "address or text unfit for mail", Permanent: true}
	}
	if c := s.take(); c != nil {
		// It may have been closed by the other side meanwhile: that is no failure.
		if err := s.sendOn(ctx, c, m); !errors.Is(err, errStale) {
			return err
		}
	}
	c, err := s.dial(ctx)
	if err != nil {
		return classifyDial(ctx, err)
	}
	return s.sendOn(ctx, c, m)
}

// message makes the mail. It has one recipient, whatever stands in the address.
func (s *SMTP) message(e Envelope) (*gomail.Msg, error) {
	to, err := asciiAddress(e.To)
	if err != nil {
		return nil, err
	}
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(s.o.From)
	m.ToMailAddress(&netmail.Address{Address: to})
	m.SetMessageIDWithValue(e.ID + "@" + s.domain) // the same at each attempt: who gets it twice can tell
	m.SetDateWithValue(e.CreatedAt)
	m.Subject(oneLine(e.Subject))
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody shall answer by himself
	m.SetGenHeader("X-Auto-Response-Suppress", "All")  // the same for Exchange
	if e.Lang != "" {
		m.SetGenHeader(gomail.HeaderContentLang, oneLine(e.Lang))
	}
	m.SetBodyString(gomail.TypeTextPlain, e.Text)
	if e.HTML != "" {
		m.AddAlternativeString(gomail.TypeTextHTML, e.HTML)
	}
	if s.o.DKIM != nil {
		m.SetDKIM(gomail.NewDKIMSigner(s.o.DKIM.Domain, s.o.DKIM.Selector, s.o.DKIM.Key))
	}
	return m, nil
}

// oneLine keeps a header from becoming two.
func oneLine(s string) string { return strings.Join(strings.FieldsFunc(s, isControl), " ") }

func isControl(r rune) bool { return r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 }

// asciiAddress gives an address as it is dialled, with its domain in Punycode. It
// refuses what could be read as anything but one bare address: the rules have
// done so before, and a hole there shall not send a link to somebody else.
func asciiAddress(s string) (string, error) {
	errUnfit := errors.New("not one bare address")
	if strings.ContainsAny(s, " ,;:<>()[]\\\"") || strings.ContainsFunc(s, isControl) || strings.Count(s, "@") != 1 {
		return "", errUnfit
	}
	local, domain, _ := strings.Cut(s, "@")
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil || local == "" || ascii == "" {
		return "", errUnfit
	}
	a, err := netmail.ParseAddress(local + "@" + ascii)
	if err != nil || a.Name != "" || a.Address != local+"@"+ascii {
		return "", errUnfit
	}
	return a.Address, nil
}

// take gives a connection that is idle, the one that was used last.
func (s *SMTP) take() *smtpConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := len(s.idle); n > 0; n = len(s.idle) {
		c := s.idle[n-1]
		s.idle = s.idle[:n-1]
		if c.close.Stop() {
			return c
		}
	}
	return nil
}

// keep makes a connection idle for a moment.
func (s *SMTP) keep(c *smtpConn) {
	if c.sent >= perConn {
		c.quit()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.close = time.AfterFunc(idleFor, c.quit)
	s.idle = append(s.idle, c)
}

// quit ends a connection politely.
func (c *smtpConn) quit() {
	_ = c.smtp.UpdateDeadline(quitWithin)
	_ = c.smtp.Quit() // what it was for is done
	_ = c.raw.Close()
}

// Close ends the connections that are idle.
func (s *SMTP) Close() error {
	for c := s.take(); c != nil; c = s.take() {
		c.quit()
	}
	return nil
}

// sendOn sends m, and keeps the connection if it is still good.
func (s *SMTP) sendOn(ctx context.Context, c *smtpConn, m *gomail.Msg) error {
	stop := context.AfterFunc(ctx, func() { _ = c.raw.Close() })
	defer stop()
	ascii := !strings.ContainsFunc(m.GetToString()[0], func(r rune) bool { return r > 0x7e })
	if ok, _ := c.smtp.Extension("SMTPUTF8"); !ascii && !ok {
		s.keep(c)
		return &SendError{Class: "the server takes no address beyond ASCII", Permanent: true}
	}
	c.smtp.SkipSMTPUTF8(ascii) // who asks for it needlessly is refused further on, by servers without it
	err := c.client.SendWithSMTPClient(c.smtp, m)
	c.sent++
	if m.IsDelivered() { // what failed afterwards, such as RSET, is the connection's
		if err == nil {
			s.keep(c)
		} else {
			_ = c.raw.Close()
		}
		return nil
	}
	if err == nil {
		err = errors.New("not delivered, and no error")
	}
	why, answered := classifySend(ctx, err)
	if answered && c.sent < perConn {
		s.keep(c)
	} else {
		_ = c.raw.Close()
	}
	return why
}

// dial connects, encrypts and authenticates.
func (s *SMTP) dial(ctx context.Context) (*smtpConn, error) {
	c := &smtpConn{}
	stop := func() bool { return true }
	conf := &tls.Config{ServerName: s.o.Host, RootCAs: s.o.Roots, MinVersion: tls.VersionTLS12}
	connect := func(within context.Context, network, address string) (_ net.Conn, err error) {
		d := net.Dialer{Timeout: dialWithin}
		if c.raw, err = d.DialContext(within, network, address); err != nil {
			return nil, err
		}
		stop = context.AfterFunc(ctx, func() { _ = c.raw.Close() }) // the library waits for a server without looking at ctx
		if s.o.Encryption != ImplicitTLS {
			return c.raw, nil
		}
		secured := tls.Client(c.raw, conf)
		return secured, secured.HandshakeContext(within)
	}
	options := []gomail.Option{
		gomail.WithPort(s.o.Port), gomail.WithTLSConfig(conf), gomail.WithTLSPolicy(s.policy()), gomail.WithDialContextFunc(connect),
		gomail.WithTimeout(sendWithin), gomail.WithHELO(s.o.Hello),
	}
	if s.o.Username != "" {
		options = append(options, gomail.WithUsername(s.o.Username), gomail.WithPassword(s.o.Password), gomail.WithOpportunisticSMTPAuth(
			gomail.SMTPAuthPlain, gomail.SMTPAuthLogin, gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthCramMD5))
	}
	var err error
	if c.client, err = gomail.NewClient(s.o.Host, options...); err != nil {
		return nil, err
	}
	c.smtp, err = c.client.DialToSMTPClientWithContext(ctx)
	stop()
	if err != nil && c.raw != nil {
		_ = c.raw.Close()
	}
	return c, err
}

// policy is about STARTTLS only: with implicit TLS there is none.
func (s *SMTP) policy() gomail.TLSPolicy {
	switch s.o.Encryption {
	case StartTLS:
		return gomail.TLSMandatory
	case Opportunistic:
		return gomail.TLSOpportunistic
	case ImplicitTLS, Plain:
	}
	return gomail.NoTLS
}
