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
	"time"
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

// IsToken tells whether s has the form of what [NewToken] makes.
func IsToken(s string) bool {
	var b [33]byte
	if len(s) != base64.RawURLEncoding.EncodedLen(32) {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(s))
	return err == nil
}

// NewID makes a random version 4 UUID in canonical form.
func NewID() string { return NewUUID().String() }

// NewOrderedID makes a version 7 UUID (RFC 9562, section 5.7) of the instant at,
// with the part of a millisecond in the 12 bits behind the version (section 6.2,
// method 3): ids of later microseconds sort later.
func NewOrderedID(at time.Time) string {
	var b UUID
	_, _ = rand.Read(b[8:]) // never fails: crypto/rand ends the program instead
	us := at.UnixMicro()
	ms, part := us/1000, us%1000<<12/1000
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i)) //nolint:gosec // taking the bytes of it is the point
	}
	b[6], b[7] = byte(part>>8)|0x70, byte(part) //nolint:gosec // the same
	b[8] = b[8]&0x3f | 0x80
	return b.String()
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

// UUID is a UUID as bytes, where its text would take too much room.
type UUID [16]byte

// NewUUID makes a random version 4 UUID (RFC 9562, section 5.4).
func NewUUID() UUID {
	var b UUID
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return b
}

// ParseUUID reads the canonical form, and no other: see [IsCanonicalUUID].
func ParseUUID(s string) (b UUID, ok bool) {
	if !IsCanonicalUUID(s) {
		return b, false
	}
	at := 0
	for i := 0; i < len(s); i += 2 {
		if s[i] == '-' {
			i++
		}
		b[at] = nibble(s[i])<<4 | nibble(s[i+1])
		at++
	}
	return b, true
}

// nibble needs a lower-case hexadecimal digit.
func nibble(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

// Append appends the canonical form to dst.
func (b UUID) Append(dst []byte) []byte {
	dst = hex.AppendEncode(dst, b[0:4])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, b[4:6])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, b[6:8])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, b[8:10])
	dst = append(dst, '-')
	return hex.AppendEncode(dst, b[10:16])
}

// String gives the canonical form.
func (b UUID) String() string { return string(b.Append(make([]byte, 0, 36))) }
