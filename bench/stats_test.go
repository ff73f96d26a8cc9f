package main

import (
	"math"
	"testing"
	"time"
)

func TestMedianIsTheMiddle(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
	if got := median([]time.Duration{4, 2, 8, 1}); got != 3 {
		t.Errorf("median of durations = %v, want 3ns", got)
	}
}

func TestMedianLeavesItsInputAsItWas(t *testing.T) {
	values := []float64{3, 1, 2}
	median(values)
	if values[0] != 3 || values[1] != 1 || values[2] != 2 {
		t.Errorf("now %v", values)
	}
}

func TestSample(t *testing.T) {
	s := sampleOf([]float64{110, 90, 100})
	if s != (sample{Median: 100, Min: 90, Max: 110}) {
		t.Errorf("sample is %+v", s)
	}
	if got := s.spread(); math.Abs(got-.2) > 1e-9 {
		t.Errorf("spread is %v, want 0.2", got)
	}
	if got := sampleOf(nil).spread(); got != 0 {
		t.Errorf("spread of nothing is %v", got)
	}
}

func TestBucketsHoldWhatFallsIntoThem(t *testing.T) {
	for d := time.Duration(0); d >= 0 && d < math.MaxInt64/4; d = d*9/8 + 1 {
		got := middleOf(bucketOf(d))
		if off := math.Abs(float64(got - d)); off > float64(d)/50 {
			t.Fatalf("%v comes back as %v", d, got)
		}
	}
	var h histogram
	h.add(math.MaxInt64) // the last bucket there can be
	h.add(-time.Second)  // a clock that stepped back
	if h[0] != 1 || h[len(h)-1] != 1 {
		t.Error("the extremes are not in the outermost buckets")
	}
}

func TestQuantile(t *testing.T) {
	var h, half histogram
	if got := h.quantile(.5); got != 0 {
		t.Errorf("quantile of nothing is %v", got)
	}
	for i := range 1000 {
		d := time.Duration(i+1) * time.Microsecond
		if i%2 == 0 {
			h.add(d)
		} else {
			half.add(d)
		}
	}
	h.merge(&half)
	for q, want := range map[float64]time.Duration{
		0: 1 * time.Microsecond, .5: 500 * time.Microsecond, .99: 990 * time.Microsecond, 1: 1000 * time.Microsecond,
	} {
		got := h.quantile(q)
		if off := math.Abs(float64(got - want)); off > float64(want)/50 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}
