package account

// Methods is how the owner of a session has proved himself, as a set.
type Methods uint8

// The methods.
const (
	ByPassword Methods = 1 << iota
	ByMail             // a code or a link in a mail
	BySMS
)

// Names gives them by the names of RFC 8176, which has none of its own for mail.
func (m Methods) Names() []string {
	names := []string{}
	for _, n := range []struct {
		method Methods
		name   string
	}{{ByPassword, "pwd"}, {ByMail, "otp"}, {BySMS, "sms"}} {
		if m&n.method != 0 {
			names = append(names, n.name)
		}
	}
	return names
}
