package api

import (
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// Embedded as texts: a text stays where the program was mapped, a file read
// from an embed.FS is a copy.
var (
	//go:embed docs/page.html
	docsHTML string
	//go:embed docs/init.js
	docsInit string
	//go:embed docs/licenses.txt
	docsLicenses string
	//go:embed docs/scalar.js.gz
	docsScalar string
)

// docsPolicy lets the page speak to this origin and to nobody else: the one
// way out is a link, and takes a click.
//
// The bundle builds its style sheets while it runs, one of them anew with each
// editor that opens, so no hash can name them: hence 'unsafe-inline', for
// styles alone. No font, frame or picture comes from outside, so a style that
// slipped in has nowhere to send what it sees. The pictures are icons inside
// the style sheets. The requests are for the document, and what a reader sends
// with "Test Request".
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; " +
	"img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// newDocs gives what serves GET /docs, which shows /openapi.json to people, and
// GET /docs/{asset}, the scripts of the page and the notices of what is in them.
// Browsers ask for the page at each visit, because it knows the present names of
// its assets; those carry a hash of what they hold, so they may be kept for ever.
func newDocs(notFound http.Handler) (page, asset http.Handler) {
	const keep = "public, max-age=31536000, immutable"
	scalar := newDocsFile(docsScalar, "text/javascript; charset=utf-8", keep)
	scalar.gzipped = true
	served := map[string]docsFile{}
	var links []string
	for name, file := range map[string]docsFile{
		"scalar.js":    scalar,
		"init.js":      newDocsFile(docsInit, "text/javascript; charset=utf-8", keep),
		"licenses.txt": newDocsFile(docsLicenses, "text/plain; charset=utf-8", keep),
	} {
		served[file.urlName(name)] = file
		links = append(links, "{"+name+"}", "/docs/"+file.urlName(name))
	}
	html := strings.NewReplacer(links...).Replace(docsHTML)
	return newDocsFile(html, "text/html; charset=utf-8", "no-cache"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, ok := served[r.PathValue("asset")]
		if !ok {
			notFound.ServeHTTP(w, r)
			return
		}
		file.ServeHTTP(w, r)
	})
}

// docsFile is one response of the reference page. With gzipped, body is in
// gzip form.
type docsFile struct {
	body         string
	gzipped      bool
	contentType  string
	cacheControl string
	hash         string // hex SHA-256 of body
}

func newDocsFile(body string, contentType, cacheControl string) docsFile {
	sum := sha256.Sum256([]byte(body))
	return docsFile{body: body, contentType: contentType, cacheControl: cacheControl, hash: hex.EncodeToString(sum[:])}
}

// urlName turns init.js into init.0123456789abcdef.js.
func (f docsFile) urlName(name string) string {
	ext := path.Ext(name)
	return strings.TrimSuffix(name, ext) + "." + f.hash[:16] + ext
}

func (f docsFile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", docsPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", f.cacheControl)

	// RFC 9110, section 8.8.3: each encoding is a representation of its own
	// and needs an entity tag of its own.
	etag := `"` + f.hash + `"`
	inflate := false
	if f.gzipped {
		header.Set("Vary", "Accept-Encoding")
		inflate = !acceptsGzip(r.Header.Values("Accept-Encoding"))
		if !inflate {
			etag = `"` + f.hash + `-gzip"`
		}
	}
	header.Set("ETag", etag)
	if matchesETag(r.Header.Values("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}

	header.Set("Content-Type", f.contentType)
	if inflate {
		f.serveInflated(w, r)
		return
	}
	if f.gzipped {
		header.Set("Content-Encoding", "gzip")
	}
	header.Set("Content-Length", strconv.Itoa(len(f.body)))
	_, _ = io.WriteString(w, f.body) // The reader is gone: nobody is left to tell.
}

// serveInflated streams, since the bundle is several megabytes and this is
// open to anybody. The length is the last four bytes of the gzip form (RFC
// 1952, section 2.3.1).
func (f docsFile) serveInflated(w http.ResponseWriter, r *http.Request) {
	size := binary.LittleEndian.Uint32([]byte(f.body[len(f.body)-4:]))
	w.Header().Set("Content-Length", strconv.FormatUint(uint64(size), 10))
	if r.Method == http.MethodHead {
		return
	}
	plain, err := gzip.NewReader(strings.NewReader(f.body))
	if err != nil {
		panic(err) // The body is part of the program, and TestDocsBundle reads all of it.
	}
	_, _ = io.Copy(w, plain) //nolint:gosec // As above; and the bundle is our own.
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3). Whoever sends
// none, or one that makes no sense, gets the plain form: everybody can read it.
func acceptsGzip(fields []string) bool {
	accepted := false
	for element := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		coding, weight, weighted := strings.Cut(element, ";")
		wanted := true
		if weighted {
			q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(weight)), "q=")
			value, err := strconv.ParseFloat(q, 64)
			wanted = ok && err == nil && value > 0
		}
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip", "x-gzip":
			return wanted
		case "*":
			accepted = wanted
		}
	}
	return accepted
}

// matchesETag reads If-None-Match, which compares weakly (RFC 9110, section
// 13.1.2). The tags here hold no comma, so a tag that does cannot match.
func matchesETag(fields []string, etag string) bool {
	for candidate := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == etag {
			return true
		}
	}
	return false
}
