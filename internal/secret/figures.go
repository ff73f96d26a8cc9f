package secret

import (
	"maps"
	"time"
)

// HasherFigures are what the pool has done so far, and who waits now.
type HasherFigures struct {
	WaitingKnown   int // of known devices, and operators
	WaitingUnknown int
	Hashed         int64            // begun
	Refused        map[string]int64 // by reason: full, network, account, wait, fault
	Restarts       int64            // of the child process, after it had ended by itself or was taken to hang
	InProcess      int64            // hashed in this process because no child could be started
	// Time in the queue of those that were hashed, in seconds, as Prometheus
	// counts: Waits by upper bound, each with those below it.
	WaitSum   float64
	WaitCount uint64
	Waits     map[float64]uint64
}

// Refusals are the reasons for which a password is not hashed.
func Refusals() []string {
	return []string{refusedFull, refusedNetwork, refusedAccount, refusedWait, refusedFault}
}

func newFigures() HasherFigures {
	f := HasherFigures{Refused: map[string]int64{}, Waits: map[float64]uint64{}}
	for _, why := range Refusals() {
		f.Refused[why] = 0
	}
	for _, bound := range []float64{0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10} {
		f.Waits[bound] = 0
	}
	return f
}

// begin counts a hash that begins after a wait.
func (h *Hasher) begin(waited time.Duration) {
	f := &h.figures
	f.Hashed++
	f.WaitCount++
	f.WaitSum += waited.Seconds()
	for bound := range f.Waits {
		if waited.Seconds() <= bound {
			f.Waits[bound]++
		}
	}
}

// Figures gives the figures of the pool.
func (h *Hasher) Figures() HasherFigures {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.figures
	f.Refused, f.Waits = maps.Clone(f.Refused), maps.Clone(f.Waits)
	f.WaitingKnown, f.WaitingUnknown = h.queue.lanes[knownLane].size, h.queue.lanes[unknownLane].size
	if h.keeper != nil {
		f.Restarts, f.InProcess = h.keeper.restarts.Load(), h.keeper.inProcess.Load()
	}
	return f
}

// Stats tells how many wait now and how many hashes have been begun.
func (h *Hasher) Stats() (waiting, hashed int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(h.queue.len()), h.figures.Hashed
}
