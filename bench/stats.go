package main

import (
	"cmp"
	"math/bits"
	"slices"
	"time"
)

// sample is what several rounds gave: the median says how much, the extremes
// how far to believe it.
type sample struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// sampleOf is zero for no values.
func sampleOf(values []float64) sample {
	if len(values) == 0 {
		return sample{}
	}
	return sample{Median: median(values), Min: slices.Min(values), Max: slices.Max(values)}
}

// spread is the distance of the extremes as a part of the median.
func (s sample) spread() float64 {
	if s.Median == 0 {
		return 0
	}
	return (s.Max - s.Min) / s.Median
}

// median is the middle value, or the mean of the two in the middle; 0 for none.
func median[T cmp.Ordered](values []T) T {
	var zero T
	n := len(values)
	if n == 0 {
		return zero
	}
	sorted := slices.Sorted(slices.Values(values))
	if n%2 == 1 {
		return sorted[n/2]
	}
	return mid(sorted[n/2-1], sorted[n/2])
}

// mid is half-way between two numbers; of what cannot be halved, the lower.
func mid[T cmp.Ordered](a, b T) T {
	switch x := any(a).(type) {
	case float64:
		m, _ := any(x + (any(b).(float64)-x)/2).(T)
		return m
	case time.Duration:
		m, _ := any(x + (any(b).(time.Duration)-x)/2).(T)
		return m
	}
	return a
}

// histogram counts durations in buckets that are a 32nd of their size wide, so
// that millions of them cost no memory and a quantile is right to within 2 %.
type histogram [1888]uint32

func (h *histogram) add(d time.Duration) { h[bucketOf(d)]++ }

func (h *histogram) merge(other *histogram) {
	for i, n := range other {
		h[i] += n
	}
}

// quantile gives the duration that the part q (0 to 1) of all were no longer
// than; 0 for none.
func (h *histogram) quantile(q float64) time.Duration {
	total := 0
	for _, n := range h {
		total += int(n)
	}
	rank, seen := int(q*float64(total)), 0
	for i, n := range h {
		if seen += int(n); seen > rank || seen == total && total > 0 {
			return middleOf(i)
		}
	}
	return 0
}

// The first 64 buckets are one nanosecond wide; from there each doubling has 32.
func bucketOf(d time.Duration) int {
	ns := uint64(max(d, 0))
	shift := max(bits.Len64(ns)-6, 0)
	return shift*32 + int(ns>>shift) //nolint:gosec // at most 63
}

func middleOf(bucket int) time.Duration {
	if bucket < 64 {
		return time.Duration(bucket)
	}
	shift := bucket/32 - 1
	low := int64(bucket%32+32) << shift
	return time.Duration(low + int64(1)<<shift/2)
}
