package dev

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Clock is a clock that can be moved.
type Clock struct {
	real func() time.Time

	mu    sync.Mutex
	ahead time.Duration
}

// NewClock makes one that shows what another does until it is moved, and goes as
// that one goes. Tests have it stand still.
func NewClock(real func() time.Time) *Clock { return &Clock{real: real} }

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.real().Add(c.ahead)
}

// Move moves the time: ahead, or where d is negative back.
func (c *Clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// Reset undoes all that Move did.
func (c *Clock) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = 0
}

// Ahead is by how much it was moved.
func (c *Clock) Ahead() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead
}

// farthest is how far ahead of the real time the clock can be.
const farthest = 100 * 365 * 24 * time.Hour

type clockData struct {
	Now   string `json:"now"`
	Ahead string `json:"ahead"` // of the real time
}

func (d *Dev) clock() clockData {
	return clockData{Now: d.time(d.o.Clock.Now()), Ahead: d.o.Clock.Ahead().Round(time.Second).String()}
}

func (d *Dev) readClock(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, d.clock()) }

// clockRequest is one of three.
type clockRequest struct {
	Advance string    `json:"advance"`
	Set     time.Time `json:"set"`
	Reset   bool      `json:"reset"`
}

func (d *Dev) moveClock(w http.ResponseWriter, r *http.Request) {
	var in clockRequest
	if !decode(w, r, &in) {
		return
	}
	if err := d.move(r.Context(), in); err != nil {
		d.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, d.clock())
}

// move moves the clock. What was asked for before happens by the old time, and
// when it returns everything is over that is over by the new one.
//
// Back it goes only to the real time: the service does not unlearn what it has
// seen end, and would have to be asked about a time that it has been through.
func (d *Dev) move(ctx context.Context, in clockRequest) error {
	d.moving.Lock()
	defer d.moving.Unlock()
	step, err := d.step(in)
	if err != nil {
		return err
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	if in.Reset {
		d.o.Clock.Reset()
	} else {
		d.o.Clock.Move(step)
	}
	if err := d.o.Service.CatchUp(ctx); err != nil {
		return err
	}
	return d.settle(ctx)
}

// step is by how much the clock is to be moved ahead.
func (d *Dev) step(in clockRequest) (time.Duration, error) {
	asked := 0
	for _, given := range []bool{in.Advance != "", !in.Set.IsZero(), in.Reset} {
		if given {
			asked++
		}
	}
	if asked != 1 {
		return 0, &refusal{"", `send one of {"advance": "720h"}, {"set": "2026-12-31T00:00:00Z"} and {"reset": true}`}
	}
	var step time.Duration
	switch {
	case in.Reset:
		return 0, nil
	case in.Advance != "":
		var ok bool
		if step, ok = parseDuration(in.Advance); !ok || step <= 0 {
			return 0, &refusal{"advance", "this is a duration above zero, such as 90s, 15m, 24h or 30d"}
		}
	default:
		if step = in.Set.Sub(d.o.Clock.Now()); step < 0 {
			return 0, &refusal{"set", "the clock goes back only to the real time, by reset"}
		}
	}
	if ahead := d.o.Clock.Ahead(); step > farthest || ahead+step > farthest {
		return 0, &refusal{"", "the clock goes at most 100 years ahead of the real time"}
	}
	return step, nil
}

// parseDuration reads Go's durations, and days.
func parseDuration(text string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	t, err := time.ParseDuration(text)
	return t, err == nil
}
