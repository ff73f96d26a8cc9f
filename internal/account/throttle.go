package account

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"propusk/internal/db"
	"propusk/internal/secret"
)

// A budget of attempts is one row in the database. It survives a restart, cannot
// be washed out by inventing names, and one statement takes an attempt from it,
// so that attempts made in parallel all count before any of them is checked. That
// statement does not wait for the disk: a power cut may give back the attempts of
// its last moments, but not those of which the trail tells that they failed.
//
// There are three kinds. A bucket leaks: it gives an attempt back with time. A
// growing one counts failures in a row: after so many each further attempt has
// to wait, longer every time. A ceiling counts them too, and never lets more
// through.
type budget struct {
	kind  budgetKind
	scope string // for metrics and so that keys of different budgets differ
	key   []byte
	size  int
	every time.Duration // a bucket: until there is one attempt more; a growing one: the first wait
	// lasting keeps a ceiling for good; otherwise it is forgotten as a growing one.
	lasting bool
	// ofProofs marks what is taken by tries at codes that prove an address or number:
	// a success gives back its own attempt and no other, and a ceiling is forgotten
	// after a day without one, however few there were.
	ofProofs bool
}

type budgetKind uint8

const (
	bucket budgetKind = iota
	growing
	ceiling
)

// newBudget names a budget by a keyed fingerprint: people type passwords where
// their name belongs, and a plain hash of one could be guessed at.
func (s *Service) newBudget(kind budgetKind, scope, name string, size int, every time.Duration) budget {
	return budget{kind: kind, scope: scope, key: s.keys.MAC("throttle "+scope, []byte(name)), size: size, every: every}
}

const (
	// networkRefill gives a network its attempts back faster than an account:
	// many people may share it.
	networkRefill = time.Second
	// clockSlack is how much earlier than another one an attempt may have read the
	// time: a request may be under way for some seconds, and the clocks of nodes
	// differ.
	clockSlack = time.Minute
	// Failures are forgotten after so long without an attempt: some of them soon,
	// since whoever invents names could fill the disk, and many of them late. It
	// does not depend on whether somebody has the name, or it would tell.
	forgetSome = time.Hour
	forgetMany = 24 * time.Hour
	forever    = 100 * 365 * 24 * time.Hour
	// manyFailures is what counts as many for a ceiling.
	manyFailures = 10
)

// The scopes of budgets.
const (
	scopeAccount       = "account"       // by the account, over all strangers
	scopeDevice        = "device"        // by the account and a device that it knows
	scopeNetwork       = "network"       // by the network, over all accounts
	scopePassword      = "password"      // by the account, over everybody
	scopeRegistrations = "registrations" // by the network
	scopeCode          = "code"          // tries at a code, by the account, and by its known devices
	scopeCodes         = "codes"         // the same, in a row over many codes
	scopeAsked         = "asked"         // messages that strangers ask for, by the name that they give
	scopeAskers        = "askers"        // the same by the network
	scopeRecipient     = "recipient"     // messages by the address that they go to
	scopePasskeys      = "passkeys"      // challenges that strangers ask for, by the network
	scopeNotices       = "notices"       // messages about new sign-ins, by the account
	scopeCopies        = "copies"        // messages about passkeys that may have been copied, by the account
)

// Limits of codes and messages that no operator need change.
const (
	// codeTries is how many codes may be tried in the lifetime of one. A new code
	// gives no new tries.
	codeTries      = 5
	noticesAtATime = 3
	noticesRefill  = 8 * time.Hour
	askersRefill   = 10 * time.Second
)

// attempt is one attempt at the password of an account: what it was taken from,
// and for whom it is.
type attempt struct {
	account string // the user's id, or the canonical form of a name that nobody has
	mark
	// closed: too many failures in a row, whoever it was. The password is not
	// looked at any more, except from a known device, and the answer is that of a
	// wrong one.
	closed bool
	taken  []budget // from which it was taken
	clears []budget // those that a success fills again
}

// passwordBudget is what everybody's failures at an account's password are counted in.
func (s *Service) passwordBudget(account string, exists bool) budget {
	b := s.newBudget(ceiling, scopePassword, account, s.policy.AttemptsLimit, 0)
	b.lasting = exists
	return b
}

func (s *Service) accountBudget(account string) budget {
	return s.newBudget(growing, scopeAccount, account, s.policy.AttemptsPerAccount, s.policy.AttemptsRefill)
}

// attempt takes one attempt at a secret of the account, before anything is
// checked. The account is named by its id where there is one, so that its e-mail
// address, its name and every route share one budget; an unknown one by the
// canonical form of what was typed.
//
// A known device has a budget of its own, and needs no other: whatever strangers
// do, its owner gets in. After [Policy.AttemptsLimit] failures in a row it is a
// stranger like all others.
func (s *Service) attempt(ctx context.Context, now time.Time, caller Caller, account string, exists bool) (attempt, error) {
	a := attempt{account: account, mark: s.knownDevice(now, account, caller.Devices)}
	if a.known {
		spent, err := s.takeAsDevice(ctx, now, &a, exists)
		if err != nil || !spent {
			return a, err
		}
		a.known = false
	}
	budgets := []budget{s.accountBudget(account), s.passwordBudget(account, exists)}
	if n, ok := s.networkBudget(caller); ok {
		budgets = append(budgets, n)
	}
	err := s.takeAll(ctx, now, &a, budgets)
	return a, err
}

// takeAll takes one attempt from every budget, or from none. An attempt at what a
// ceiling has closed is made all the same, and leads nowhere.
func (s *Service) takeAll(ctx context.Context, now time.Time, a *attempt, budgets []budget) error {
	if err := s.knownEmpty(now, budgets...); err != nil {
		return err
	}
	err := s.db.TxRelaxed(ctx, func(tx *db.Tx) error {
		a.closed, a.taken, a.clears = false, nil, budgets
		for _, b := range budgets {
			taken, err := b.take(ctx, tx, now, s.policy.AttemptsMaxWait)
			switch {
			case err != nil:
				return err
			case taken:
				a.taken = append(a.taken, b)
			case b.kind == ceiling:
				a.closed = true
			default:
				return b.refusal(ctx, tx, now)
			}
		}
		return nil
	})
	if a.closed && err == nil {
		s.metrics.throttled.WithLabelValues(budgets[1].scope).Inc()
	}
	return s.throttled(now, err)
}

func (s *Service) takeAsDevice(ctx context.Context, now time.Time, a *attempt, exists bool) (spent bool, err error) {
	own := s.newBudget(growing, scopeDevice, a.account+" "+a.device.String(), s.policy.AttemptsPerAccount, s.policy.AttemptsRefill)
	all := s.passwordBudget(a.account, exists)
	a.clears = []budget{own, all}
	if err := s.knownEmpty(now, own); err != nil {
		return false, err
	}
	err = s.db.TxRelaxed(ctx, func(tx *db.Tx) error {
		spent, a.taken = false, []budget{own}
		taken, err := own.take(ctx, tx, now, s.policy.AttemptsMaxWait)
		if err != nil {
			return err
		}
		if !taken {
			return own.refusal(ctx, tx, now)
		}
		failures := 0
		if err := tx.QueryRow(ctx, selectFailures, []any{own.key}, &failures); err != nil {
			return err
		}
		if spent = failures > s.policy.AttemptsLimit; spent {
			return nil
		}
		// It counts for all, and is not refused for what others did.
		if taken, err = all.take(ctx, tx, now, 0); taken {
			a.taken = append(a.taken, all)
		}
		return err
	})
	return spent, s.throttled(now, err)
}

// throttled turns an empty budget into the refusal of the request, and remembers
// it.
func (s *Service) throttled(now time.Time, err error) error {
	e, ok := err.(*throttledError) //nolint:errorlint // made in this file, never wrapped
	if !ok {
		return err
	}
	s.empty.note(e.key, now, e.wait)
	return s.refuseEmpty(e.scope, e.wait)
}

// knownEmpty refuses what the database would refuse.
func (s *Service) knownEmpty(now time.Time, budgets ...budget) error {
	for _, b := range budgets {
		if b.kind == ceiling {
			continue
		}
		if wait := s.empty.wait(b.key, now); wait > 0 {
			return s.refuseEmpty(b.scope, wait)
		}
	}
	return nil
}

func (s *Service) refuseEmpty(scope string, wait time.Duration) error {
	s.metrics.throttled.WithLabelValues(scope).Inc()
	return &Error{Kind: Throttled, Fault: Fault{Code: CodeTooManyAttempts}, RetryAfter: wait}
}

type throttledError struct {
	scope string
	key   []byte
	wait  time.Duration
}

func (e *throttledError) Error() string { return "budget " + e.scope + " is empty" }

// take takes one attempt, if there is one.
func (b budget) take(ctx context.Context, tx *db.Tx, now time.Time, maxWait time.Duration) (bool, error) {
	us, every := db.Micros(now), b.every.Microseconds()
	var n int64
	var err error
	switch b.kind {
	case bucket:
		empty := us + every*int64(b.size)
		n, err = tx.Exec(ctx, takeFromBucket, b.key, us+every, every, us, empty, empty+clockSlack.Microseconds())
	case growing:
		longest := max(maxWait, b.every).Microseconds()
		first := us
		if b.size <= 1 {
			first += every
		}
		n, err = tx.Exec(ctx, takeGrowing, b.key, us, b.size, every, longest, us+longest, first,
			us+forgetSome.Microseconds(), us+forgetMany.Microseconds(), us+clockSlack.Microseconds())
	case ceiling:
		some, many := forgetSome, forgetMany
		switch {
		case b.lasting:
			some, many = forever, forever
		case b.ofProofs: // or nine guesses and an hour's rest would go on for ever
			some = forgetMany
		}
		n, err = tx.Exec(ctx, takeBelowCeiling, b.key, us, b.size, us+some.Microseconds(), us+many.Microseconds(), manyFailures)
	}
	return n == 1, err
}

// refusal says how long there will be no attempt.
func (b budget) refusal(ctx context.Context, tx *db.Tx, now time.Time) error {
	var until int64
	if err := tx.QueryRow(ctx, selectUntil, []any{b.key}, &until); err != nil {
		return err
	}
	wait := time.Duration(until-db.Micros(now)) * time.Microsecond
	if b.kind == bucket {
		wait -= b.every * time.Duration(b.size-1)
	}
	return &throttledError{scope: b.scope, key: b.key, wait: max(wait, time.Second)}
}

// unused gives attempts back that were taken but not used, since we had no room to
// look at a password. Whoever goes away himself has used his: he may have what he
// came for by then, or the work is done. It goes on where the request has ended.
func (s *Service) unused(ctx context.Context, budgets []budget, cause error) {
	var refusal *Error
	if !errors.As(cause, &refusal) || !refusal.unhashed {
		return
	}
	now := s.now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = s.db.TxRelaxed(ctx, func(tx *db.Tx) error { // a failure leaves the attempts spent, and time gives them back
		for _, b := range budgets {
			if err := s.putBack(ctx, tx, now, b); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) putBack(ctx context.Context, tx *db.Tx, now time.Time, b budget) (err error) {
	s.empty.filled(b.key)
	if b.kind == bucket {
		_, err = tx.Exec(ctx, returnToBucket, b.key, b.every.Microseconds())
	} else {
		_, err = tx.Exec(ctx, uncountFailure, b.key, db.Micros(now))
	}
	return err
}

// giveBack undoes the attempt after a success. Failures in a row are over, those
// of the strangers only if it was one of them who succeeded: otherwise every
// login of the owner would give them new guesses. The network gets this one
// attempt back.
func (s *Service) giveBack(ctx context.Context, tx *db.Tx, now time.Time, budgets []budget) error {
	for _, b := range budgets {
		var err error
		if b.kind == bucket || b.ofProofs {
			err = s.putBack(ctx, tx, now, b)
		} else {
			err = s.clear(ctx, tx, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) clear(ctx context.Context, tx *db.Tx, b budget) error {
	s.empty.filled(b.key)
	_, err := tx.Exec(ctx, clearBudget, b.key)
	return err
}

// forgive forgets the failures at a password that is no longer the account's, and
// at codes, for whoever has set a new one, or on an operator's word.
func (s *Service) forgive(ctx context.Context, tx *db.Tx, userID string) error {
	if err := s.forgivePassword(ctx, tx, userID); err != nil {
		return err
	}
	return s.forgiveCodes(ctx, tx, userID, codesOfFactors)
}

// forgivePassword is forgive for whoever has shown no second factor: or he who reads
// somebody's mail had a hundred more guesses at the factor with each recovery.
func (s *Service) forgivePassword(ctx context.Context, tx *db.Tx, userID string) error {
	for _, b := range []budget{s.accountBudget(userID), s.passwordBudget(userID, true)} {
		if err := s.clear(ctx, tx, b); err != nil {
			return err
		}
	}
	return s.forgiveCodes(ctx, tx, userID, codesSent)
}

// forgiveCodes leaves the tries of these ten minutes spent.
func (s *Service) forgiveCodes(ctx context.Context, tx *db.Tx, userID, sort string) error {
	for _, who := range []string{"", codesOfDevices, codesOfSessions} {
		if err := s.clear(ctx, tx, s.newBudget(ceiling, scopeCodes, sort+userID+who, s.policy.AttemptsLimit, 0)); err != nil {
			return err
		}
	}
	return nil
}

// Which codes are tried, and who tries those of an account, beside strangers.
const (
	codesSent       = "sent "
	codesOfFactors  = "factor "
	codesOfDevices  = " devices"
	codesOfSessions = " sessions"

	// Those that prove an address or a number, see [Service.takeProofTry].
	codesToEmail    = "to email "
	codesToPhone    = "to phone "
	codesToNewcomer = "to newcomer "
)

// ResetLimits forgets, on an operator's word, all that anybody has taken from any
// budget.
func (s *Service) ResetLimits(ctx context.Context, caller Caller) error {
	now := s.now()
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		if err := s.authorize(ctx, tx, now, caller, resetLimits, "", nil); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, clearBudgets)
		return err
	})
	if err == nil {
		s.empty.forget()
	}
	return err
}

// takeTry takes one try at a code that logs in or recovers. A known device has
// tries of its own, and so has whoever is logged in to the account. After
// [Policy.AttemptsLimit] failures in a row no code counts any more, and the answer
// is that to a wrong one: a link, which nobody can guess, still does. Known
// devices share that limit: whoever could once log in can have made as many of
// them as he liked, and a million codes would soon be tried.
func (s *Service) takeTry(ctx context.Context, now time.Time, caller Caller, account string, exists bool) (attempt, error) {
	return s.takeTryAt(ctx, now, caller, account, codesSent, exists)
}

// takeTryAt is the same for codes of one sort.
func (s *Service) takeTryAt(ctx context.Context, now time.Time, caller Caller, account, sort string, exists bool) (attempt, error) {
	a := attempt{account: account, mark: s.knownDevice(now, account, caller.Devices)}
	name, everybody := sort+account, sort+account
	switch {
	case a.known:
		name, everybody = name+" "+a.device.String(), everybody+codesOfDevices
	case caller.Kind == User && caller.UserID == account:
		name, everybody = name+codesOfSessions, everybody+codesOfSessions
	}
	all := s.newBudget(ceiling, scopeCodes, everybody, s.policy.AttemptsLimit, 0)
	all.lasting = exists
	budgets := []budget{s.newBudget(bucket, scopeCode, name, codeTries, codeLifetime), all}
	if n, ok := s.networkBudget(caller); ok {
		budgets = append(budgets, n)
	}
	err := s.takeAll(ctx, now, &a, budgets)
	// A code that was right makes up for all tries at it.
	a.clears = append([]budget{}, budgets...)
	a.clears[0].kind = growing
	return a, err
}

// takeTryFor takes one try at a code of a purpose.
func (s *Service) takeTryFor(ctx context.Context, now time.Time, caller Caller, account string, p purpose, exists bool) (attempt, error) {
	switch p {
	case forVerifyEmail, forChangeEmail: // one place takes both
		return s.takeProofTry(ctx, now, caller, account, codesToEmail)
	case forVerifyPhone:
		return s.takeProofTry(ctx, now, caller, account, codesToPhone)
	case forRegister:
		return s.takeProofTry(ctx, now, caller, account, codesToNewcomer)
	default:
		return s.takeTry(ctx, now, caller, account, exists)
	}
}

// takeProofTry takes one try at a code that proves an address or a number which
// may be anybody's. Whoever owns the account may be the one who guesses, and could
// at will log in, be sent codes of his own and prove a second mailbox. So neither
// his devices nor his sessions have tries of their own, and no success clears what
// wrong guesses have used. The ceiling is forgotten after a day's rest: nothing but
// a new proof depends on it, and a link, which nobody can guess, counts all the
// same.
func (s *Service) takeProofTry(ctx context.Context, now time.Time, caller Caller, account, sort string) (attempt, error) {
	a := attempt{account: account}
	budgets := []budget{
		s.newBudget(bucket, scopeCode, sort+account, codeTries, codeLifetime),
		s.newBudget(ceiling, scopeCodes, sort+account, s.policy.AttemptsLimit, 0),
	}
	for i := range budgets {
		budgets[i].ofProofs = true
	}
	if n, ok := s.networkBudget(caller); ok {
		budgets = append(budgets, n)
	}
	err := s.takeAll(ctx, now, &a, budgets)
	return a, err
}

func (s *Service) networkBudget(caller Caller) (budget, bool) {
	if caller.Kind == Operator || !caller.IP.IsValid() {
		return budget{}, false
	}
	return s.newBudget(bucket, scopeNetwork, networkOf(caller.IP), s.policy.AttemptsPerNetwork, networkRefill), true
}

// takeMessage takes one message to an address from its budget, and tells whether
// there was one. A known device has a budget of its own to an address that is
// proven, so that no stranger can keep the owner from being written to; see
// [Service.askingDevice].
func (s *Service) takeMessage(ctx context.Context, tx *db.Tx, now time.Time, purpose, address, device string) (bool, error) {
	name := purpose + " " + canonicalName(address) // or every spelling of it had its own
	if device != "" {
		name += " " + device
	}
	return s.newBudget(bucket, scopeRecipient, name, s.policy.MessagesPerAddress, s.policy.MessagesRefill).take(ctx, tx, now, 0)
}

// takeOrRefuse takes from a bucket, in a transaction of its own.
func (s *Service) takeOrRefuse(ctx context.Context, now time.Time, b budget) error {
	if err := s.knownEmpty(now, b); err != nil {
		return err
	}
	err := s.db.TxRelaxed(ctx, func(tx *db.Tx) error {
		taken, err := b.take(ctx, tx, now, 0)
		if err == nil && !taken {
			err = b.refusal(ctx, tx, now)
		}
		return err
	})
	return s.throttled(now, err)
}

// takeRegistration takes from what the caller's network may register. Whoever
// comes from this very machine has none: he needs no network, or stands behind a
// proxy that has not been named, and would be taken for everybody.
func (s *Service) takeRegistration(ctx context.Context, now time.Time, caller Caller) ([]budget, error) {
	if caller.Kind == Operator || !caller.IP.IsValid() || caller.IP.IsLoopback() {
		return nil, nil
	}
	b := s.newBudget(bucket, scopeRegistrations, networkOf(caller.IP), s.policy.RegistrationsPerNetwork, s.policy.RegistrationsRefill)
	return []budget{b}, s.takeOrRefuse(ctx, now, b)
}

// networkOf is the /24 of an IPv4 address and the /64 of an IPv6 one: what one
// customer usually has to himself.
func networkOf(ip netip.Addr) string { return prefixOf(ip, 24, 64) }

// wideNetworkOf is the /16 and the /48: what one provider or one botnet's landlord
// has many of.
func wideNetworkOf(ip netip.Addr) string { return prefixOf(ip, 16, 48) }

// hashingFor says for whom a password is hashed: the queue is fair between
// networks and accounts.
func hashingFor(caller Caller, account string, known bool) secret.Who {
	w := secret.Who{Known: known, Account: account}
	if caller.Kind != Operator && caller.IP.IsValid() {
		w.Network, w.Wide = networkOf(caller.IP), wideNetworkOf(caller.IP)
	}
	return w
}

func prefixOf(ip netip.Addr, bits4, bits6 int) string {
	ip = ip.Unmap().WithZone("")
	bits := bits6
	if ip.Is4() {
		bits = bits4
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return ip.String()
	}
	return p.String()
}
