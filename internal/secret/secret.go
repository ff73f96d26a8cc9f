// Package secret is the cryptography in use: types that refuse to print, random
// tokens, password hashing in a bounded pool, the list of common passwords, and
// keys under a master key outside the database. It stores nothing and knows no
// rule.
package secret

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Text is a password or a token. It prints as "[redacted]" wherever it is
// printed, logged or marshalled; Reveal is the only way out.
//
// What cannot call its methods, such as fmt for a Text in an unexported field,
// prints the pointer.
type Text struct{ s *string }

// NewText wraps s.
func NewText(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{&s}
}

// Reveal gives the text itself.
func (t Text) Reveal() string {
	if t.s == nil {
		return ""
	}
	return *t.s
}

// Empty tells whether there is no text.
func (t Text) Empty() bool { return t.s == nil }

// String redacts.
func (Text) String() string { return redacted }

// Format redacts under every verb; String alone would leave out %d and others.
func (Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue redacts.
func (Text) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText redacts; encoding/json and its kin use it.
func (Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes the text from the wire.
func (t *Text) UnmarshalText(b []byte) error {
	*t = NewText(string(b))
	return nil
}

// Hash is the SHA-256 of a token: what is stored, and looked up, in its place.
type Hash [sha256.Size]byte

// HashOf hashes a token. A token has at least 122 random bits, so a fast hash
// without salt is enough: there is nothing to guess.
func HashOf(token string) Hash { return sha256.Sum256([]byte(token)) }

// NewSessionToken makes a session token in the form of the API's seed: a random
// version 4 UUID (RFC 9562, section 5.4), 122 bits from crypto/rand.
func NewSessionToken() Text { return NewText(NewID()) }

// NewToken makes any other secret: 256 bits, base64url, 43 characters.
func NewToken() Text {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return NewText(base64.RawURLEncoding.EncodeToString(b[:]))
}

// NewID makes a random version 4 UUID in canonical form.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return formatUUID(b)
}

func formatUUID(b [16]byte) string {
	var s [36]byte
	hex.Encode(s[0:8], b[0:4])
	s[8] = '-'
	hex.Encode(s[9:13], b[4:6])
	s[13] = '-'
	hex.Encode(s[14:18], b[6:8])
	s[18] = '-'
	hex.Encode(s[19:23], b[8:10])
	s[23] = '-'
	hex.Encode(s[24:36], b[10:16])
	return string(s[:])
}

// NewOrderedID makes a version 7 UUID (RFC 9562, section 5.7) of the instant ms,
// in milliseconds since 1970: ids of later milliseconds sort later.
func NewOrderedID(ms int64) string {
	var b [16]byte
	_, _ = rand.Read(b[6:]) // never fails: crypto/rand ends the program instead
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i)) //nolint:gosec // taking the bytes of it is the point
	}
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	return formatUUID(b)
}

// IsCanonicalUUID tells whether s is a UUID in its canonical form: 36 characters,
// lower case, hyphens in place. Other spellings of the same UUID are refused:
// what is compared by hash must have one spelling.
func IsCanonicalUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}
