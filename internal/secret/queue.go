package secret

import (
	"container/list"
	"time"
)

// Who is the caller for whom a password is hashed, as far as fairness needs it.
// The zero Who is an operator, who is never refused for fairness.
type Who struct {
	Known   bool   // a device that is known to the account
	Network string // narrow prefix: a /24 of IPv4, a /64 of IPv6
	Wide    string // the wider one around it: a /16, a /48
	Account string // whose password it is; "" where that is nobody's yet
	Place   *Place // one that was kept for him; nil: none
}

func (w Who) operator() bool {
	w.Place = nil
	return w == Who{}
}

func (w Who) lane() int {
	if w.Known || w.operator() {
		return knownLane
	}
	return unknownLane
}

const (
	knownLane = iota
	unknownLane
	lanes
)

const (
	// knownTurns is how many of the known lane go before one of the other, while
	// both wait: first, but not alone.
	knownTurns = 4
	// reservedShare of the places is kept for either lane: 1/8.
	reservedShare = 8
	// usualPerAccount is how many passwords of one account may wait in a lane: more
	// than a person sends, and too few to fill anything by knowing a name.
	usualPerAccount = 8
)

// Why a place is refused.
const (
	refusedFull    = "full"    // there is no place for anybody of this lane
	refusedNetwork = "network" // the caller's network, or the wider one, has its share
	refusedAccount = "account" // the account has its share
	refusedWait    = "wait"    // it could not be begun in time
	refusedFault   = "fault"   // the child process failed twice
)

// queue says who is next. Two lanes share its places, known devices and others;
// in a lane, wide networks take turns; in each of these its networks; in each of
// these its accounts; and in an account who comes first is served first. So
// whoever floods waits for himself, and others for one turn of his at each level.
//
// Nobody is put out again to make place, since a refusal has to come at once.
// What keeps places free for the quiet is what the loud may take: a group at
// most as many as it leaves free (dynamic thresholds, Choudhury and Hahne 1998).
// One network that floods holds a third of the places, two a fifth each; and
// whoever has nothing in the queue finds a place until the last is taken.
//
// It is not safe for use by several goroutines. Each operation takes a time that
// does not depend on how many wait.
type queue struct {
	places   int
	account  int // places for one account in a lane
	lanes    [lanes]group
	accounts map[laneAccount]int // waiting, whatever their networks
	turns    int                 // of the known lane since the other's last, while that waited

	held   [lanes]int       // places that are kept for those who are being looked up
	heldBy map[laneName]int // of these, by wide network and by network
}

// laneName is a wide network or a network in a lane: their texts differ.
type laneName struct {
	lane int
	name string
}

type laneAccount struct {
	lane    int
	account string
}

// group is a lane, a wide network, a network or an account.
type group struct {
	parent  *group
	name    string
	size    int               // tickets below
	members map[string]*group // those with tickets; none in an account
	turns   list.List         // of the members, or an account's tickets; the next in front
	at      *list.Element     // in the parent's turns
	turn    average           // from one call of a ticket below to the next
}

// ticket is one that waits.
type ticket struct {
	who    Who
	group  *group
	at     *list.Element
	called chan struct{} // closed when it is its turn
	asked  arrival
}

func newQueue(places, account int) queue {
	return queue{places: places, account: account, accounts: map[laneAccount]int{}, heldBy: map[laneName]int{}}
}

func (q *queue) len() int { return q.lanes[knownLane].size + q.lanes[unknownLane].size }

// path is the way from a lane to an account.
func (w Who) path() [3]string { return [...]string{w.Wide, w.Network, w.Account} }

// refusal is why there is no place for one more of who, and "" where there is.
func (q *queue) refusal(who Who) string {
	lane := who.lane()
	free := q.places - q.len() - q.held[knownLane] - q.held[unknownLane]
	if who.operator() {
		if free <= 0 {
			return refusedFull
		}
		return ""
	}
	free = min(free, q.places-q.places/reservedShare-q.lanes[lane].size-q.held[lane])
	if free <= 0 {
		return refusedFull
	}
	if who.Account != "" && q.accounts[laneAccount{lane, who.Account}] >= q.account {
		return refusedAccount
	}
	g := &q.lanes[lane]
	for level, name := range who.path() {
		if g != nil {
			g = g.members[name]
		}
		if g != nil { // something of it waits
			free -= g.size
		}
		if level < 2 {
			free -= q.heldBy[laneName{lane, name}]
		}
		if free <= 0 {
			return [...]string{refusedNetwork, refusedNetwork, refusedAccount}[level]
		}
	}
	return ""
}

// hold keeps n places more, or fewer, for a network of the lane.
func (q *queue) hold(who Who, n int) {
	lane := who.lane()
	q.held[lane] += n
	for _, name := range []string{who.Wide, who.Network} {
		k := laneName{lane, name}
		if q.heldBy[k] += n; q.heldBy[k] == 0 {
			delete(q.heldBy, k)
		}
	}
}

// enoughTurns is how many turns of a group say how often it has one.
const enoughTurns = 4

// before is how many, of those that wait now, may be called before one that who
// would add: never fewer than will be, unless somebody comes after it. Those of
// other networks who come after it do not stand in the queue yet, and still go
// before what one network has piled up; and a worker may not get a core. So wait is
// how long it takes by the turns that the groups around it had lately; 0 where
// they have had none.
func (q *queue) before(who Who) (n int, wait time.Duration) {
	lane := who.lane()
	var way [4]*group // from the lane down; nil where nothing waits
	way[0] = &q.lanes[lane]
	for i, name := range who.path() {
		if way[i] == nil {
			break
		}
		way[i+1] = way[i].members[name]
	}
	if account := way[3]; account != nil {
		n = account.size
	}
	for i := 2; i >= 0; i-- {
		g := way[i]
		if g == nil {
			continue
		}
		others := len(g.members)
		if way[i+1] != nil {
			others--
		}
		// Before each of its n+1 turns, every other member has one at most.
		n = min(n+(n+1)*others, g.size)
		if g.turn.n >= enoughTurns {
			wait = max(wait, time.Duration(n+1)*g.turn.of)
		}
	}
	if lane == knownLane {
		return n + min((n+q.turns)/knownTurns, q.lanes[unknownLane].size), wait
	}
	return n + min((n+1)*knownTurns-q.turns, q.lanes[knownLane].size), wait
}

// push adds a ticket, whether there is a place for it or not.
func (q *queue) push(t *ticket) {
	lane := t.who.lane()
	g := &q.lanes[lane]
	g.size++
	for _, name := range t.who.path() {
		m := g.members[name]
		if m == nil {
			m = &group{parent: g, name: name}
			m.at = g.turns.PushBack(m)
			if g.members == nil {
				g.members = map[string]*group{}
			}
			g.members[name] = m
		}
		m.size++
		g = m
	}
	t.group, t.at = g, g.turns.PushBack(t)
	if t.who.Account != "" {
		q.accounts[laneAccount{lane, t.who.Account}]++
	}
}

// pop takes the next ticket out; nil when nobody waits.
func (q *queue) pop(now time.Time) *ticket {
	known, unknown := &q.lanes[knownLane], &q.lanes[unknownLane]
	g := known
	switch {
	case unknown.size == 0:
		q.turns = 0
	case known.size == 0 || q.turns >= knownTurns:
		g = unknown
		q.turns = 0
	default:
		q.turns++
	}
	if g.size == 0 {
		return nil
	}
	for {
		g.turned(now)
		front := g.turns.Front()
		if t, ok := front.Value.(*ticket); ok {
			q.remove(t)
			return t
		}
		g.turns.MoveToBack(front)
		g, _ = front.Value.(*group) // there is nothing else
	}
}

// turned notes a turn of a group. What is known of its turns is forgotten when
// nothing of it waits, so that between two turns it has waited for the second.
func (g *group) turned(now time.Time) {
	if last := g.turn.last; !last.IsZero() {
		g.turn.add(now.Sub(last), now)
	}
	g.turn.last = now
}

// remove takes out a ticket that is in the queue.
func (q *queue) remove(t *ticket) {
	if t.who.Account != "" {
		k := laneAccount{t.who.lane(), t.who.Account}
		if q.accounts[k]--; q.accounts[k] == 0 {
			delete(q.accounts, k)
		}
	}
	t.group.turns.Remove(t.at)
	for g := t.group; g != nil; g = g.parent {
		if g.size--; g.size > 0 {
			continue
		}
		if g.turn = (average{}); g.parent != nil {
			g.parent.turns.Remove(g.at)
			delete(g.parent.members, g.name)
		}
	}
	t.group, t.at = nil, nil
}
