package outbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"propusk/internal/outbox"
)

// asked is a request as the stub of a gateway got it.
type asked struct {
	Method, Path, Query, Body string
	Header                    http.Header
	User, Password            string
}

// gateway is a stub that keeps requests and answers as it is told.
type gateway struct {
	*httptest.Server
	mu     sync.Mutex
	got    []asked
	answer func(w http.ResponseWriter, r *http.Request)
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		a := asked{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Body: string(body), Header: r.Header}
		a.User, a.Password, _ = r.BasicAuth()
		g.mu.Lock()
		g.got = append(g.got, a)
		answer := g.answer
		g.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) last(t *testing.T) asked {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.got) == 0 {
		t.Fatal("nobody asked")
	}
	return g.got[len(g.got)-1]
}

func (g *gateway) answers(f func(w http.ResponseWriter, r *http.Request)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = f
}

const nasty = "Код 12\"34\\ {to} &to=+7900 \r\n'<b>%41 \u2028"

func text(to string) outbox.Envelope {
	return outbox.Envelope{ID: "01990000-0000-7000-8000-000000000001", To: to, Lang: "ru", Kind: outbox.LoginCode, Text: nasty, CreatedAt: noon}
}

// What is in a text stays in it, whatever the gateway wants the request to be.
func TestTextStaysInItsPlace(t *testing.T) {
	g := newGateway(t)
	send := func(o outbox.SMSOptions) asked {
		t.Helper()
		if err := outbox.NewHTTPSMS(o).Send(t.Context(), text("+79853553825")); err != nil {
			t.Fatal(err)
		}
		return g.last(t)
	}
	form := send(outbox.SMSOptions{URL: g.URL + "/send", Method: "POST", Body: "to={to}&n={digits}&id={id}&text={text}"})
	q, err := url.ParseQuery(form.Body)
	if err != nil || len(q) != 4 || q.Get("to") != "+79853553825" || q.Get("n") != "79853553825" || q.Get("text") != nasty || q.Get("id") != text("").ID {
		t.Errorf("the form %q, %v", form.Body, err)
	}
	if form.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("its type is %q", form.Header.Get("Content-Type"))
	}
	var doc map[string]string
	js := send(outbox.SMSOptions{URL: g.URL, Method: "PUT", Headers: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "X-Key": {"k"}}, Body: `{"to":"{to}","text":"{text}"}`})
	if err := json.Unmarshal([]byte(js.Body), &doc); err != nil || len(doc) != 2 || doc["to"] != "+79853553825" || doc["text"] != nasty || js.Header.Get("X-Key") != "k" || js.Method != "PUT" {
		t.Errorf("the document %q, %v", js.Body, err)
	}
	get := send(outbox.SMSOptions{URL: g.URL + "/to/{digits}?text={text}&to={to}", Method: "GET"})
	q, err = url.ParseQuery(get.Query)
	if err != nil || len(q) != 2 || q.Get("text") != nasty || q.Get("to") != "+79853553825" || get.Path != "/to/79853553825" || get.Body != "" {
		t.Errorf("%s ? %s, %v", get.Path, get.Query, err)
	}
}

func TestAnswersOfTheGatewayAreClassified(t *testing.T) {
	g := newGateway(t)
	s := outbox.NewHTTPSMS(outbox.SMSOptions{URL: g.URL, Method: "POST", Body: "{to}{text}"})
	for code, want := range map[int]*outbox.SendError{
		200: nil, 204: nil,
		400: {Class: "http 400", Permanent: true}, 404: {Class: "http 404", Permanent: true}, 422: {Class: "http 422", Permanent: true},
		401: {Class: "http 401", Down: true}, 403: {Class: "http 403", Down: true}, 429: {Class: "http 429", Down: true}, 503: {Class: "http 503", Down: true},
		500: {Class: "http 500"},
	} {
		g.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		err := s.Send(t.Context(), text("+79853553825"))
		if want != nil {
			wantClass(t, err, *want)
		} else if err != nil {
			t.Errorf("%d: %v", code, err)
		}
	}
	g.Close()
	wantClass(t, s.Send(t.Context(), text("+79853553825")), outbox.SendError{Class: "connection refused", Down: true})
}

// A redirect could lead anywhere with the key and the code (S-47).
func TestRedirectOfTheGatewayIsNotFollowed(t *testing.T) {
	g, elsewhere := newGateway(t), newGateway(t)
	g.answers(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	s := outbox.NewHTTPSMS(outbox.SMSOptions{URL: g.URL, Method: "POST", Body: "{to}{text}"})
	wantClass(t, s.Send(t.Context(), text("+79853553825")), outbox.SendError{Class: "http 307", Down: true})
	if len(elsewhere.got) != 0 {
		t.Error("it was followed")
	}
}

func TestGatewayThatNeverEndsItsAnswerIsLeft(t *testing.T) {
	g := newGateway(t)
	wrote := 0
	g.answers(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			n, err := w.Write(make([]byte, 1<<20))
			wrote += n
			if err != nil {
				return
			}
		}
	})
	s := outbox.NewHTTPSMS(outbox.SMSOptions{URL: g.URL, Method: "POST", Body: "{to}{text}"})
	if err := s.Send(t.Context(), text("+79853553825")); err != nil {
		t.Error(err)
	}
	g.answers(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	// It was told the text: it may have sent it, and must not be told again at once.
	wantClass(t, s.Send(ctx, text("+79853553825")), outbox.SendError{Class: "timeout"})
	g.Close()
	if wrote > 64<<20 {
		t.Errorf("%d bytes were taken", wrote)
	}
}

// Who pumps SMS has numbers where they earn by each.
func TestOnlyAllowedCountriesGetText(t *testing.T) {
	g := newGateway(t)
	s := outbox.NewHTTPSMS(outbox.SMSOptions{URL: g.URL, Method: "POST", Body: "{to}{text}", Countries: []string{"RU"}})
	if err := s.Send(t.Context(), text("+79853553825")); err != nil {
		t.Error(err)
	}
	for to, class := range map[string]string{
		"+77011234567":   "country not allowed", // Kazakhstan, which has +7 too
		"+4915112345678": "country not allowed", "+79853553825,+4915112345678": "no number", "79853553825": "no number", "": "no number", "+79853553825 ": "no number",
	} {
		wantClass(t, s.Send(t.Context(), text(to)), outbox.SendError{Class: class, Permanent: true})
	}
	if len(g.got) != 1 {
		t.Errorf("%d requests", len(g.got))
	}
}

func TestAnswerWithoutTheWordOfSuccessIsNone(t *testing.T) {
	g := newGateway(t)
	s := outbox.NewHTTPSMS(outbox.SMSOptions{URL: g.URL, Method: "POST", Body: "{to}{text}", Success: `"sms_id"`})
	g.answers(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":"ERROR"}`) })
	wantClass(t, s.Send(t.Context(), text("+79853553825")), outbox.SendError{Class: "http 200, without sms-success in the answer"})
	g.answers(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Repeat(" ", 1000)+`{"sms_id":"1"}`)
	})
	if err := s.Send(t.Context(), text("+79853553825")); err != nil {
		t.Error(err)
	}
}
