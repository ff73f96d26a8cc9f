package account

import "slices"

// Methods is how the owner of a session has proved himself, as a set.
type Methods uint8

// The methods.
const (
	ByPassword Methods = 1 << iota
	ByMail             // a code or a link in a mail
	BySMS
	ByTOTP         // a code of an authenticator app
	ByRecoveryCode // of the set that goes with the factors
	ByPasskey
	ByUserVerified // the passkey has verified its user, by a PIN or a finger
	ByTrustedDevice
)

const (
	firstFactors  = ByPassword | ByMail | BySMS
	secondFactors = ByTOTP | ByRecoveryCode | ByPasskey
)

// Strong tells whether they are two factors: something that the owner knows or
// reads, and something else that he has; or a passkey that has verified him.
func (m Methods) Strong() bool {
	return m&firstFactors != 0 && m&secondFactors != 0 || m&ByPasskey != 0 && m&ByUserVerified != 0
}

// Level is how strong they are, as a class (ISO/IEC 29115; NIST SP 800-63B).
func (m Methods) Level() string {
	if m.Strong() {
		return "aal2"
	}
	return "aal1"
}

// Names gives them by the names of RFC 8176, which has none of its own for mail,
// recovery codes or trusted devices.
func (m Methods) Names() []string {
	names := []string{}
	for _, n := range []struct {
		method Methods
		name   string
	}{
		{ByPassword, "pwd"}, {ByMail, "otp"}, {BySMS, "sms"}, {ByTOTP, "otp"}, {ByRecoveryCode, "otp"}, {ByPasskey, "pop"}, {ByUserVerified, "user"},
	} {
		if m&n.method != 0 && !slices.Contains(names, n.name) {
			names = append(names, n.name)
		}
	}
	if m.Strong() {
		names = append(names, "mfa")
	}
	return names
}
