package dev

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"propusk/internal/outbox"
)

const (
	// mostWait is the longest that anybody can wait for a message, which is less
	// than a request may take.
	mostWait      = 10 * time.Second
	usualMessages = 50
	mostMessages  = 1000 // the inbox keeps no more
)

// message is a message on the wire.
type message struct {
	ID        string `json:"id"`
	Channel   string `json:"channel"`
	Kind      string `json:"kind"`
	To        string `json:"to"`
	Language  string `json:"language"`
	Subject   string `json:"subject,omitzero"`
	Text      string `json:"text"`
	HTML      string `json:"html,omitzero"` // of one that is asked for by its id
	Link      string `json:"link,omitzero"`
	Token     string `json:"token,omitzero"` // of the link
	Code      string `json:"code,omitzero"`
	CreatedAt string `json:"created_at"`
}

type messageList struct {
	Messages []message `json:"messages"` // the newest first
}

func (d *Dev) wire(e outbox.Envelope) message {
	return message{
		ID: e.ID, Channel: string(channelOf(e)), Kind: string(e.Kind), To: e.To, Language: e.Lang, Subject: e.Subject, Text: e.Text,
		Link: e.Link, Token: TokenOf(e), Code: e.Code, CreatedAt: d.time(e.CreatedAt),
	}
}

// channelOf: a number holds no @, and an address does.
func channelOf(e outbox.Envelope) outbox.Channel {
	if strings.Contains(e.To, "@") {
		return outbox.Mail
	}
	return outbox.SMS
}

// TokenOf gives the token of a message's link; "" where it has none.
func TokenOf(e outbox.Envelope) string {
	u, err := url.Parse(e.Link)
	if err != nil {
		return ""
	}
	return u.Query().Get("token")
}

// wanted is what of the inbox somebody wants to see.
type wanted struct {
	to, kind, after string
	wait            time.Duration
	limit           int
}

var errQuery = &refusal{"", "this takes to=ADDRESS, kind=KIND, after=ID, limit=1…1000 and wait=0s…10s"}

func parseWanted(r *http.Request) (q wanted, err error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, errQuery
	}
	q.limit = usualMessages
	for name, v := range values {
		ok := len(v) == 1
		switch name {
		case "to":
			q.to = v[0]
		case "kind":
			q.kind = v[0]
		case "after":
			q.after = v[0]
		case "limit":
			q.limit, err = strconv.Atoi(v[0])
			ok = ok && err == nil && q.limit >= 1 && q.limit <= mostMessages
		case "wait":
			q.wait, err = time.ParseDuration(v[0])
			ok = ok && err == nil && q.wait >= 0 && q.wait <= mostWait
		default:
			ok = false
		}
		if !ok {
			return q, errQuery
		}
	}
	return q, nil
}

// takes makes the test of a message. What came up to after, and that one itself,
// is old; one that is not there (any more) makes nothing old.
func (q wanted) takes(present []outbox.Envelope) func(outbox.Envelope) bool {
	old := map[string]bool{}
	if i := slices.IndexFunc(present, func(e outbox.Envelope) bool { return q.after != "" && e.ID == q.after }); i >= 0 {
		for _, e := range present[:i+1] {
			old[e.ID] = true
		}
	}
	return func(e outbox.Envelope) bool {
		return (q.to == "" || strings.EqualFold(q.to, e.To)) && (q.kind == "" || q.kind == string(e.Kind)) && !old[e.ID]
	}
}

// find gives what is wanted, the newest first. Where there is nothing, it waits.
func (d *Dev) find(ctx context.Context, q wanted) ([]outbox.Envelope, error) {
	if err := d.settle(ctx); err != nil {
		return nil, err
	}
	takes := q.takes(d.o.Inbox.Messages(""))
	if q.wait > 0 {
		if err := d.await(ctx, q.wait, takes); err != nil {
			return nil, err
		}
	}
	var out []outbox.Envelope
	for _, e := range slices.Backward(d.o.Inbox.Messages("")) {
		if takes(e) && len(out) < q.limit {
			out = append(out, e)
		}
	}
	return out, nil
}

// await waits for a message. That none came is no error.
func (d *Dev) await(ctx context.Context, most time.Duration, takes func(outbox.Envelope) bool) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	go func() {
		select {
		case <-d.o.Stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	_, err := d.o.Inbox.Wait(ctx, takes)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// message finds one by its id.
func (d *Dev) message(id string) (outbox.Envelope, bool) {
	all := d.o.Inbox.Messages("")
	i := slices.IndexFunc(all, func(e outbox.Envelope) bool { return e.ID == id })
	if i < 0 {
		return outbox.Envelope{}, false
	}
	return all[i], true
}

func (d *Dev) listMessages(w http.ResponseWriter, r *http.Request) {
	q, err := parseWanted(r)
	if err != nil {
		d.fail(w, r, err)
		return
	}
	found, err := d.find(r.Context(), q)
	if err != nil {
		d.fail(w, r, err)
		return
	}
	out := messageList{Messages: []message{}}
	for _, e := range found {
		out.Messages = append(out.Messages, d.wire(e))
	}
	answer(w, http.StatusOK, out)
}

func (d *Dev) readMessage(w http.ResponseWriter, r *http.Request) {
	e, ok := d.message(r.PathValue("id"))
	if !ok {
		refuse(w, http.StatusNotFound, "message_not_found", "There is no such message, or none any more: the last thousand are kept.")
		return
	}
	m := d.wire(e)
	m.HTML = e.HTML
	answer(w, http.StatusOK, m)
}

// clearMessages also drops what is under way: whoever clears the inbox wants to
// see only what he causes from then on.
func (d *Dev) clearMessages(w http.ResponseWriter, r *http.Request) {
	if err := d.settle(r.Context()); err != nil {
		d.fail(w, r, err)
		return
	}
	d.o.Inbox.Clear()
	answer(w, http.StatusOK, nil)
}
