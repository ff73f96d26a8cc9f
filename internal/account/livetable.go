package account

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"propusk/internal/secret"
)

// liveTable is the sessions in memory, by token and by user: about
// [entryBytes] for each, and without a pointer that the collector would have to
// follow, so that a million of them cost it nothing.
//
// It is split into shards by the hash of the token, each with a lock of its own
// that is held for some nanoseconds: for the time of a look, never for that of
// an answer. What concerns a user visits all of them.
type liveTable struct {
	shards [tableShards]tableShard
	size   atomic.Int64
	roles  roleNames
}

const (
	tableShards = 64
	// tableChunk is how many entries a shard allocates at one time. They never
	// move: growing copies no entry.
	tableChunk = 128
	// entryBytes is what a session takes: its entry, its part of the two indices
	// when these are half full, and what is allocated and not used yet.
	entryBytes = 160
)

// liveEntry is one session. Instants are in microseconds.
type liveEntry struct {
	hash          secret.Hash
	id, user      secret.UUID
	created       int64
	authenticated int64 // the last proof of identity
	expires       int64
	seen          int64 // the last use
	written       int64 // the last use that the database knows of
	strong        int64 // the last proof with a second factor; 0: never
	role          uint32
	nextByHash    uint32 // number of the next entry in the bucket; 0: none. Also that of the next free entry
	nextByUser    uint32
	remembered    bool
	methods       Methods
	stale         bool // to be read anew before it counts again
	taken         bool
}

// tableShard is a hash table with chains, twice over the same entries. Entry n
// stands at chunks[(n-1)/tableChunk][(n-1)%tableChunk].
type tableShard struct {
	mu     sync.Mutex
	byHash []uint32
	byUser []uint32
	chunks []*[tableChunk]liveEntry
	used   uint32 // entries that were ever taken
	free   uint32 // the first of those that were given back
	count  int
	_      [64]byte // the next shard's lock is in another cache line
}

func (t *liveTable) shard(hash *secret.Hash) *tableShard { return &t.shards[hash[0]%tableShards] }

func (s *tableShard) at(n uint32) *liveEntry { return &s.chunks[(n-1)/tableChunk][(n-1)%tableChunk] }

// The buckets are powers of two. A hash is as good as random, and so is a
// version 4 UUID but for the bits that are taken here from neither.
func (s *tableShard) hashBucket(hash *secret.Hash) *uint32 {
	return &s.byHash[binary.LittleEndian.Uint32(hash[8:])&uint32(len(s.byHash)-1)] //nolint:gosec // a shard has fewer than 2³² buckets
}

func (s *tableShard) userBucket(user *secret.UUID) *uint32 {
	return &s.byUser[binary.LittleEndian.Uint32(user[10:])&uint32(len(s.byUser)-1)] //nolint:gosec // as above
}

func (s *tableShard) find(hash *secret.Hash) *liveEntry {
	if len(s.byHash) == 0 {
		return nil
	}
	for n := *s.hashBucket(hash); n != 0; {
		e := s.at(n)
		if e.hash == *hash {
			return e
		}
		n = e.nextByHash
	}
	return nil
}

// use calls f with the entry of the token while nobody else can change it, and
// tells whether there is one. f must not wait for anything.
func (t *liveTable) use(hash *secret.Hash, f func(*liveEntry)) bool {
	s := t.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(hash)
	if e != nil {
		f(e)
	}
	return e != nil
}

// put adds e, or takes it in the place of the one with the same token; of that
// one it keeps the later use.
func (t *liveTable) put(e *liveEntry) {
	s := t.shard(&e.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.find(&e.hash); old != nil {
		seen := max(old.seen, e.seen)
		nextByHash, nextByUser := old.nextByHash, old.nextByUser
		*old = *e
		old.nextByHash, old.nextByUser, old.seen, old.taken = nextByHash, nextByUser, seen, true
		return
	}
	if s.count >= len(s.byHash) {
		s.grow()
	}
	n := s.take()
	place := s.at(n)
	*place = *e
	place.taken = true
	s.link(n, place)
	s.count++
	t.size.Add(1)
}

func (s *tableShard) take() uint32 {
	if n := s.free; n != 0 {
		s.free = s.at(n).nextByHash
		return n
	}
	if s.used == uint32(len(s.chunks)*tableChunk) { //nolint:gosec // as above
		s.chunks = append(s.chunks, new([tableChunk]liveEntry))
	}
	s.used++
	return s.used
}

func (s *tableShard) link(n uint32, e *liveEntry) {
	h, u := s.hashBucket(&e.hash), s.userBucket(&e.user)
	e.nextByHash, e.nextByUser = *h, *u
	*h, *u = n, n
}

// grow doubles the buckets.
func (s *tableShard) grow() {
	n := max(2*len(s.byHash), 8)
	s.byHash, s.byUser = make([]uint32, n), make([]uint32, n)
	for i := range s.used {
		if e := s.at(i + 1); e.taken {
			s.link(i+1, e)
		}
	}
}

// drop takes the entry of a token away.
func (t *liveTable) drop(hash *secret.Hash) {
	s := t.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(hash); e != nil {
		t.remove(s, e)
	}
}

// remove needs the shard's lock.
func (t *liveTable) remove(s *tableShard, e *liveEntry) {
	at := s.hashBucket(&e.hash)
	for s.at(*at) != e {
		at = &s.at(*at).nextByHash
	}
	n := *at
	*at = e.nextByHash
	at = s.userBucket(&e.user)
	for *at != n {
		at = &s.at(*at).nextByUser
	}
	*at = e.nextByUser
	*e = liveEntry{nextByHash: s.free}
	s.free = n
	s.count--
	t.size.Add(-1)
}

// dropAny takes some entry away, as good as at random.
func (t *liveTable) dropAny() {
	from := secret.NewUUID()
	for i := range t.shards {
		s := &t.shards[(int(from[0])+i)%tableShards]
		s.mu.Lock()
		if s.count > 0 {
			start := binary.LittleEndian.Uint32(from[1:]) % s.used
			for j := range s.used {
				if e := s.at((start+j)%s.used + 1); e.taken {
					t.remove(s, e)
					s.mu.Unlock()
					return
				}
			}
		}
		s.mu.Unlock()
	}
}

// ofUser calls f with every entry of a user.
func (t *liveTable) ofUser(user *secret.UUID, f func(*liveEntry)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		if len(s.byUser) > 0 {
			for n := *s.userBucket(user); n != 0; {
				e := s.at(n)
				if n = e.nextByUser; e.user == *user {
					f(e)
				}
			}
		}
		s.mu.Unlock()
	}
}

// each calls f with every entry, and takes away those for which it gives true.
func (t *liveTable) each(f func(*liveEntry) (over bool)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for n := range s.used {
			if e := s.at(n + 1); e.taken && f(e) {
				t.remove(s, e)
			}
		}
		s.mu.Unlock()
	}
}

// roleNames numbers the names of roles, of which there are few.
type roleNames struct {
	mu     sync.RWMutex
	names  []string
	number map[string]uint32
}

func (r *roleNames) of(name string) uint32 {
	r.mu.RLock()
	n, ok := r.number[name]
	r.mu.RUnlock()
	if ok {
		return n
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok = r.number[name]; ok {
		return n
	}
	if r.number == nil {
		r.number = map[string]uint32{}
	}
	n = uint32(len(r.names)) //nolint:gosec // there are few
	r.names, r.number[name] = append(r.names, name), n
	return n
}

func (r *roleNames) name(n uint32) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.names[n]
}
