package secret

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"propusk/internal/secret/argon2"
)

const (
	saltSize = 16
	keySize  = 32
	// maxHashed is the longest password that is hashed, in bytes: far beyond what
	// a rule above this package lets through.
	maxHashed = 16 << 10
)

// Argon2 are the cost parameters of Argon2id (RFC 9106).
type Argon2 struct {
	Memory  uint32 // KiB
	Passes  uint32
	Threads uint8 // lanes
}

// Hash hashes the password into a PHC string
// ($argon2id$v=19$m=…,t=…,p=…$salt$hash). It gives [ErrBusy] when there is no
// place, or none in time.
func (h *Hasher) Hash(ctx context.Context, who Who, password Text) (string, error) {
	var salt [saltSize]byte
	_, _ = rand.Read(salt[:]) // never fails: crypto/rand ends the program instead
	key, err := h.derive(ctx, who, call{cost: h.cost, salt: salt[:], password: password, size: keySize})
	if err != nil {
		return "", err
	}
	return encode(h.cost, salt[:], key), nil
}

// Verify tells whether the password is the one that phc was made of, and
// whether its hash ought to be made anew because the parameters have changed.
// With an empty phc (no user, or a user without a password) it does the same
// work and tells false.
func (h *Hasher) Verify(ctx context.Context, who Who, password Text, phc string) (ok, rehash bool, err error) {
	if phc == "" {
		phc = h.dummy
	}
	cost, salt, want, err := decode(phc)
	if err != nil {
		return false, false, err
	}
	got, err := h.derive(ctx, who, call{cost: cost, salt: salt, password: password, size: len(want)})
	if err != nil {
		return false, false, err
	}
	ok = subtle.ConstantTimeCompare(got, want) == 1
	return ok, ok && (cost != h.cost || len(salt) != saltSize || len(want) != keySize), nil
}

var b64 = base64.RawStdEncoding.Strict()

// encode gives the PHC string format that the reference implementation of
// Argon2 writes and reads.
func encode(c Argon2, salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, c.Memory, c.Passes, c.Threads, b64.EncodeToString(salt), b64.EncodeToString(key))
}

// allowed are bounds that keep a row that somebody has tampered with from costing
// more than the largest setting would.
func (c Argon2) allowed(salt, key int) bool {
	return c.Threads >= 1 && c.Memory >= 8*uint32(c.Threads) && c.Memory <= 4<<20 && c.Passes >= 1 && c.Passes <= 64 &&
		salt >= 8 && salt <= 64 && key >= 16 && key <= 64
}

// decode reads a PHC string.
func decode(phc string) (c Argon2, salt, key []byte, err error) {
	bad := errors.New("stored password hash cannot be read")
	var version int
	var s, k string
	n, err := fmt.Sscanf(phc, "$argon2id$v=%d$m=%d,t=%d,p=%d$", &version, &c.Memory, &c.Passes, &c.Threads)
	if err != nil || n != 4 || version != argon2.Version {
		return c, nil, nil, bad
	}
	if s, k, err = lastTwo(phc); err != nil {
		return c, nil, nil, bad
	}
	if salt, err = b64.DecodeString(s); err != nil {
		return c, nil, nil, bad
	}
	if key, err = b64.DecodeString(k); err != nil {
		return c, nil, nil, bad
	}
	if !c.allowed(len(salt), len(key)) || encode(c, salt, key) != phc {
		return c, nil, nil, bad
	}
	return c, salt, key, nil
}

func lastTwo(phc string) (salt, key string, err error) {
	dollar := 0
	for i := len(phc) - 1; i >= 0; i-- {
		if phc[i] != '$' {
			continue
		}
		if dollar++; dollar == 1 {
			key = phc[i+1:]
		} else {
			return phc[i+1 : len(phc)-len(key)-1], key, nil
		}
	}
	return "", "", errors.New("too few parts")
}
