package config_test

import (
	"fmt"
	"strings"
	"testing"

	"propusk/internal/config"
)

// What is not given follows from public-url, and never from a request.
func TestPasskeysAreMadeForTheDomainOfThePublicURL(t *testing.T) {
	for _, c := range []struct {
		given []string
		want  string // domain and origins, or what the refusal says
	}{
		{nil, " []"},
		{[]string{"--public-url=https://id.example.com"}, "id.example.com [https://id.example.com]"},
		{[]string{"--public-url=https://ID.Example.com:443/auth/"}, "id.example.com [https://id.example.com]"},
		{[]string{"--public-url=https://id.example.com:8443"}, "id.example.com [https://id.example.com:8443]"},
		{[]string{"--public-url=http://localhost:8001"}, "localhost [http://localhost:8001]"},
		{[]string{"--public-url=http://127.0.0.1:8001"}, " []"},
		{[]string{"--public-url=https://[2001:db8::1]"}, " []"},
		{[]string{"--public-url=https://id.example.com", "--passkey-rp-id=Example.com"}, "example.com [https://id.example.com]"},
		{
			[]string{"--public-url=https://id.example.com", "--passkey-rp-id=example.com", "--passkey-origins=https://app.example.com,https://example.net,android:apk-key-hash:AAAAAAAAAAAAAAAAAAAAAAAAAAA"},
			"example.com [https://app.example.com https://example.net android:apk-key-hash:AAAAAAAAAAAAAAAAAAAAAAAAAAA]",
		},
		{[]string{"--passkey-rp-id=example.com", "--passkey-origins=https://example.com"}, "example.com [https://example.com]"},
		{[]string{"--passkey-rp-id=localhost", "--passkey-origins=http://localhost:3000"}, "localhost [http://localhost:3000]"},
		{[]string{"--passkey-rp-id=example.com"}, "passkey-origins (default): must be given with passkey-rp-id"},
		{[]string{"--passkey-origins=https://example.com"}, "passkey-rp-id (default): must be given with passkey-origins"},
		{[]string{"--public-url=http://127.0.0.1:8001", "--passkey-origins=https://example.com"}, "passkey-rp-id (default): must be given"},
		{[]string{"--public-url=http://127.0.0.1:8001", "--passkey-rp-id=127.0.0.1"}, "is an IP address: browsers make passkeys for domains only"},
		{[]string{"--public-url=https://id.example.com", "--passkey-rp-id=example.net"}, "example.net is the domain, or a parent domain, of no origin"},
		{[]string{"--public-url=https://id.example.com", "--passkey-rp-id=ample.com"}, "of no origin"},
		{[]string{"--public-url=https://id.example.com", "--passkey-rp-id=com"}, "anybody can register"},
		{[]string{"--public-url=https://id.example.com", "--passkey-roots=missing.pem"}, "passkey-roots (flag --passkey-roots)"},
		{[]string{"--public-url=https://id.example.com", "--passkey-roots=empty.pem"}, "holds no certificate"},
	} {
		got, err := config.Load(parseArgs(t, c.given...), nil, files{"empty.pem": "nothing"}.read, config.Serve)
		text := fmt.Sprint(got.PasskeyRPID, " ", got.PasskeyOrigins)
		if err != nil {
			text = err.Error()
		}
		if err == nil && text != c.want || err != nil && !strings.Contains(text, c.want) {
			t.Errorf("%v: %s, want %s", c.given, text, c.want)
		}
	}
}
