package web_test

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/apptest"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}

// P2, S-26, V20: who opens a link, from wherever and however often, gets a page
// with one button and changes nothing: not the token, not the database, not the
// browser. Then the button works, once.
func TestOpeningALinkChangesNothing(t *testing.T) {
	t.Parallel()
	proxied := apptest.Options{TrustedProxies: loopback}
	each(t, proxied, func(t *testing.T, a *apptest.App, l letter, lang string) {
		path := below(t, l.Link)
		if !strings.Contains(path, "lang="+lang) || !strings.HasPrefix(path, l.path+"?") {
			t.Fatalf("link %s", l.Link)
		}
		before := everything(t, a)
		for _, ip := range []string{"192.0.2.1", "198.51.100.7", "2001:db8::1"} {
			for _, method := range []string{"HEAD", "GET"} {
				for _, c := range []*apptest.Client{a.Client, l.browser} {
					page := c.With("X-Forwarded-For", ip).Raw(t, method, path, nil).Want(t, 200)
					if len(page.Header["Set-Cookie"]) > 0 || page.Header.Get("Content-Language") != lang {
						t.Errorf("%s: header %v", method, page.Header)
					}
				}
			}
		}
		if after := everything(t, a); after != before {
			t.Errorf("opening has changed the database:\n%s\n%s", before, after)
		}
		if l.proof(t) {
			t.Fatal("it is done already")
		}
		page := l.browser.Raw(t, "GET", path, nil)
		if n := strings.Count(string(page.Body), "<button"); n != 1 || strings.Contains(string(page.Body), "<script") {
			t.Errorf("%d buttons, or a script: %s", n, shown(page))
		}
		end := wantTitle(t, press(t, l.browser, page, l.fields...), 200, l.done[lang])
		if strings.Contains(string(end.Body), l.Token) || !l.proof(t) {
			t.Errorf("the end shows the token, or it is not done: %s", shown(end))
		}
		again := map[string]string{"en": "This link no longer works", "ru": "Ссылка больше не действует"}
		wantTitle(t, press(t, l.browser, page, l.fields...), 403, again[lang])
	})
}

// S-26, V20: fifty who press the button at once, and one of them wins.
func TestButtonWorksOnce(t *testing.T) {
	t.Parallel()
	each(t, apptest.Options{}, func(t *testing.T, a *apptest.App, l letter, lang string) {
		page := l.browser.Raw(t, "GET", below(t, l.Link), nil).Want(t, 200)
		var wg sync.WaitGroup
		var mu sync.Mutex
		statuses := map[int]int{}
		for range 50 {
			wg.Go(func() {
				end := press(t, l.browser, page, l.fields...)
				mu.Lock()
				defer mu.Unlock()
				statuses[end.Status]++
				if set := len(end.Header["Set-Cookie"]) > 0; set != (end.Status == 200 && l.path == "/account/login") {
					t.Errorf("%d sets cookies: %t", end.Status, set)
				}
			})
		}
		wg.Wait()
		if statuses[200] != 1 || statuses[403] != 49 || !l.proof(t) {
			t.Errorf("answers by status: %v", statuses)
		}
	})
}

// S-26, V22, V23, V25: a link that has ended, was changed, is of another purpose
// or is empty does nothing, and says so.
func TestOnlyALiveLinkOfThePageWorks(t *testing.T) {
	t.Parallel()
	each(t, apptest.Options{}, func(t *testing.T, a *apptest.App, l letter, lang string) {
		spent := map[string]string{"en": "This link no longer works", "ru": "Ссылка больше не действует"}[lang]
		incomplete := map[string]string{"en": "This link is not complete", "ru": "Ссылка неполная"}[lang]
		suffix := "?lang=" + lang
		for _, token := range []string{l.Token[:42], l.Token + "A", " ", l.Token[:42] + "!", "null", strings.Repeat("A", 5000)} {
			wantTitle(t, l.browser.Raw(t, "GET", l.path+suffix+"&token="+strings.ReplaceAll(token, " ", "%20"), nil), 400, incomplete)
			wantTitle(t, send(t, l.browser, l.path+suffix, append([]string{"token", token}, l.fields...)...), 403, spent)
		}
		wantTitle(t, l.browser.Raw(t, "GET", below(t, l.Link)+"&token="+l.Token, nil), 400, incomplete)
		for _, path := range []string{"/account/verify", "/account/undo", "/account/recover", "/account/login", "/account/register"} {
			if path != l.path {
				wantTitle(t, send(t, l.browser, path+suffix, append([]string{"token", l.Token}, "new_password", otherPassword)...), 403, spent)
			}
		}
		wantTitle(t, send(t, l.browser, l.path+suffix, append([]string{"token", strings.Repeat("A", 43)}, l.fields...)...), 403, spent)
		if l.proof(t) {
			t.Fatal("it is done")
		}
		a.Clock.Move(73 * time.Hour)
		wantTitle(t, send(t, l.browser, l.path+suffix, append([]string{"token", l.Token}, l.fields...)...), 403, spent)
	})
}
