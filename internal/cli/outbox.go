package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"propusk/internal/config"
	"propusk/internal/outbox"
)

type outboxCmd struct {
	List  outboxListCmd  `cmd:"" help:"List the messages that wait to be sent, or have failed, the oldest first."`
	Show  outboxShowCmd  `cmd:"" help:"Show a message; with --reveal also to whom and what, which is recorded."`
	Retry outboxRetryCmd `cmd:"" help:"Send a message that waits or has failed; a running service does so within a second."`
	Drop  outboxDropCmd  `cmd:"" help:"Delete a message that has not left."`
}

type outboxListCmd struct {
	Sent  bool   `help:"Also those that have left in the last hour (mail) or day (SMS)."`
	Limit int    `placeholder:"N" default:"100" help:"How many at most; 0 for all."`
	After string `placeholder:"ID" help:"Begin behind the message with this id."`
	config.Flags
}

// Run lists messages.
func (c *outboxListCmd) Run(r *run) error {
	if c.Limit < 0 {
		return usageError("--limit: must not be negative")
	}
	return onData(r, c.Flags, func(d *desk) error {
		var rows [][]string
		now := d.service.Now()
		last, more, err := c.each(d, func(m outbox.Row) {
			next := "-"
			if !m.NextAttempt.IsZero() {
				next = d.time(m.NextAttempt)
			}
			rows = append(rows, []string{m.ID, string(m.Channel), string(m.Kind), string(m.State), age(now.Sub(m.CreatedAt)), fmt.Sprint(m.Attempts), next, m.LastError})
		})
		if err == nil {
			err = table(r.Out, []string{"ID", "CHANNEL", "KIND", "STATE", "AGE", "ATTEMPTS", "NEXT ATTEMPT", "LAST ERROR"}, rows)
		}
		if err == nil && more {
			fmt.Fprintf(r.Err, "There are more: go on with --after=%s, or list all with --limit=0.\n", last)
		}
		return err
	})
}

// each calls f for the messages that were asked for, and tells the last of them
// and whether there are more.
func (c *outboxListCmd) each(d *desk, f func(outbox.Row)) (last string, more bool, err error) {
	last = c.After
	for n := 0; ; {
		page := listPage
		if c.Limit > 0 {
			page = min(page, c.Limit-n+1) // one more than is shown, to know whether it exists
		}
		rows, err := d.service.Messages(d.ctx, d.as, outbox.Filter{Sent: c.Sent, After: last, Limit: page})
		if err != nil {
			return "", false, err
		}
		for _, m := range rows {
			if n == c.Limit && c.Limit > 0 {
				return last, true, nil
			}
			f(m)
			n, last = n+1, m.ID
		}
		if len(rows) < page {
			return last, false, nil
		}
	}
}

// age is a duration as people say it.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Minute:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	default:
		return max(d, 0).Truncate(time.Second).String()
	}
}

type ofMessage struct {
	ID string `arg:"" help:"Id of the message, as propusk outbox list shows it."`
	config.Flags
}

type outboxShowCmd struct {
	Reveal bool `help:"Show the recipient and the content as well. Whoever sees a code or link can use it, so this is recorded in the trail."`
	ofMessage
}

// Run shows a message.
func (c *outboxShowCmd) Run(r *run) error {
	return onData(r, c.Flags, func(d *desk) error {
		var row outbox.Row
		var m outbox.Message
		var opened bool
		var err error
		if c.Reveal {
			row, m, opened, err = d.service.RevealMessage(d.ctx, d.as, c.ID)
		} else {
			row, err = d.service.Message(d.ctx, d.as, c.ID)
		}
		if err != nil {
			return err
		}
		at := func(t time.Time) string {
			if t.IsZero() {
				return "-"
			}
			return d.time(t)
		}
		lines := [][2]string{
			{"id", row.ID}, {"channel", string(row.Channel)}, {"kind", string(row.Kind)}, {"language", row.Lang}, {"user", row.SubjectID}, {"state", string(row.State)},
			{"created", at(row.CreatedAt)}, {"next attempt", at(row.NextAttempt)}, {"expires", at(row.ExpiresAt)}, {"sent", at(row.SentAt)}, {"failed", at(row.FailedAt)},
			{"attempts", fmt.Sprint(row.Attempts)}, {"last error", row.LastError},
		}
		switch {
		case opened:
			lines = append(lines, [2]string{"to", m.To})
			for _, k := range slices.Sorted(maps.Keys(m.Data)) {
				lines = append(lines, [2]string{"content: " + k, m.Data[k]})
			}
		case c.Reveal:
			lines = append(lines, [2]string{"content", "gone: it is deleted when the message leaves"})
		default:
			lines = append(lines, [2]string{"to, content", "sealed (--reveal shows them, and is recorded)"})
		}
		for _, l := range lines {
			if _, err := fmt.Fprintf(r.Out, "%-14s %s\n", l[0]+":", harmless(l[1])); err != nil {
				return err
			}
		}
		return nil
	})
}

type outboxRetryCmd struct{ ofMessage }

// Run makes a message due.
func (c *outboxRetryCmd) Run(r *run) error {
	return onData(r, c.Flags, func(d *desk) error {
		m, err := d.service.RetryMessage(d.ctx, d.as, c.ID)
		return d.confirmMessage(m, "is due now; a running service sends it within a second", err)
	})
}

type outboxDropCmd struct{ ofMessage }

// Run deletes a message.
func (c *outboxDropCmd) Run(r *run) error {
	return onData(r, c.Flags, func(d *desk) error {
		m, err := d.service.DropMessage(d.ctx, d.as, c.ID)
		return d.confirmMessage(m, "is deleted", err)
	})
}

// confirmMessage tells what became of a message.
func (d *desk) confirmMessage(m outbox.Row, what string, err error) error {
	if err == nil {
		_, err = fmt.Fprintf(d.Out, "%s (%s) %s\n", m.ID, m.Kind, what)
	}
	return err
}
