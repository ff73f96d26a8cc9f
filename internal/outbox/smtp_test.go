package outbox_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"propusk/internal/apptest/mailsink"
	"propusk/internal/db"
	"propusk/internal/outbox"
)

// mailer is a sender that trusts the sink.
func mailer(t *testing.T, s *mailsink.Sink, change ...func(*outbox.SMTPOptions)) *outbox.SMTP {
	t.Helper()
	o := outbox.SMTPOptions{
		Host: s.Host, Port: s.Port, Encryption: outbox.StartTLS, Roots: s.Roots,
		From: &netmail.Address{Name: "Пропуск", Address: "no-reply@id.example"}, Hello: "id.example",
	}
	for _, c := range change {
		c(&o)
	}
	m, err := outbox.NewSMTP(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

var letter = outbox.Envelope{
	ID: "01990000-0000-7000-8000-000000000001", To: "anna@example.com", Lang: "ru", Kind: outbox.VerifyEmail, CreatedAt: noon,
	Subject: "Код 123456", Text: "Ваш код: 123456\n.\nhttps://id.example/x?token=abc\n", HTML: "<p>Ваш код: <b>123456</b></p>",
}

func wantClass(t *testing.T, err error, want outbox.SendError) {
	t.Helper()
	var got *outbox.SendError
	if !errors.As(err, &got) || *got != want {
		t.Errorf("got %#v (%v), want %#v", got, err, want)
	}
}

// decoded is the text of one part of a mail.
func decoded(t *testing.T, r io.Reader, encoding string) string {
	t.Helper()
	if !strings.EqualFold(encoding, "quoted-printable") {
		t.Errorf("encoding %q", encoding)
	}
	b, err := io.ReadAll(quotedprintable.NewReader(r))
	if err != nil {
		t.Error(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

func TestMailHasTheFormThatMailHas(t *testing.T) {
	sink := mailsink.Start(t, mailsink.Options{User: "propusk", Password: "pass/word"})
	m := mailer(t, sink, func(o *outbox.SMTPOptions) { o.Username, o.Password = "propusk", "pass/word" })
	if err := m.Send(t.Context(), letter); err != nil {
		t.Fatal(err)
	}
	got := sink.Messages()[0]
	if !got.Encrypted || got.User != "propusk" || got.From != "no-reply@id.example" || !slices.Equal(got.Recipients, []string{"anna@example.com"}) {
		t.Errorf("encrypted %v, by %q, from %q to %q", got.Encrypted, got.User, got.From, got.Recipients)
	}
	var words mime.WordDecoder
	for header, want := range map[string]string{
		"Message-Id": "<01990000-0000-7000-8000-000000000001@id.example>", "Auto-Submitted": "auto-generated",
		"Date": "Wed, 06 May 2026 12:00:00 +0000", "To": "<anna@example.com>", "From": `Пропуск <no-reply@id.example>`,
		"Subject": "Код 123456", "Content-Language": "ru", "Mime-Version": "1.0", "User-Agent": "", "X-Mailer": "",
	} {
		text, err := words.DecodeHeader(got.Header.Get(header))
		if err != nil || text != want {
			t.Errorf("%s: %q, %v; want %q", header, text, err, want)
		}
	}
	kind, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("content type %q, %v", kind, err)
	}
	parts := multipart.NewReader(got.Body, params["boundary"])
	for _, want := range []struct{ kind, text string }{{"text/plain; charset=UTF-8", letter.Text}, {"text/html; charset=UTF-8", letter.HTML}} {
		p, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		if text := decoded(t, p, p.Header.Get("Content-Transfer-Encoding")); p.Header.Get("Content-Type") != want.kind || text != want.text {
			t.Errorf("%q: %q, want %q", p.Header.Get("Content-Type"), text, want.text)
		}
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Errorf("one part more: %v", err)
	}
}

// Whatever is in an address or subject, it goes to one recipient and adds no
// header (S-33, V12).
func TestNothingInAMailAddsARecipientOrAHeader(t *testing.T) {
	sink := mailsink.Start(t, mailsink.Options{})
	m := mailer(t, sink)
	for _, to := range []string{
		"a@evil.example,victim@example.com", "a@evil.example, victim@example.com", "a@evil.example;victim@example.com", "<a@evil.example>", "A <a@evil.example>",
		"a@evil.example\r\nBcc: victim@example.com", "a@evil.example\nRCPT TO:<victim@example.com>", "a@evil.example> <victim@example.com",
		"group: a@evil.example, victim@example.com;", `"a@evil.example,"@example.com`, "a(comment)@example.com", "a@b@example.com", "a\x00@example.com",
		"", "@", "a@", "@example.com", "a b@example.com", "a@exam ple.com", "a@[127.0.0.1]", "a@example.com\u2028x",
	} {
		e := letter
		e.To = to
		err := m.Send(t.Context(), e)
		var s *outbox.SendError
		if !errors.As(err, &s) || !s.Permanent {
			t.Errorf("%q: %v", to, err)
		}
	}
	if n := len(sink.Messages()); n != 0 {
		t.Fatalf("%d mails were sent, the first to %q", n, sink.Messages()[0].Recipients)
	}
	e := letter
	e.Subject = "x\r\nBcc: victim@example.com\r\n\r\nbody\u2028y"
	e.Lang = "en\r\nX-Evil: 1"
	e.Text = "x\r\n.\r\nMAIL FROM:<evil@example.com>\r\n"
	if err := m.Send(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	got := sink.Messages()
	if len(got) != 1 || len(got[0].Recipients) != 1 || got[0].Header.Get("Bcc") != "" || got[0].Header.Get("X-Evil") != "" {
		t.Errorf("%d mails, to %q, with %v", len(got), got[0].Recipients, got[0].Header)
	}
}

func TestAddressesBeyondASCII(t *testing.T) {
	sink := mailsink.Start(t, mailsink.Options{})
	m := mailer(t, sink)
	for _, to := range []string{"anna@почта.example", "анна@почта.example"} {
		e := letter
		e.To = to
		if err := m.Send(t.Context(), e); err != nil {
			t.Error(err)
		}
	}
	if got := sink.Messages(); got[0].Recipients[0] != "anna@xn--80a1acny.example" || got[1].Recipients[0] != "анна@xn--80a1acny.example" {
		t.Errorf("to %q, %q", got[0].Recipients, got[1].Recipients)
	}
	old := mailsink.Start(t, mailsink.Options{NoUTF8: true})
	e := letter
	e.To = "анна@example.com"
	wantClass(t, mailer(t, old).Send(t.Context(), e), outbox.SendError{Class: "the server takes no address beyond ASCII", Permanent: true})
}

func TestOneConnectionCarriesSeveralMails(t *testing.T) {
	sink := mailsink.Start(t, mailsink.Options{})
	m := mailer(t, sink)
	send := func() {
		t.Helper()
		if err := m.Send(t.Context(), letter); err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		send()
	}
	sink.Answer(mailsink.AtRcpt, 550, [3]int{5, 1, 1}, nil)
	wantClass(t, m.Send(t.Context(), letter), outbox.SendError{Class: "smtp 550 5.1.1", Permanent: true})
	sink.Set(mailsink.Accept)
	send()
	if n := sink.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	sink.Down()
	sink.Up()
	send() // the connection that was kept is dead, which is no failure
	if n, mails := sink.Connections(), len(sink.Messages()); n != 2 || mails != 5 {
		t.Errorf("%d connections, %d mails", n, mails)
	}
}

func TestServerIsVerified(t *testing.T) {
	for name, c := range map[string]struct {
		sink mailsink.Options
		mail func(*outbox.SMTPOptions)
		want *outbox.SendError
	}{
		"STARTTLS, unknown certificate": {mailsink.Options{}, func(o *outbox.SMTPOptions) { o.Roots = nil }, &outbox.SendError{Class: "certificate refused", Down: true}},
		"TLS, unknown certificate": {mailsink.Options{Implicit: true}, func(o *outbox.SMTPOptions) { o.Roots, o.Encryption = nil, outbox.ImplicitTLS },
			&outbox.SendError{Class: "certificate refused", Down: true}},
		"opportunistic, unknown certificate": {mailsink.Options{}, func(o *outbox.SMTPOptions) { o.Roots, o.Encryption = nil, outbox.Opportunistic },
			&outbox.SendError{Class: "certificate refused", Down: true}},
		"TLS":                      {mailsink.Options{Implicit: true}, func(o *outbox.SMTPOptions) { o.Encryption = outbox.ImplicitTLS }, nil},
		"no STARTTLS":              {mailsink.Options{NoTLS: true}, func(*outbox.SMTPOptions) {}, &outbox.SendError{Class: "the server offers no STARTTLS", Down: true}},
		"opportunistic, none":      {mailsink.Options{NoTLS: true}, func(o *outbox.SMTPOptions) { o.Encryption = outbox.Opportunistic }, nil},
		"plain":                    {mailsink.Options{}, func(o *outbox.SMTPOptions) { o.Encryption = outbox.Plain }, nil},
		"TLS to a server without":  {mailsink.Options{NoTLS: true}, func(o *outbox.SMTPOptions) { o.Encryption = outbox.ImplicitTLS }, &outbox.SendError{Class: "no TLS", Down: true}},
		"wrong password":           {mailsink.Options{User: "u", Password: "p"}, func(o *outbox.SMTPOptions) { o.Username, o.Password = "u", "q" }, &outbox.SendError{Class: "login refused, smtp 535", Down: true}},
		"right password":           {mailsink.Options{User: "u", Password: "p"}, func(o *outbox.SMTPOptions) { o.Username, o.Password = "u", "p" }, nil},
		"password, implicit TLS":   {mailsink.Options{User: "u", Password: "p", Implicit: true}, func(o *outbox.SMTPOptions) { o.Username, o.Password, o.Encryption = "u", "p", outbox.ImplicitTLS }, nil},
		"no password":              {mailsink.Options{User: "u", Password: "p"}, func(*outbox.SMTPOptions) {}, &outbox.SendError{Class: "smtp 530 5.7.0", Down: true}},
		"a server without a login": {mailsink.Options{}, func(o *outbox.SMTPOptions) { o.Username = "u" }, &outbox.SendError{Class: "the server offers no login that we know", Down: true}},
	} {
		t.Run(name, func(t *testing.T) {
			sink := mailsink.Start(t, c.sink)
			err := mailer(t, sink, c.mail).Send(t.Context(), letter)
			if c.want != nil {
				wantClass(t, err, *c.want)
			} else if err != nil {
				t.Error(err)
			}
			if want := c.want == nil; (len(sink.Messages()) == 1) != want {
				t.Errorf("%d mails", len(sink.Messages()))
			}
		})
	}
}

// What a server says may hold the address; what we keep of it does not.
func TestRefusalsAreClassified(t *testing.T) {
	sink := mailsink.Start(t, mailsink.Options{})
	for _, c := range []struct {
		stage    mailsink.Stage
		code     int
		enhanced [3]int
		want     outbox.SendError
	}{
		{mailsink.AtRcpt, 451, [3]int{4, 7, 1}, outbox.SendError{Class: "smtp 451 4.7.1"}},
		{mailsink.AtRcpt, 550, [3]int{5, 1, 1}, outbox.SendError{Class: "smtp 550 5.1.1", Permanent: true}},
		{mailsink.AtData, 452, [3]int{4, 2, 2}, outbox.SendError{Class: "smtp 452 4.2.2"}},
		{mailsink.AtData, 554, [3]int{5, 7, 1}, outbox.SendError{Class: "smtp 554 5.7.1", Permanent: true}},
		{mailsink.AtMail, 553, [3]int{5, 7, 1}, outbox.SendError{Class: "smtp 553 5.7.1", Down: true}},
		{mailsink.AtRcpt, 421, [3]int{4, 3, 2}, outbox.SendError{Class: "smtp 421 4.3.2", Down: true}},
	} {
		sink.Answer(c.stage, c.code, c.enhanced, nil)
		wantClass(t, mailer(t, sink).Send(t.Context(), letter), c.want)
	}
	sink.Set(mailsink.LoseAfterData)
	wantClass(t, mailer(t, sink).Send(t.Context(), letter), outbox.SendError{Class: "connection closed"})
	sink.Down()
	wantClass(t, mailer(t, sink).Send(t.Context(), letter), outbox.SendError{Class: "connection refused", Down: true})
	nowhere := mailer(t, sink, func(o *outbox.SMTPOptions) { o.Host = "mail.invalid" })
	wantClass(t, nowhere.Send(t.Context(), letter), outbox.SendError{Class: "no such host", Down: true})
}

// A server that says nothing takes no longer than we allow it, wherever it stops.
func TestServerThatHangsIsLeftInTime(t *testing.T) {
	for name, c := range map[string]struct {
		mode mailsink.Mode
		want outbox.SendError
	}{
		"at once":        {mailsink.Hang, outbox.SendError{Class: "timeout", Down: true}},
		"after the mail": {mailsink.HangAfterData, outbox.SendError{Class: "timeout"}},
	} {
		t.Run(name, func(t *testing.T) {
			sink := mailsink.Start(t, mailsink.Options{})
			sink.Set(c.mode)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			begun := time.Now()
			wantClass(t, mailer(t, sink).Send(ctx, letter), c.want)
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestMailIsSigned(t *testing.T) {
	sink := mailsink.Start(t, mailsink.Options{})
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := mailer(t, sink, func(o *outbox.SMTPOptions) {
		o.DKIM = &outbox.DKIM{Domain: "id.example", Selector: "s1", Key: private}
	})
	if err := m.Send(t.Context(), letter); err != nil {
		t.Fatal(err)
	}
	raw := sink.Messages()[0].Raw
	verifyDKIM(t, raw, public)
	if bytes.Count(raw, []byte("DKIM-Signature:")) != 1 {
		t.Error("not one signature")
	}
	if verifyDKIMError(bytes.Replace(raw, []byte("123456"), []byte("654321"), 1), public) == nil {
		t.Error("the signature holds for another text too")
	}
}

// F9: whatever the server does, each mail arrives once it is well again; only
// where it hung up after it had taken one, that one may come twice, with one and
// the same Message-ID.
func TestMailArrivesAfterTheServerRecovers(t *testing.T) {
	for name, c := range map[string]struct {
		ill   func(*mailsink.Sink)
		extra int
	}{
		"refuses connections":        {func(s *mailsink.Sink) { s.Down() }, 0},
		"hangs":                      {func(s *mailsink.Sink) { s.Set(mailsink.Hang) }, 0},
		"hangs after the mail":       {func(s *mailsink.Sink) { s.Set(mailsink.HangAfterData) }, 0},
		"451":                        {func(s *mailsink.Sink) { s.Answer(mailsink.AtRcpt, 451, [3]int{4, 7, 1}, nil) }, 0},
		"421":                        {func(s *mailsink.Sink) { s.Answer(mailsink.AtMail, 421, [3]int{4, 3, 2}, nil) }, 0},
		"loses the mail":             {func(s *mailsink.Sink) { s.Set(mailsink.LoseAfterData) }, 0},
		"hangs up after taking them": {func(s *mailsink.Sink) { s.Set(mailsink.DropAfterData) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, d *db.DB, _ string) {
				sink := mailsink.Start(t, mailsink.Options{})
				b := newBench(t, d, func(o *outbox.Options) {
					o.Mail, o.SendWithin, o.Lease = mailer(t, sink), 300*time.Millisecond, 10*time.Second
				})
				c.ill(sink)
				for i := range 6 {
					b.mail([]string{"a@example.com", "b@example.com", "c@example.com"}[i%3], i)
				}
				if n, err := b.Deliver(t.Context()); err != nil || n == 0 {
					t.Fatalf("%d attempts, %v", n, err)
				}
				taken := len(sink.Messages())
				sink.Set(mailsink.Accept)
				if name == "refuses connections" {
					sink.Up()
				}
				for range 5 {
					b.clock.move(time.Minute)
					if _, err := b.Deliver(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				times, order := map[string]int{}, map[string][]string{}
				for _, m := range sink.Messages() {
					id := m.Header.Get("Message-Id")
					if times[id]++; times[id] == 1 {
						order[m.Recipients[0]] = append(order[m.Recipients[0]], strings.TrimPrefix(m.Header.Get("Subject"), "About "))
					}
				}
				if len(times) != 6 || len(sink.Messages()) != 6+taken || taken > 3*c.extra {
					t.Errorf("%d mails of 6 arrived, %d times in all, %d of these while it was ill", len(times), len(sink.Messages()), taken)
				}
				for to, want := range map[string][]string{"a@example.com": {"0", "3"}, "b@example.com": {"1", "4"}, "c@example.com": {"2", "5"}} {
					if !slices.Equal(order[to], want) {
						t.Errorf("to %s came %q", to, order[to])
					}
				}
			})
		})
	}
}

// A 550 keeps one recipient's mail back and nobody else's.
func TestRefusedRecipientIsKeptAsFailed(t *testing.T) {
	engines(t, func(t *testing.T, d *db.DB, _ string) {
		sink := mailsink.Start(t, mailsink.Options{})
		b := newBench(t, d, func(o *outbox.Options) { o.Mail = mailer(t, sink) })
		sink.Answer(mailsink.AtRcpt, 550, [3]int{5, 1, 1}, func(to string) bool { return to == "gone@example.com" })
		b.mail("gone@example.com", 1)
		b.mail("a@example.com", 2)
		b.deliver(2)
		b.clock.move(time.Hour)
		b.deliver(0)
		var class string
		if err := d.QueryRow(t.Context(), `SELECT last_error FROM outbox WHERE failed_at IS NOT NULL`, nil, &class); err != nil || class != "smtp 550 5.1.1" {
			t.Errorf("%q, %v", class, err)
		}
		if n := len(sink.Messages()); n != 1 {
			t.Errorf("%d mails", n)
		}
	})
}
