package account

import (
	"context"
	"net/netip"
	"time"

	"propusk/internal/secret"
)

// CallerKind says on what ground somebody asks.
type CallerKind uint8

// The grounds.
const (
	Anonymous     CallerKind = iota // nobody in particular
	User                            // the owner of a live session
	Operator                        // whoever can run the program on its own data
	Network                         // an address of the trusted networks
	ServiceCaller                   // a service with a key
)

func (k CallerKind) String() string {
	switch k {
	case User:
		return "user"
	case Operator:
		return "operator"
	case Network:
		return "network"
	case ServiceCaller:
		return "service"
	case Anonymous:
	}
	return "anonymous"
}

// Caller is who asks, and from where. It is an argument of every rule: identity
// never comes from the context or from the body of a request.
type Caller struct {
	Kind            CallerKind
	UserID          string
	Role            string
	SessionID       string
	AuthenticatedAt time.Time // when the session's owner last proved himself
	StrongAt        time.Time // when he last did so with a second factor; zero: never in this session
	IP              netip.Addr
	UserAgent       string // at most 256 bytes
	RequestID       string
	Language        string        // that he asks to be answered in: "en", "ru", or "" where he does not
	Devices         []secret.Text // marks of devices that came along, see [Device]; nobody has looked at them yet
	KeyID           string        // of a service
	Scopes          []Scope       // likewise

	tokenHash secret.Hash
}

func (c Caller) ip() string {
	if !c.IP.IsValid() {
		return ""
	}
	return c.IP.String()
}

type callerKey struct{}

// WithCaller and CallerFrom carry the caller from the middleware that
// authenticates to the handler, which passes it on as an argument. Rules do not
// use them.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom gives what [WithCaller] put in; an anonymous caller if nothing.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
