//go:build faults

package faults_test

import (
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"
)

// verdicts prints figures, and judges those that have a pass figure.
type verdicts struct {
	out    io.Writer
	missed []string
}

// begin prints what part is measured, and fails the test at its end when a
// figure missed. Judging alone fails nothing, so that a test can show that it
// would.
func begin(t *testing.T, part string) *verdicts {
	v := &verdicts{out: os.Stdout}
	fmt.Fprintf(v.out, "\n%s\n", part)
	t.Cleanup(func() {
		for _, m := range v.missed {
			t.Errorf("%s: %s", part, m)
		}
	})
	return v
}

// note is a figure that nobody has promised.
func (v *verdicts) note(what, format string, args ...any) {
	fmt.Fprintf(v.out, "       %-58s %s\n", what, fmt.Sprintf(format, args...))
}

func (v *verdicts) judge(ok bool, what, got, pass string) {
	word := "ok  "
	if !ok {
		word = "MISS"
		v.missed = append(v.missed, fmt.Sprintf("%s: %s, to pass: %s", what, got, pass))
	}
	fmt.Fprintf(v.out, "  %s %-58s %-12s (%s)\n", word, what, got, pass)
}

func (v *verdicts) atMost(what string, got, limit float64, unit string) {
	v.judge(got <= limit, what, number(got, unit), "<= "+number(limit, unit))
}

func (v *verdicts) atLeast(what string, got, limit float64, unit string) {
	v.judge(got >= limit, what, number(got, unit), ">= "+number(limit, unit))
}

func (v *verdicts) within(what string, got, limit time.Duration) {
	v.judge(got <= limit, what, span(got), "<= "+span(limit))
}

// none judges a count of what must not happen; complaint tells of the first.
func (v *verdicts) none(what string, n int, complaint string) {
	v.judge(n == 0, what, fmt.Sprint(n), "0")
	if n > 0 && complaint != "" {
		fmt.Fprintf(v.out, "       first: %s\n", complaint)
	}
}

func number(f float64, unit string) string {
	if f == float64(int64(f)) {
		return fmt.Sprintf("%d%s", int64(f), unit)
	}
	return fmt.Sprintf("%.1f%s", f, unit)
}

func span(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	default:
		return fmt.Sprintf("%.2f ms", float64(d)/1e6)
	}
}

// quantile is the smallest value that at least the part q of all does not
// exceed; 0 for none.
func quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func spread(values []time.Duration) string {
	return fmt.Sprintf("p50 %s, p99 %s, max %s (%d)", span(quantile(values, 0.5)), span(quantile(values, 0.99)), span(quantile(values, 1)), len(values))
}
