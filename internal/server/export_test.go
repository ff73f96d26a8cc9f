package server

import "time"

// The beat of refusals.
const (
	BatchEvery = batchEvery
	BatchSize  = batchSize
)

// Refusals is what a flood makes of them.
type Refusals struct{ r refusals }

// Join is closed when a refusal that was asked for so long after the start leaves.
func (r *Refusals) Join(at time.Duration) <-chan struct{} { return r.r.join(at) }
