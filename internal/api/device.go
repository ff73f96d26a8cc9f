package api

import (
	"net/http"
	"strings"
	"time"

	"propusk/internal/account"
)

// deviceHeader carries the mark of a known device, for clients without cookies.
const deviceHeader = "X-Device-Token"

// The names of the cookies: of those that carry marks there is one for each
// account that was logged in to.
const (
	deviceCookiePrefix = "propusk-device-"
	sessionCookie      = "propusk-session"
	loginCookie        = "propusk-login" // of the browser that asked for a link to log in with
)

// cookieName: over HTTPS no other host can set a cookie of this name (RFC
// 6265bis, section 4.1.3.2).
func (a *API) cookieName(name string) string {
	if a.https {
		return "__Host-" + name
	}
	return name
}

func (a *API) newCookie(name, value string, lifetime time.Duration) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // it is Secure wherever people come by HTTPS; without it, nothing would keep it
		Name: a.cookieName(name), Value: value, Path: "/", MaxAge: int(lifetime.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: a.https,
	}
}

// DeviceCookie carries the mark that a login leaves.
func (a *API) DeviceCookie(d account.Device) *http.Cookie {
	return a.newCookie(deviceCookiePrefix+d.Name, d.Mark.Reveal(), d.Lifetime)
}

// SessionCookie carries the token of a browser that was logged in on a page.
func (a *API) SessionCookie(t account.Token) *http.Cookie {
	return a.newCookie(sessionCookie, t.Token.Reveal(), t.Lifetime)
}

// LoginCookie is what the browser holds that asked for a link to log in with.
func (a *API) LoginCookie(browser account.Secret, lifetime time.Duration) *http.Cookie {
	return a.newCookie(loginCookie, browser.Reveal(), lifetime)
}

// BrowserOf takes it from a request; it is empty where there is none.
func (a *API) BrowserOf(r *http.Request) account.Secret {
	c, err := r.Cookie(a.cookieName(loginCookie))
	if err != nil {
		return account.Secret{}
	}
	return account.NewSecret(c.Value)
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
	prefix := a.cookieName(deviceCookiePrefix)
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, prefix) {
			add(c.Value)
		}
	}
	return marks
}
