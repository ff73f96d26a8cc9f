package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"propusk/internal/db"
	"propusk/internal/outbox"
	"propusk/internal/secret"
)

const operatingPage = "../../docs/operating.md"

// gatewayExample is what the documentation says of one gateway.
func gatewayExample(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile(operatingPage)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n# " + regexp.QuoteMeta(name) + "\n(.*?)```").FindStringSubmatch(string(page))
	if m == nil {
		t.Fatalf("%s has no example of %s", operatingPage, name)
	}
	return m[1]
}

// The settings that the documentation gives for gateways, word for word but for
// the host, make the request that each of these takes. What it answers is what it
// documents.
func TestDocumentedGatewaysAreAskedAsTheyWant(t *testing.T) {
	for name, c := range map[string]struct {
		host, answer string
		status       int
		path         string
		user, pass   string
		form         map[string]string
	}{
		"SMS.RU": {
			host: "https://sms.ru", status: 200,
			answer: `{"status":"OK","status_code":100,"sms":{"79853553825":{"status":"OK","status_code":100,"sms_id":"000000-10000000"}},"balance":4122.56}`,
			path:   "/sms/send", form: map[string]string{"api_id": "YOUR-API-ID", "to": "79853553825", "json": "1", "msg": ""},
		},
		"Twilio": {
			host: "https://ACCOUNT-SID:AUTH-TOKEN@api.twilio.com", status: 201, answer: `{"sid":"SM1","status":"queued"}`,
			path: "/2010-04-01/Accounts/ACCOUNT-SID/Messages.json", user: "ACCOUNT-SID", pass: "AUTH-TOKEN",
			form: map[string]string{"To": "+79853553825", "From": "+15005550006", "Body": ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan *http.Request, 10)
			stub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				r.Body = io.NopCloser(strings.NewReader(string(body)))
				asked <- r
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.answer) // to our own client
			}))
			t.Cleanup(stub.Close)
			settings := gatewayExample(t, name)
			if !strings.Contains(settings, c.host) {
				t.Fatalf("the example does not name %s", c.host)
			}
			here := strings.TrimPrefix(stub.URL, "http://")
			if c.user != "" {
				here = c.user + ":" + c.pass + "@" + here
			}
			dir := t.TempDir()
			file := filepath.Join(dir, "sms.yaml")
			if err := os.WriteFile(file, []byte(strings.Replace(settings, c.host, "http://"+here, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"--config=" + file, "--database=sqlite:" + filepath.Join(dir, "p.db"), "--master-key-file=" + filepath.Join(dir, "key")}
			run(t, dir, append([]string{"serve"}, args...)...)
			queueText(t, dir)
			select {
			case r := <-asked:
				judgeAsked(t, r, c.path, c.user, c.pass, c.form)
			case <-time.After(10 * time.Second):
				t.Fatal("nobody asked the gateway")
			}
			left := false
			for end := time.Now().Add(10 * time.Second); !left && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				rows, err := query(t.Context(), "sqlite", "file:"+filepath.Join(dir, "p.db"), `SELECT id FROM outbox WHERE sent_at IS NOT NULL`)
				left = err == nil && len(rows) == 1
			}
			if !left {
				t.Error("its answer is not taken for success")
			}
		})
	}
}

// queueText queues a text message beside the running service.
func queueText(t *testing.T, dir string) {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{URL: "sqlite:" + filepath.Join(dir, "p.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() //nolint:errcheck // it is only written to once
	keys, err := secret.ReadKeys(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	err = d.Tx(t.Context(), func(tx *db.Tx) error {
		return outbox.Enqueue(t.Context(), tx, keys, time.Now(), outbox.Message{
			Channel: outbox.SMS, Kind: outbox.VerifyPhone, To: "+79853553825", Lang: "ru", Data: map[string]string{"code": "123456", "minutes": "10"},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func judgeAsked(t *testing.T, r *http.Request, path, user, pass string, form map[string]string) {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	u, p, _ := r.BasicAuth()
	if r.Method != http.MethodPost || r.URL.Path != path || r.URL.RawQuery != "" || u != user || p != pass || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("%s %s as %q:%q, %q", r.Method, r.URL, u, p, r.Header.Get("Content-Type"))
	}
	got, err := url.ParseQuery(string(body))
	if err != nil || len(got) != len(form) {
		t.Errorf("the form is %q, %v", body, err)
	}
	for name, want := range form {
		if text := got.Get(name); want != "" && text != want || want == "" && !strings.Contains(text, "123456") {
			t.Errorf("%s is %q", name, text)
		}
	}
}
