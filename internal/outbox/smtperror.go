package outbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"strings"
	"syscall"

	gomail "github.com/wneessen/go-mail"
)

// errStale is of a connection that was kept and is no more.
var errStale = &SendError{Class: "connection closed", Down: true}

// classifyDial: whatever keeps us from talking to the server keeps all mail back.
// A refusal for good is none here: a wrong password, or an expired certificate,
// is put right, and then the mail shall leave.
func classifyDial(ctx context.Context, err error) *SendError {
	var refused *textproto.Error
	switch {
	case errors.As(err, &refused) && strings.Contains(err.Error(), "AUTH"):
		return &SendError{Class: fmt.Sprintf("login refused, smtp %d", refused.Code), Down: true}
	case errors.As(err, &refused):
		return &SendError{Class: fmt.Sprintf("smtp %d", refused.Code), Down: true}
	case strings.Contains(err.Error(), "does not support STARTTLS"):
		return &SendError{Class: "the server offers no STARTTLS", Down: true}
	case errors.Is(err, gomail.ErrNoSupportedAuthDiscovered), strings.Contains(err.Error(), "does not support SMTP AUTH"):
		return &SendError{Class: "the server offers no login that we know", Down: true}
	}
	return &SendError{Class: networkClass(ctx, err), Down: true}
}

// classifySend reads a refusal of one mail, and tells whether the server gave it
// an answer at all: only then is the connection still good.
func classifySend(ctx context.Context, err error) (why *SendError, answered bool) {
	var s *gomail.SendError
	if !errors.As(err, &s) {
		return &SendError{Class: networkClass(ctx, err)}, false
	}
	if s.Reason == gomail.ErrConnCheck {
		if ctx.Err() != nil {
			return &SendError{Class: networkClass(ctx, err), Down: true}, false
		}
		return errStale, false
	}
	code := s.ErrorCode()
	if code == 0 {
		return &SendError{Class: networkClass(ctx, err)}, false
	}
	why = &SendError{Class: strings.TrimSpace(fmt.Sprintf("smtp %d %s", code, s.EnhancedStatusCode()))}
	switch {
	case code == 421, // the server is leaving
		code == 530, code == 534, code == 535, code == 538, // it wants another login
		s.Reason == gomail.ErrSMTPMailFrom: // it has not even been told of the recipient
		why.Down = true
	default:
		why.Permanent = code >= 500
	}
	return why, code != 421
}

// networkClass names what happened on the way, without names or addresses.
func networkClass(ctx context.Context, err error) string {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return "timeout"
	case errors.As(err, &dns):
		return "no such host"
	case errors.As(err, &cert):
		return "certificate refused"
	case errors.As(err, &alert), errors.As(err, &record):
		return "no TLS"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "connection closed"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	}
	// The library gives the words of what happened, and keeps the error itself.
	for words, class := range map[string]string{
		"i/o timeout": "timeout", "EOF": "connection closed", "reset by peer": "connection closed", "broken pipe": "connection closed",
	} {
		if strings.Contains(err.Error(), words) {
			return class
		}
	}
	return "connection failed"
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
