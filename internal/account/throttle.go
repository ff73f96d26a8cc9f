package account

import (
	"context"
	"net/netip"
	"time"

	"propusk/internal/db"
)

// A budget of attempts is a leaky bucket, kept in the database as the one
// number of GCRA: the instant at which it will be full again. It survives a
// restart, cannot be washed out by inventing names, and one statement takes an
// attempt from it, so that guesses made in parallel all count before any of
// them is checked.
type budget struct {
	scope string // for metrics and so that keys of different budgets differ
	key   []byte
	size  int
	every time.Duration // until there is one attempt more
}

// newBudget names a budget by a keyed fingerprint: people type passwords where
// their name belongs, and a plain hash of one could be guessed at.
func (s *Service) newBudget(scope, name string, size int, every time.Duration) budget {
	return budget{scope: scope, key: s.keys.MAC("throttle "+scope, []byte(name)), size: size, every: every}
}

// networkRefill gives a network its attempts back faster than an account: many
// people may share it.
const networkRefill = time.Second

// clockSlack is how much earlier than another one an attempt may have read the
// time: a request may be under way for some seconds, and the clocks of nodes
// differ.
const clockSlack = time.Minute

// budgets are what one attempt at a secret of the account is taken from. The
// account is named by its id where there is one, so that its e-mail address,
// its name and every route share one budget; an unknown one by the canonical
// form of what was typed.
func (s *Service) budgets(caller Caller, account string) []budget {
	b := []budget{s.newBudget("account", account, s.policy.AttemptsPerAccount, s.policy.AttemptsRefill)}
	if caller.Kind != Operator && caller.IP.IsValid() {
		b = append(b, s.newBudget("network", networkOf(caller.IP), s.policy.AttemptsPerNetwork, networkRefill))
	}
	return b
}

// networkOf is the /24 of an IPv4 address and the /64 of an IPv6 one: what one
// customer usually has to himself.
func networkOf(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 24
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return ip.String()
	}
	return p.String()
}

// take takes one attempt from every budget, or from none.
func (s *Service) take(ctx context.Context, now time.Time, budgets []budget) error {
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		for _, b := range budgets {
			if err := b.take(ctx, tx, now); err != nil {
				return err
			}
		}
		return nil
	})
	if e, ok := err.(*throttledError); ok { //nolint:errorlint // made a few lines above, never wrapped
		s.metrics.throttled.WithLabelValues(e.scope).Inc()
		return &Error{Kind: Throttled, Fault: Fault{Code: CodeTooManyAttempts}, RetryAfter: e.wait}
	}
	return err
}

type throttledError struct {
	scope string
	wait  time.Duration
}

func (e *throttledError) Error() string { return "budget " + e.scope + " is empty" }

func (b budget) take(ctx context.Context, tx *db.Tx, now time.Time) error {
	every := b.every.Microseconds()
	empty := db.Micros(now) + every*int64(b.size)
	n, err := tx.Exec(ctx, takeAttempt, b.key, db.Micros(now)+every, every, db.Micros(now), empty, empty+clockSlack.Microseconds())
	if err != nil || n == 1 {
		return err
	}
	var tat int64
	if err := tx.QueryRow(ctx, selectBudget, []any{b.key}, &tat); err != nil {
		return err
	}
	wait := time.Duration(tat+every-empty) * time.Microsecond
	return &throttledError{scope: b.scope, wait: max(wait, time.Second)}
}

// unused gives attempts back that were taken but not used: no password was looked
// at. It goes on where the request has ended, which is why most are unused.
func (s *Service) unused(ctx context.Context, budgets []budget) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = s.db.Tx(ctx, func(tx *db.Tx) error { // a failure leaves the attempts spent, and time gives them back
		for _, b := range budgets {
			if _, err := tx.Exec(ctx, returnAttempt, b.key, b.every.Microseconds()); err != nil {
				return err
			}
		}
		return nil
	})
}

// giveBack undoes the attempt after a success: the account starts afresh, the
// network gets this one attempt back.
func giveBack(ctx context.Context, tx *db.Tx, budgets []budget) error {
	for _, b := range budgets {
		var err error
		if b.scope == "account" {
			_, err = tx.Exec(ctx, clearBudget, b.key)
		} else {
			_, err = tx.Exec(ctx, returnAttempt, b.key, b.every.Microseconds())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
