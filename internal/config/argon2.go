package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Argon2 is the cost of one password hash with Argon2id.
type Argon2 struct {
	Memory uint32 // KiB
	Passes uint32
	Lanes  uint8
}

// String gives the form in which the setting is written.
func (a Argon2) String() string {
	return fmt.Sprintf("m=%d,t=%d,p=%d", a.Memory, a.Passes, a.Lanes)
}

// The most that is taken: above it, one request could fill a machine.
const (
	argon2MaxMemory = 4 << 20 // KiB, 4 GiB
	argon2MaxPasses = 64
	argon2MaxLanes  = 64
)

var argon2Part = regexp.MustCompile(`^([mtp])=([1-9][0-9]{0,9})$`)

func parseArgon2(text string) (Argon2, error) {
	parts := map[string]uint64{}
	for part := range strings.SplitSeq(text, ",") {
		m := argon2Part.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil || parts[m[1]] != 0 {
			return Argon2{}, fmt.Errorf("%s is not of the form m=19456,t=2,p=1", quote(text))
		}
		n, err := strconv.ParseUint(m[2], 10, 64)
		if err != nil {
			return Argon2{}, fmt.Errorf("%s: %w", quote(text), err)
		}
		parts[m[1]] = n
	}
	m, t, p := parts["m"], parts["t"], parts["p"]
	switch {
	case len(parts) != 3:
		return Argon2{}, fmt.Errorf("%s needs m, t and p, such as m=19456,t=2,p=1", quote(text))
	case m > argon2MaxMemory || t > argon2MaxPasses || p > argon2MaxLanes:
		return Argon2{}, fmt.Errorf("%s is above m=%d,t=%d,p=%d", quote(text), argon2MaxMemory, argon2MaxPasses, argon2MaxLanes)
	case m < 8*p: // RFC 9106, section 3.1
		return Argon2{}, fmt.Errorf("%s needs at least 8 KiB for each lane", quote(text))
	}
	return Argon2{Memory: uint32(m), Passes: uint32(t), Lanes: uint8(p)}, nil
}

// meetsMinimum compares with the choices of OWASP's Password Storage Cheat
// Sheet, which trade memory for passes and defend equally well.
func (a Argon2) meetsMinimum() bool {
	for _, least := range []Argon2{
		{Memory: 47104, Passes: 1},
		{Memory: 19456, Passes: 2},
		{Memory: 12288, Passes: 3},
		{Memory: 9216, Passes: 4},
		{Memory: 7168, Passes: 5},
	} {
		if a.Memory >= least.Memory && a.Passes >= least.Passes {
			return true
		}
	}
	return false
}
