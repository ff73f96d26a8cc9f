package gateways_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// An identity that a client writes himself reaches the application never: in no
// spelling that an application could take for the header, with no token, however
// Propusk answers (V82: Caddy CVE-2026-30851, oauth2-proxy CVE-2025-64484; S-48).
func TestForgedIdentityNeverReachesTheApplication(t *testing.T) {
	var forged []string
	for _, name := range identity {
		forged = append(forged, name+": forged", strings.ToLower(name)+": forged", strings.ToUpper(name)+": forged", name+":forged", name+": ")
		for _, sign := range "!#$%&'*+.^_`|~" {
			first, second, _ := strings.Cut(name[2:], "-")
			forged = append(forged, fmt.Sprintf("x%c%s%c%s: forged", sign, first, sign, second), fmt.Sprintf("X-%s%c%s: forged", first, sign, second),
				fmt.Sprintf("X%c%s-%s: forged", sign, first, second))
		}
	}
	forged = append(forged, "Connection: close, X-User-Id, X-User-Role, X-Session-Id", "Connection: X-User-Id", "Connection: Authorization",
		"Connection: keep-alive, X-Forwarded-For", "X-Original-URL: /admin/", "X-Rewrite-URL: /admin/", "X_Forwarded_For: 203.0.113.9",
		"X-Forwarded-Uri: /notes", "X-Forwarded-Method: GET", "X-HTTP-Method-Override: DELETE", "Trailer: X-User-Id", "Forwarded: for=203.0.113.9",
		strings.Join(forged[:12], "\r\n"))
	each(t, func(w *world) {
		p := w.propusk.issue(w.T, "Verified")
		sent := 0
		for _, line := range forged {
			a := w.get("/notes", line, p.authorization(), line)
			got := w.app.arrivals()
			switch {
			case len(got) == sent+1 && a.status == 200:
				w.belongsTo(got[sent], p)
			case len(got) > sent || a.status == 200:
				w.Errorf("%q: %d requests, status %d", line, len(got)-sent, a.status)
			case a.status != 400 && a.status != 401: // "Connection: Authorization" may cost the token
				w.Errorf("%q: status %d", line, a.status)
			}
			sent = len(got)
			if a := w.get("/notes", line); a.status != 401 && a.status != 400 {
				w.Errorf("%q and no token: %d", line, a.status)
			}
			if a := w.get("/notes", line, "Authorization: Bearer nonsense", line); a.status != 401 && a.status != 400 {
				w.Errorf("%q and a bad token: %d", line, a.status)
			}
			if a := w.get("/admin/", p.authorization(), line); a.status != 403 && a.status != 400 && a.status != 401 {
				w.Errorf("%q and another role: %d", line, a.status)
			}
			w.nothingNew(sent, line)
		}
		if sent < len(forged)/2 {
			w.Errorf("of %d requests %d came through: the test tests nothing", len(forged), sent)
		}
		for _, q := range w.propusk.questions() { // Propusk believes the gateway's X-Forwarded-For
			if values := q.header["X-Forwarded-For"]; len(values) != 1 || values[0] != "127.0.0.1" {
				w.Errorf("Propusk was told X-Forwarded-For: %q", values)
			}
		}
	})
}

// odd are requests that two programs could read as two different things. In
// them, H stands for the application's name, and TOKEN for whole lines: one by
// which the request is known again, and one with a token, or none.
var odd = []string{
	"GET //admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET ///admin HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /./admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /notes/../admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin/../notes HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /notes/%2e%2e/admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /notes/%2E./admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /notes/..%2fadmin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /%2e/admin HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /%2fadmin HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin%2f HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin%2Fusers HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /%61%64%6d%69%6e HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /aDmIn/users HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /notes\\..\\admin HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /notes/..%5cadmin HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /;/admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin;x=1/users HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /notes/..;/admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin%00/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin?/../notes HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin#/notes HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /notes#/../admin HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin/. HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin\t HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET  /admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET * HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET http://H/admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET http://id.example.com/admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET http://H/admin/ HTTP/1.1\r\nHost: id.example.com\r\nTOKEN\r\n",
	"GET http://H//admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET http://H HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET http:/admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET http:///admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET https://user@H/admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"CONNECT H:80 HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"CONNECT /admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"TRACE /admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"get /admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"HEAD /admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"PURGE /admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"MAKE-IT-SO /admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"POST /admin/ HTTP/1.1\r\nHost: H\r\nX-HTTP-Method-Override: GET\r\nContent-Length: 0\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.0\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.0\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.0\r\nHost: H\r\nConnection: keep-alive, X-User-Role\r\nTOKEN\r\n",
	"GET /admin/\r\n",
	"GET /admin/ HTTP/0.9\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.2\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin/ HTTP/3.0\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\nHost: H\nTOKEN\n",
	"\r\n\r\nGET /admin/ HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: id.example.com\r\nHost: H\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H\r\nHost: id.example.com\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H.\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H:99\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: APP.EXAMPLE.COM\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H, id.example.com\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost : H\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\n Host: H\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H\r\nX-User-Id : forged\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H\r\nX-User-Role\t: Admin\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H\r\nX-Other: a\r\n X-User-Role: Admin\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H\r\nX-Other: a\rX-User-Role: Admin\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H\r\nX-Other: a\nX-User-Role: Admin\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H\r\n: X-User-Role: Admin\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H\r\nX-User-Role\x00: Admin\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H\r\nX-User-Role: Admin\x00\r\nTOKEN\r\n",
	"GET /admin/ HTTP/1.1\r\nHost: H\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nTOKEN\r\n" + smuggled,
	"GET /notes HTTP/1.1\r\nHost: H\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nTOKEN\r\n" + smuggled,
	"GET /notes HTTP/1.1\r\nHost: H\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\nTOKEN\r\n" + smuggled,
	"GET /notes HTTP/1.1\r\nHost: H\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nTOKEN\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENContent-Length: 200\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENContent-Length: 5\r\nContent-Length: 0\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENContent-Length: 0, 5\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENContent-Length: +5\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENContent-Length : 5\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENContent_Length: 200\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENContent-Length: -1\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENTransfer-Encoding:\tchunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENTransfer_Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENTransfer-Encoding: chunked\r\n\r\n0\r\nX-User-Role: Admin\r\nX-User-Id: forged\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENTransfer-Encoding: chunked\r\n\r\n1;a=\n\r\nx\r\n0\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.1\r\nHost: H\r\nTOKENTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\nx\r\n0\r\n\r\n" + smuggled,
	"POST /notes HTTP/1.0\r\nHost: H\r\nTOKENTransfer-Encoding: chunked\r\nContent-Length: 6\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n" + smuggled,
	"GET /notes HTTP/1.1\r\nHost: H\r\nTOKENContent-Length: 6\r\nExpect: 100-continue\r\n\r\n" + smuggled,
	"GET /notes HTTP/1.1\r\nHost: H\r\nAuthorization: Bearer nonsense\r\nTOKEN\r\n",
	"GET /notes HTTP/1.1\r\nHost: H\r\nAuthorization : Bearer nonsense\r\nTOKEN\r\n",
	"GET /_propusk/any HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
	"GET /_propusk/admin HTTP/1.1\r\nHost: H\r\nTOKEN\r\n",
}

// smuggled is a second request, which the gateway must see as one of its own or
// as part of a body, and which has no token.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: app.example.com\r\nX-User-Id: smuggled\r\nX-User-Role: Admin\r\nX-Session-Id: smuggled\r\n\r\n"

// The application sees no request that Propusk did not allow, nor a path for
// administrators that was allowed to somebody else, however the request is
// spelled and framed (V82: Authelia CVE-2021-32637, oauth2-proxy CVE-2026-40575,
// CVE-2025-54576; V83: AdGuard CVE-2026-32136; S-48).
func TestOddRequestsGetNoFurtherThanPropuskAllows(t *testing.T) {
	each(t, func(w *world) {
		p := w.propusk.issue(w.T, "Verified")
		tokens := []string{"", "Authorization: Bearer nonsense", p.authorization()}
		var requests []string
		for _, template := range odd {
			for _, token := range tokens {
				requests = append(requests, spell(template, "X-Number: "+strconv.Itoa(len(requests)), token))
			}
		}
		answers := w.sendAll(requests)
		for i, a := range answers {
			// Caddy answers "OPTIONS *" itself, with nothing.
			if i%len(tokens) < 2 && a.status >= 200 && a.status < 300 && !strings.HasPrefix(requests[i], "OPTIONS *") {
				w.Errorf("%q: %d %s", requests[i], a.status, a.body)
			}
		}
		arrivals := w.app.arrivals()
		for _, got := range arrivals {
			number, err := strconv.Atoi(strings.Join(got.header["X-Number"], ","))
			if err != nil || number%len(tokens) < 2 {
				w.Errorf("came to the application without a good token: %+v", got)
				continue
			}
			w.belongsTo(got, p)
			if forAdministrators(got.uri) {
				w.Errorf("%q: %s %s came to the application", requests[number], got.method, got.uri)
			}
		}
		w.framed()
		if len(arrivals) < 5 {
			w.Errorf("of %d requests %d came through: the test tests nothing", len(requests), len(arrivals))
		}
	})
}

// spell fills in a template of odd.
func spell(template, number, token string) string {
	end := "\r\n"
	if !strings.Contains(template, "\r\n") {
		end = "\n"
	}
	lines := number + end
	if token != "" {
		lines += token + end
	}
	return strings.NewReplacer(": H", ": "+appHost, "://H", "://"+appHost, "@H", "@"+appHost, "CONNECT H", "CONNECT "+appHost, "TOKEN", lines).Replace(template)
}

// sendAll sends some at a time: some are never answered.
func (w *world) sendAll(requests []string) []answer {
	w.Helper()
	answers := make([]answer, len(requests))
	places := make(chan struct{}, 32)
	var wg sync.WaitGroup
	for i, request := range requests {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			var err error
			if answers[i], err = exchange(w.addr, request, 2*time.Second); err != nil {
				w.Errorf("%q: %v", request, err)
			}
		})
	}
	wg.Wait()
	return answers
}

// forAdministrators tells whether some application could take uri for a path
// under /admin.
func forAdministrators(uri string) bool {
	if u, err := url.Parse(uri); err == nil && u.Host != "" {
		uri = u.RequestURI()
	}
	uri, _, _ = strings.Cut(uri, "?")
	segments := strings.FieldsFunc(uri, func(r rune) bool { return r == '/' || r == '\\' })
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	for _, reading := range []string{uri, strings.Join(segments, "/")} {
		for range 2 {
			clean := strings.ToLower(path.Clean("/" + strings.NewReplacer("\\", "/", "\x00", "").Replace(reading)))
			if clean == "/admin" || strings.HasPrefix(clean, "/admin/") {
				return true
			}
			decoded, err := url.PathUnescape(reading)
			if err != nil {
				break
			}
			reading = decoded
		}
	}
	return false
}

// framed reads what the application was sent once more: every request has one
// framing, and none is the smuggled one.
func (w *world) framed() {
	w.Helper()
	for _, got := range w.app.arrivals() {
		if strings.Contains(got.uri, "smuggled") || slices.Contains(got.header["X-User-Id"], "smuggled") {
			w.Errorf("%s %s came to the application: %v", got.method, got.uri, got.header)
		}
	}
	for head := range strings.SplitSeq(w.app.bytes(), "\r\n\r\n") {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\r\n\r\n")))
		if err != nil {
			continue // a body
		}
		lower := strings.ToLower(head)
		if strings.Contains(lower, "\r\ncontent-length:") && strings.Contains(lower, "\r\ntransfer-encoding:") {
			w.Errorf("%s %s has two framings:\n%s", r.Method, r.RequestURI, head)
		}
	}
}
