package secret

import "time"

// clock is real time: what is measured is how long a hash takes, and what is
// compared with it are deadlines of contexts, which are in real time as well.
func clock() time.Time {
	return time.Now() //nolint:forbidigo // see above; no rule depends on it
}

// staleAfter is how long parameters count for the pace after their last hash:
// one very costly hash of old must not slow every answer down for good.
const staleAfter = 10 * time.Minute

// maxPaces bounds how many sets of parameters are told apart.
const maxPaces = 32

// pace knows how long hashes take.
type pace struct {
	cost Argon2 // of new hashes
	all  average
	of   map[Argon2]*average
}

// average is a running one.
type average struct {
	of   time.Duration
	n    int
	last time.Time
}

func (a *average) add(d time.Duration, now time.Time) {
	a.n = min(a.n+1, 16)
	a.of += (d - a.of) / time.Duration(a.n)
	a.last = now
}

func (p *pace) add(c Argon2, d time.Duration, now time.Time) {
	p.all.add(d, now)
	if p.of == nil {
		p.of = map[Argon2]*average{}
	}
	a := p.of[c]
	if a == nil {
		p.forget(now)
		if len(p.of) >= maxPaces && c != p.cost {
			return
		}
		a = new(average)
		p.of[c] = a
	}
	a.add(d, now)
}

func (p *pace) forget(now time.Time) {
	for c, a := range p.of {
		if c != p.cost && now.Sub(a.last) > staleAfter {
			delete(p.of, c)
		}
	}
}

// mean is over all hashes, whatever their parameters.
func (p *pace) mean() time.Duration {
	if p.all.n == 0 {
		return p.cost.estimate()
	}
	return p.all.of
}

// one is how long a hash with these parameters takes.
func (p *pace) one(c Argon2) time.Duration {
	if a := p.of[c]; a != nil {
		return a.of
	}
	return c.estimate()
}

// slowest is that of the parameters in use.
func (p *pace) slowest(now time.Time) time.Duration {
	p.forget(now)
	d := p.one(p.cost)
	for _, a := range p.of {
		d = max(d, a.of)
	}
	return d
}

// estimate is how long a hash takes that nobody has timed: 2 GiB a second, less
// than AVX-512 or AVX2 do on an idle core, and more than golang.org/x/crypto.
func (c Argon2) estimate() time.Duration {
	return time.Duration(c.Memory) * time.Duration(c.Passes) * time.Microsecond / 2
}
