package outbox_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// A verifier of DKIM (RFC 6376, RFC 8463) for relaxed/relaxed and Ed25519, made
// from the standard and not from the library that signs.

func verifyDKIM(t *testing.T, raw []byte, key ed25519.PublicKey) {
	t.Helper()
	if err := verifyDKIMError(raw, key); err != nil {
		t.Error(err)
	}
}

var (
	folds  = regexp.MustCompile(`\r\n([ \t])`)
	spaces = regexp.MustCompile(`[ \t]+`)
	bTag   = regexp.MustCompile(`(\bb=)[^;]*`)
)

func verifyDKIMError(raw []byte, key ed25519.PublicKey) error {
	head, body, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
	if !ok {
		return errors.New("no body")
	}
	var headers []string
	for line := range strings.SplitSeq(folds.ReplaceAllString(string(head), "$1"), "\r\n") {
		headers = append(headers, line)
	}
	find := func(name string) string {
		for _, h := range headers {
			if n, _, _ := strings.Cut(h, ":"); strings.EqualFold(n, name) {
				return h
			}
		}
		return ""
	}
	signature := find("DKIM-Signature")
	tags := map[string]string{}
	_, value, _ := strings.Cut(signature, ":")
	for tag := range strings.SplitSeq(value, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(tag), "=")
		tags[k] = spaces.ReplaceAllString(v, "")
	}
	if tags["a"] != "ed25519-sha256" || tags["c"] != "relaxed/relaxed" || tags["d"] != "id.example" || tags["s"] != "s1" {
		return fmt.Errorf("tags %v", tags)
	}
	var canonical strings.Builder
	text := spaces.ReplaceAllString(string(body), " ")
	text = strings.ReplaceAll(text, " \r\n", "\r\n")
	canonical.WriteString(strings.TrimRight(text, "\r\n") + "\r\n")
	hash := sha256.Sum256([]byte(canonical.String()))
	if base64.StdEncoding.EncodeToString(hash[:]) != tags["bh"] {
		return errors.New("the hash of the body is another")
	}
	relaxed := func(h string) string {
		name, value, _ := strings.Cut(h, ":")
		return strings.ToLower(strings.TrimSpace(name)) + ":" + strings.TrimSpace(spaces.ReplaceAllString(value, " "))
	}
	var signed strings.Builder
	covered := map[string]bool{}
	for name := range strings.SplitSeq(tags["h"], ":") {
		covered[strings.ToLower(name)] = true
		if h := find(name); h != "" {
			signed.WriteString(relaxed(h) + "\r\n")
		}
	}
	for _, name := range []string{"from", "to", "subject", "date", "message-id"} {
		if !covered[name] {
			return fmt.Errorf("%s is not signed: %s", name, tags["h"])
		}
	}
	signed.WriteString(relaxed(bTag.ReplaceAllString(signature, "$1")))
	sum := sha256.Sum256([]byte(signed.String()))
	b, err := base64.StdEncoding.DecodeString(tags["b"])
	if err != nil {
		return err
	}
	if !ed25519.Verify(key, sum[:], b) {
		return errors.New("the signature is wrong")
	}
	return nil
}
