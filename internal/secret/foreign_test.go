package secret_test

import (
	"testing"

	"github.com/go-crypt/crypt/algorithm/argon2"

	"propusk/internal/secret"
)

// S-06: another program must be able to take our users over.
func TestOurHashesVerifyElsewhere(t *testing.T) {
	for _, cost := range []secret.Argon2{cheapest, {Memory: 64, Passes: 3, Threads: 2}} {
		h := pool(t, cost, 1, 0)
		for password := range reference {
			if password == "" { // which go-crypt refuses, and our rules too
				continue
			}
			digest, err := argon2.Decode(hash(t, h, password))
			if err != nil {
				t.Fatal(err)
			}
			if !digest.Match(password) || digest.Match(password+"x") {
				t.Errorf("%.30q of %d bytes: match %t", password, len(password), digest.Match(password))
			}
		}
	}
}
