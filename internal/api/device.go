package api

import (
	"net/http"
	"strings"

	"propusk/internal/account"
)

// deviceHeader carries the mark of a known device, for clients without cookies.
const deviceHeader = "X-Device-Token"

// The names of the cookies that carry marks: one for each account that was logged
// in to. Over HTTPS no other host can set one of that name (RFC 6265bis, section
// 4.1.3.2).
const (
	deviceCookiePrefix       = "propusk-device-"
	secureDeviceCookiePrefix = "__Host-" + deviceCookiePrefix
)

func (a *API) deviceCookie(d account.Device) *http.Cookie {
	c := &http.Cookie{ //nolint:gosec // it is Secure wherever people come by HTTPS; without it, nothing would keep the mark
		Name: deviceCookiePrefix + d.Name, Value: d.Mark.Reveal(), Path: "/", MaxAge: int(d.Lifetime.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: a.https,
	}
	if a.https {
		c.Name = secureDeviceCookiePrefix + d.Name
	}
	return c
}

// maxDevices is how many marks of one request are looked at.
const maxDevices = 8

// DevicesOf takes the marks of known devices from a request. Over HTTPS only
// cookies count that no other host can have set.
func (a *API) DevicesOf(r *http.Request) (marks []account.Secret) {
	add := func(mark string) {
		if len(marks) < maxDevices && account.MayBeMark(mark) {
			marks = append(marks, account.NewSecret(mark))
		}
	}
	for _, v := range r.Header[deviceHeader] {
		add(v)
	}
	if len(r.Header["Cookie"]) == 0 {
		return marks
	}
	prefix := deviceCookiePrefix
	if a.https {
		prefix = secureDeviceCookiePrefix
	}
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, prefix) {
			add(c.Value)
		}
	}
	return marks
}
