package config

import (
	"strings"
	"unicode"
)

// Problem is one thing that is wrong. It never holds a credential.
type Problem struct {
	Setting string // the setting's name, or the unknown name that was given
	Source  string // where the value came from, such as "flag --listen"
	Reason  string
}

// Problems is everything that is wrong with a configuration; never empty when
// it comes from [Load].
type Problems struct {
	List []Problem
}

// Error gives one line for each problem.
func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, one := range p.List {
		lines[i] = oneLine(one.Setting + " (" + one.Source + "): " + one.Reason)
	}
	return strings.Join(lines, "\n")
}

// oneLine keeps a strange file name or key from forging a line of its own.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// suggest gives the candidate that was most likely meant, or nothing. Case and
// the kind of dash do not count; more than one letter wrong in four is no
// misspelling.
func suggest(name string, candidates []string) string {
	plain := func(s string) []rune {
		return []rune(strings.ReplaceAll(strings.ToLower(s), "_", "-"))
	}
	best, bestDistance := "", 1+min(3, len(name)/4)
	for _, c := range candidates {
		if d := distance(plain(name), plain(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance counts the letters to add, drop or change to make b of a.
func distance(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j, y := range b {
			change := diagonal
			if x != y {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
