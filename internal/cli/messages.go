package cli

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"propusk/internal/config"
	"propusk/internal/outbox"
)

// messenger delivers what is queued.
type messenger struct {
	*outbox.Outbox
	inbox   *outbox.Inbox // of a throwaway instance, whose messages go no farther
	closers []io.Closer   // connections that are kept for a moment
}

// newMessenger builds it, with the senders that are configured.
func newMessenger(cfg config.Config, in *instance, log *slog.Logger) (*messenger, error) {
	name, public := serviceName(cfg)
	words, err := outbox.LoadTemplates(cfg.Templates, name, public)
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	m := &messenger{}
	o := outbox.Options{
		DB: in.db, Keys: in.keys, Now: in.clock, Log: log, Render: words.Render, Grace: cfg.ShutdownTimeout,
		OnSent: in.service.MessageSent,
		Limits: outbox.Limits{
			MailPerMinute: cfg.MailPerMinute, MailPerRecipient: cfg.MailPerRecipient, SMSPerHour: cfg.SMSPerHour, SMSPerNumber: cfg.SMSPerNumber,
		},
	}
	if !cfg.SMTP.IsZero() {
		smtp, err := newSMTP(cfg)
		if err != nil {
			return nil, err
		}
		o.Mail, m.closers = smtp, append(m.closers, smtp)
	}
	if !cfg.SMS.IsZero() {
		o.SMS = outbox.NewHTTPSMS(outbox.SMSOptions{
			URL: unbraced(cfg.SMS.Reveal().String()), Method: cfg.SMSMethod, Headers: cfg.SMSHeaders.Reveal(), Body: smsBody(cfg),
			Success: cfg.SMSSuccess, Countries: cfg.SMSCountries,
		})
	}
	if cfg.Mode == config.Dev {
		m.inbox = outbox.NewInbox()
		o.Mail, o.SMS = m.inbox, m.inbox
	}
	m.Outbox = outbox.New(o)
	in.wake = m.Wake
	return m, nil
}

// Run delivers until ctx ends, and then closes what was kept open.
func (m *messenger) Run(ctx context.Context) {
	m.Outbox.Run(ctx)
	for _, c := range m.closers {
		_ = c.Close() // nothing is under way on it
	}
}

// serviceName is what messages call the service: the host of its public URL.
func serviceName(cfg config.Config) (name, public string) {
	if cfg.PublicURL == nil {
		return "Propusk", ""
	}
	name = cfg.PublicURL.Hostname()
	if cfg.Mode == config.Dev && loopback(name) {
		name = "Propusk dev"
	}
	return name, cfg.PublicURL.String()
}

func newSMTP(cfg config.Config) (*outbox.SMTP, error) {
	u := cfg.SMTP.Reveal()
	_, domain, _ := strings.Cut(cfg.MailFrom.Address, "@")
	o := outbox.SMTPOptions{Host: u.Hostname(), From: cfg.MailFrom, Hello: domain, Username: u.User.Username()}
	if name, _ := serviceName(cfg); strings.Contains(name, ".") && net.ParseIP(name) == nil { // RFC 5321, section 4.1.4
		o.Hello = name
	}
	o.Password, _ = u.User.Password()
	port := "587" // RFC 6409; with TLS from the first byte RFC 8314
	switch {
	case u.Scheme == "smtps":
		o.Encryption, port = outbox.ImplicitTLS, "465"
	case cfg.SMTPTLS == config.TLSOpportunistic:
		o.Encryption = outbox.Opportunistic
	case cfg.SMTPTLS == config.TLSNone:
		o.Encryption = outbox.Plain
	default:
		o.Encryption = outbox.StartTLS
	}
	var err error
	if o.Port, err = strconv.Atoi(cmp.Or(u.Port(), port)); err != nil {
		return nil, fmt.Errorf("smtp-url: %w", err)
	}
	if cfg.DKIMKeyFile != "" {
		key, err := dkimKey(cfg.DKIMKeyFile)
		if err != nil {
			return nil, fmt.Errorf("dkim-key-file: %w", err)
		}
		o.DKIM = &outbox.DKIM{Domain: cfg.DKIMDomain, Selector: cfg.DKIMSelector, Key: key}
	}
	return outbox.NewSMTP(o)
}

// dkimKey reads a private key in PKCS #8 or, for RSA, PKCS #1.
func dkimKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator's own setting names the file
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("holds no private key in PEM")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	default:
		return nil, errors.New("is neither an RSA nor an Ed25519 key")
	}
}

// unbraced gives the placeholders in a URL back their braces, which its parser
// has escaped in the path.
func unbraced(address string) string {
	return strings.NewReplacer("%7B", "{", "%7D", "}").Replace(address)
}

// smsBody: a GET has none.
func smsBody(cfg config.Config) string {
	if cfg.SMSMethod == "GET" {
		return ""
	}
	return cfg.SMSBody.Reveal()
}

// warnOfMessages says at the start what will not leave, or not in secret.
func warnOfMessages(ctx context.Context, log *slog.Logger, cfg config.Config) {
	if cfg.SMTP.IsZero() {
		log.InfoContext(ctx, "mail waits in the outbox: --smtp-url is not set")
	}
	if cfg.SMS.IsZero() {
		log.InfoContext(ctx, "text messages wait in the outbox: --sms-url is not set")
	}
	if !cfg.SMTP.IsZero() && cfg.SMTPTLS != config.TLSRequired && cfg.SMTP.Reveal().Scheme == "smtp" && !loopback(cfg.SMTP.Reveal().Hostname()) {
		log.WarnContext(ctx, "mail with codes and links may go to the mail server without encryption", slog.String("tls", string(cfg.SMTPTLS)))
	}
	if !cfg.SMTP.IsZero() && cfg.PublicURL == nil {
		log.WarnContext(ctx, "mail has codes and no links: --public-url is not set")
	}
}
