package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

var docsServer = sync.OnceValue(func() http.Handler {
	mux := http.NewServeMux()
	page, asset := newDocs(http.NotFoundHandler())
	mux.Handle("GET /docs", page)
	mux.Handle("GET /docs/{asset}", asset)
	return mux
})

// askDocs takes pairs of header names and values.
func askDocs(t *testing.T, method, url string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, url, nil)
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	w := httptest.NewRecorder()
	docsServer().ServeHTTP(w, r)
	return w.Result()
}

func docsBody(t *testing.T, response *http.Response) []byte {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// docsLinks is what the page loads or links to, by the file's plain name.
func docsLinks(t *testing.T) map[string]string {
	t.Helper()
	page := string(docsBody(t, askDocs(t, "GET", "/docs")))
	links := make(map[string]string)
	for _, match := range regexp.MustCompile(`(?:src|href)="(/docs/(\w+)\.[0-9a-f]{16}(\.\w+))"`).FindAllStringSubmatch(page, -1) {
		links[match[2]+match[3]] = match[1]
	}
	want := []string{"init.js", "licenses.txt", "scalar.js"}
	if got := slices.Sorted(maps.Keys(links)); !slices.Equal(got, want) {
		t.Fatalf("the page links to %v, want %v:\n%s", got, want, page)
	}
	return links
}

func TestDocsPage(t *testing.T) {
	response := askDocs(t, "GET", "/docs")
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %d", response.StatusCode)
	}
	for name, want := range map[string]string{
		"Content-Type":  "text/html; charset=utf-8",
		"Cache-Control": "no-cache",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	page := string(docsBody(t, response))
	for _, want := range []string{`<html lang="en">`, "<title>Propusk API</title>", `<a href="/openapi.json">`, "<noscript>"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in the page", want)
		}
	}
	if strings.ContainsAny(page, "{}") {
		t.Errorf("a placeholder is left in the page:\n%s", page)
	}
	if regexp.MustCompile(`<script(\s[^>]*)?>[^<]|\son\w+=|<style|\sstyle=`).MatchString(page) {
		t.Errorf("script or style inside the page:\n%s", page)
	}
}

func TestDocsNamesNoOtherOrigin(t *testing.T) {
	elsewhere := regexp.MustCompile(`(?i)(https?|wss?):|["'(=]\s*//`)
	for _, url := range []string{"/docs", docsLinks(t)["init.js"]} {
		if found := elsewhere.FindString(string(docsBody(t, askDocs(t, "GET", url)))); found != "" {
			t.Errorf("%s holds %q", url, found)
		}
	}
}

// What these turn off would otherwise be on, some of it on localhost only.
func TestDocsTurnsOffWhatSpeaksToOthers(t *testing.T) {
	script := string(docsBody(t, askDocs(t, "GET", docsLinks(t)["init.js"])))
	for _, option := range []string{
		`proxyUrl: ""`, "withDefaultFonts: false", "telemetry: false", "agent: { disabled: true }",
		"mcp: { disabled: true }", "hideClientButton: true", `showDeveloperTools: "never"`, "persistAuth: false",
	} {
		if !strings.Contains(script, option) {
			t.Errorf("no %s in init.js", option)
		}
	}
}

func TestDocsSendsItsOwnPolicy(t *testing.T) {
	links := docsLinks(t)
	for _, url := range []string{"/docs", links["init.js"], links["scalar.js"], links["licenses.txt"]} {
		header := askDocs(t, "HEAD", url).Header
		policy := header.Get("Content-Security-Policy")
		for _, want := range []string{
			"default-src 'none'", "script-src 'self'", "connect-src 'self'",
			"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
		} {
			if !slices.Contains(strings.Split(policy, "; "), want) {
				t.Errorf("%s: no %s in %q", url, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe-eval") || strings.Contains(policy, "*") || strings.Contains(policy, "http") {
			t.Errorf("%s: too wide a policy: %q", url, policy)
		}
		if got := header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options: %q", url, got)
		}
		if got := header.Get("Referrer-Policy"); got != "no-referrer" {
			t.Errorf("%s: Referrer-Policy: %q", url, got)
		}
	}
}

// The bundle is what build.sh pins: neither a damaged file nor one that
// somebody touched gets past this.
func TestDocsBundle(t *testing.T) {
	script, err := os.ReadFile("docs/build.sh")
	if err != nil {
		t.Fatal(err)
	}
	pinned := regexp.MustCompile(`(?m)^sum=([0-9a-f]{64})\b`).FindSubmatch(script)
	if pinned == nil {
		t.Fatal("no sum in build.sh")
	}
	url := docsLinks(t)["scalar.js"]

	plain := askDocs(t, "GET", url)
	if got := plain.Header.Get("Content-Encoding"); got != "" {
		t.Errorf("Content-Encoding %q for a client that asked for none", got)
	}
	body := docsBody(t, plain)
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != string(pinned[1]) {
		t.Errorf("plain: sha256 %x, want %s", sum, pinned[1])
	}
	if got := plain.Header.Get("Content-Length"); got != strconv.Itoa(len(body)) {
		t.Errorf("plain: Content-Length %s for %d bytes", got, len(body))
	}

	zipped := askDocs(t, "GET", url, "Accept-Encoding", "gzip, deflate, br")
	if got := zipped.Header.Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding %q", got)
	}
	raw := docsBody(t, zipped)
	if got := zipped.Header.Get("Content-Length"); got != strconv.Itoa(len(raw)) {
		t.Errorf("gzip: Content-Length %s for %d bytes", got, len(raw))
	}
	if limit := 1300 << 10; len(raw) > limit {
		t.Errorf("%d bytes is more than a reader should have to load (%d)", len(raw), limit)
	}
	reader, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if !reader.ModTime.IsZero() || reader.Name != "" {
		t.Errorf("a time or a name in the gzip header: the same input would not give the same file")
	}
	inflated, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(inflated, body) {
		t.Error("the two encodings hold different scripts")
	}

	for _, response := range []*http.Response{plain, zipped} {
		if got := response.Header.Get("Content-Type"); got != "text/javascript; charset=utf-8" {
			t.Errorf("Content-Type %q", got)
		}
		if got := response.Header.Get("Vary"); got != "Accept-Encoding" {
			t.Errorf("Vary %q", got)
		}
		if got := response.Header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("Cache-Control %q", got)
		}
	}
	if plain.Header.Get("ETag") == zipped.Header.Get("ETag") {
		t.Error("one ETag for two encodings")
	}
}

func TestDocsAcceptEncoding(t *testing.T) {
	url := docsLinks(t)["scalar.js"]
	for accept, want := range map[string]string{
		"":                     "",
		"gzip":                 "gzip",
		"GZIP":                 "gzip",
		"x-gzip":               "gzip",
		"br, gzip;q=0.5":       "gzip",
		"gzip ; Q=0.001":       "gzip",
		"*":                    "gzip",
		"identity, *;q=0":      "",
		"*, gzip;q=0":          "",
		"gzip;q=0, *":          "",
		"gzip;q=0.000":         "",
		"gzip;q=often":         "",
		"gzip;level=9":         "",
		"br, deflate, gzipped": "",
	} {
		response := askDocs(t, "HEAD", url, "Accept-Encoding", accept)
		if got := response.Header.Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: Content-Encoding %q, want %q", accept, got, want)
		}
	}
}

func TestDocsNotModified(t *testing.T) {
	links := docsLinks(t)
	for _, accept := range []string{"gzip", "identity"} {
		for _, url := range []string{"/docs", links["init.js"], links["scalar.js"], links["licenses.txt"]} {
			etag := askDocs(t, "HEAD", url, "Accept-Encoding", accept).Header.Get("ETag")
			if etag == "" {
				t.Fatalf("%s: no ETag", url)
			}
			for _, held := range []string{etag, "W/" + etag, `"other", ` + etag, "*"} {
				response := askDocs(t, "GET", url, "Accept-Encoding", accept, "If-None-Match", held)
				if response.StatusCode != http.StatusNotModified || len(docsBody(t, response)) != 0 {
					t.Errorf("%s, If-None-Match %s: status %d", url, held, response.StatusCode)
				}
				if got := response.Header.Get("ETag"); got != etag {
					t.Errorf("%s: ETag %s with the 304, %s before", url, got, etag)
				}
			}
			for _, held := range []string{`"other"`, strings.Trim(etag, `"`), ""} {
				response := askDocs(t, "HEAD", url, "Accept-Encoding", accept, "If-None-Match", held)
				if response.StatusCode != http.StatusOK {
					t.Errorf("%s, If-None-Match %q: status %d", url, held, response.StatusCode)
				}
			}
		}
	}
}

// Whoever moves the bundle to another version says so everywhere.
func TestDocsNamesTheVersionOfTheBundle(t *testing.T) {
	read := func(name string) string {
		body, err := os.ReadFile("docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	version := regexp.MustCompile(`(?m)^version=(\S+)$`).FindStringSubmatch(read("build.sh"))
	if version == nil {
		t.Fatal("no version in build.sh")
	}
	if !strings.Contains(read("README.md"), "`@scalar/api-reference` "+version[1]+" (MIT)") {
		t.Errorf("README.md does not name version %s", version[1])
	}
	if !strings.Contains(read("licenses.txt"), "@scalar/api-reference@"+version[1]+"\n    Copyright") {
		t.Errorf("licenses.txt does not name version %s", version[1])
	}
}

// One encoding's copy is no answer for a client that reads the other only.
func TestDocsETagBelongsToTheEncoding(t *testing.T) {
	url := docsLinks(t)["scalar.js"]
	etag := askDocs(t, "HEAD", url, "Accept-Encoding", "gzip").Header.Get("ETag")
	if response := askDocs(t, "HEAD", url, "If-None-Match", etag); response.StatusCode != http.StatusOK {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestDocsUnknownAsset(t *testing.T) {
	current := docsLinks(t)["init.js"]
	for _, url := range []string{
		"/docs/nothing.js",
		"/docs/init.js",
		"/docs/page.html",
		"/docs/build.sh",
		"/docs/scalar.js.gz",
		"/docs/..%2Fdocs.go",
		"/docs/init.0000000000000000.js",
		current + "x",
	} {
		response := askDocs(t, "GET", url)
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d", url, response.StatusCode)
		}
		if strings.Contains(response.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: a 404 to be kept for ever", url)
		}
	}
}
