package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// report is everything that a run found out.
type report struct {
	Machine     machine      `json:"machine"`
	Settings    settings     `json:"settings"`
	Figures     []figure     `json:"figures"`
	Comparisons []comparison `json:"comparisons"`
}

type settings struct {
	Database   string `json:"database"`
	Argon2     string `json:"argon2"`
	Rounds     int    `json:"rounds"`
	Round      string `json:"round"`
	HashRounds int    `json:"hash_rounds"`
	HashRound  string `json:"hash_round"`
	LogBytes   int64  `json:"log_bytes"` // that the program wrote meanwhile
}

// figure is one number that ought not to be above its goal.
type figure struct {
	Part  string  `json:"part"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Worst float64 `json:"worst,omitempty"`
	Unit  string  `json:"unit"`
	Note  string  `json:"note,omitempty"`
	Goal  float64 `json:"goal,omitempty"` // 0: none
	Met   *bool   `json:"met,omitempty"`
}

// of fills in what several tries gave.
func (f figure) of(values []float64) figure {
	f.Value, f.Worst = median(values), slices.Max(values)
	f.Note = fmt.Sprintf("median of %d, the slowest %.1f", len(values), f.Worst)
	return f
}

func (f figure) judged() figure {
	if f.Goal > 0 {
		met := f.Value <= f.Goal
		f.Met = &met
	}
	return f
}

// comparison is one part at one number of connections, beside its peer. The
// ratio is of the rates in the rounds that followed each other.
type comparison struct {
	Part      string  `json:"part"`
	Beside    string  `json:"beside"`
	Conns     int     `json:"connections"`
	Ours      side    `json:"ours"`
	Peer      side    `json:"peer"`
	Ratio     sample  `json:"ratio"`
	Wrong     int     `json:"wrong"`
	Complaint string  `json:"complaint,omitempty"`
	Goal      float64 `json:"goal,omitempty"` // 0: none
	Met       *bool   `json:"met,omitempty"`
	// Latency is the ratio of the median latencies, where it is judged.
	Latency     *sample `json:"p50_ratio,omitempty"`
	LatencyGoal float64 `json:"p50_goal,omitempty"`
	LatencyMet  *bool   `json:"p50_met,omitempty"`
	latencies   []float64
}

// What the parts are held against.
const (
	bareServer     = "bare net/http"
	bareOwnHash    = "bare hashing (the pool's own hash)"
	bareCryptoHash = "bare hashing (golang.org/x/crypto)"
	leastLogin     = "the least that a login needs (HTTP, the hash, one synchronised write)"
	fewSessions    = "the same with few sessions"
	otherBuild     = "another build"
)

// latencyGoal bounds the median latency at one connection, where the machine
// has nothing else to do and the rate hides nothing.
const latencyGoal = 1.15

// sameSpeed is how much of another build's speed counts as the same.
const sameSpeed = 0.97

type side struct {
	Rate sample        `json:"rate"` // a second
	P50  time.Duration `json:"p50_ns"`
	P99  time.Duration `json:"p99_ns"`
	CPU  time.Duration `json:"cpu_ns"` // of the server, for each answer
}

func sideOf(s series) side {
	var rates []float64
	var cpu []time.Duration
	var all histogram
	for _, r := range s.rounds {
		rates, cpu = append(rates, r.rate()), append(cpu, r.cpuEach())
		all.merge(&r.latencies)
	}
	return side{Rate: sampleOf(rates), P50: all.quantile(.50), P99: all.quantile(.99), CPU: median(cpu)}
}

func compared(part, beside string, conns int, goal float64, ours, peer series) comparison {
	c := comparison{
		Part: part, Beside: beside, Conns: conns, Goal: goal, Ours: sideOf(ours), Peer: sideOf(peer),
		Wrong: ours.wrong + peer.wrong, Complaint: cmp.Or(ours.complaint, peer.complaint),
	}
	var ratios []float64
	for i := range ours.rounds {
		if rate := peer.rounds[i].rate(); rate > 0 {
			ratios = append(ratios, ours.rounds[i].rate()/rate)
		}
		if p50 := peer.rounds[i].latencies.quantile(.50); p50 > 0 {
			c.latencies = append(c.latencies, float64(ours.rounds[i].latencies.quantile(.50))/float64(p50))
		}
	}
	c.Ratio = sampleOf(ratios)
	if goal > 0 {
		met := c.Ratio.Median >= goal
		c.Met = &met
	}
	return c
}

// withLatency judges the median latency too.
func (c comparison) withLatency(goal float64) comparison {
	s := sampleOf(c.latencies)
	met := s.Median <= goal && len(c.latencies) > 0
	c.Latency, c.LatencyGoal, c.LatencyMet = &s, goal, &met
	return c
}

func (r *report) wrong() (n int) {
	for _, c := range r.Comparisons {
		n += c.Wrong
	}
	return n
}

// noise is by how much the rounds of the peers differ at one number of
// connections: what is in the machine and not in the program.
func (r *report) noise() (n float64) {
	var all []float64
	for _, c := range r.Comparisons {
		all = append(all, c.Peer.Rate.spread())
	}
	return median(all)
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// tooMuch other work, in cores, spoils what is measured.
const tooMuch = 0.2

// headings are what a part is called.
var headings = map[string]string{
	partSession:  "Session check, GET /auth/session",
	partForward:  "Check of a gateway, GET /auth/forward",
	partUser:     "Reading a user, GET /{user_id}",
	partMillion:  "Session check with very many live sessions",
	partRegister: "Registering, POST /auth/register",
	partLogin:    "Logging in, POST /auth/login",
	partLeast:    "What remains of hashing in " + leastLogin,
}

func (r *report) write(w io.Writer) error {
	m, s := r.Machine, r.Settings
	fmt.Fprintf(w, "%d cores (%s), %s, %s; load average %.2f before, %.2f after\n", m.Cores, m.CPU, m.System, m.Go, m.LoadBefore, m.LoadAfter)
	fmt.Fprintf(w, "%s, Argon2id %s; %d rounds of %s beside bare net/http, %d of %s beside bare hashing\n",
		s.Database, s.Argon2, s.Rounds, s.Round, s.HashRounds, s.HashRound)
	if len(r.Comparisons) > 0 {
		fmt.Fprintf(w, "noise: the peers' own rounds differ by %.0f%%; other work took %.2f cores; the program logged %.0f MB\n",
			100*r.noise(), m.Others, float64(s.LogBytes)/1e6)
		if m.Others > tooMuch {
			fmt.Fprintln(w, "WARNING: the machine was not quiet; only the CPU time for each answer means much")
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, part := range append(slices.Clone(parts), partLeast) {
		r.writePart(t, part)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range r.Comparisons {
		if c.Wrong > 0 {
			fmt.Fprintf(w, "WRONG: %s at %d connections: %d answers, such as: %s\n", c.Part, c.Conns, c.Wrong, c.Complaint)
		}
	}
	return nil
}

func (r *report) writePart(t *tabwriter.Writer, part string) {
	for i, f := range r.partFigures(part) {
		if i == 0 {
			fmt.Fprintln(t)
		}
		fmt.Fprintf(t, "%s: %.1f %s (%s)%s\n", f.Name, f.Value, f.Unit, f.Note, verdict("at most", f.Goal, f.Met))
	}
	for _, beside := range []string{bareServer, otherBuild, fewSessions, bareOwnHash, leastLogin, bareCryptoHash} {
		r.writeComparisons(t, part, beside)
	}
}

func (r *report) writeComparisons(t *tabwriter.Writer, part, beside string) {
	comparisons := slices.DeleteFunc(slices.Clone(r.Comparisons), func(c comparison) bool { return c.Part != part || c.Beside != beside })
	for i, c := range comparisons {
		if i == 0 {
			fmt.Fprintf(t, "\n%s, beside %s\n", headings[part], beside)
			fmt.Fprintln(t, "conns\trate/s\tpeer/s\tratio\tof all rounds\tp50 ms\tp99 ms\tpeer p50\tpeer p99\tCPU µs\tpeer CPU\twrong\tgoal\t")
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%.2f\t%.2f–%.2f\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t\n", c.Conns, rate(c.Ours.Rate.Median), rate(c.Peer.Rate.Median),
			c.Ratio.Median, c.Ratio.Min, c.Ratio.Max, ms(c.Ours.P50), ms(c.Ours.P99), ms(c.Peer.P50), ms(c.Peer.P99),
			micros(c.Ours.CPU), micros(c.Peer.CPU), c.Wrong, goalOf(c))
	}
	for _, c := range comparisons {
		if c.Latency != nil {
			fmt.Fprintf(t, "p50 at one connection: %.2f times the peer's (%.2f–%.2f); goal: at most %.2f, %s\n",
				c.Latency.Median, c.Latency.Min, c.Latency.Max, c.LatencyGoal, metWord(c.LatencyMet))
		}
	}
}

func (r *report) partFigures(part string) []figure {
	return slices.DeleteFunc(slices.Clone(r.Figures), func(f figure) bool { return f.Part != part })
}

func goalOf(c comparison) string {
	if c.Goal == 0 {
		return "-"
	}
	return fmt.Sprintf("≥ %.2f %s", c.Goal, metWord(c.Met))
}

func verdict(words string, goal float64, met *bool) string {
	if goal == 0 {
		return ""
	}
	return fmt.Sprintf("; goal: %s %.0f, %s", words, goal, metWord(met))
}

func metWord(met *bool) string {
	if met != nil && *met {
		return "met"
	}
	return "MISSED"
}

// rate has as many digits as are worth reading.
func rate(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.0f", math.Round(v/10)*10)
	}
	return fmt.Sprintf("%.1f", v)
}

// ms is "-" for a peer that has no latencies.
func ms(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", milliseconds(d))
}

func micros(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", milliseconds(d)*1000)
}
