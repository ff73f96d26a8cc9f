// Commongen writes common.bin, the list of common passwords that package secret
// embeds, from the lists beside it; README.md says where they come from. The
// same lists give the same bytes. What counts as the same password, and which
// endings a word takes, is secret's business.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"embed"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"

	"propusk/internal/secret"
)

//go:embed *.txt *.txt.gz
var lists embed.FS

func main() {
	log.SetFlags(0)
	out := flag.String("o", "common.bin", "write the list to this file")
	flag.Parse()
	l, err := collect()
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*out, l.encode(), 0o600); err != nil {
		log.Fatal(err)
	}
}

// list holds whole passwords, each with whether people add endings to it.
type list map[string]bool

func (l list) add(words ...string) {
	for _, w := range words {
		if _, known := l[w]; !known { // what is known of its endings stays
			l[w] = false
		}
	}
}

func (l list) addStems(words ...string) {
	for _, w := range words {
		l[w] = true
	}
}

// topStems is how many of the most frequent words of the world list take
// endings. More would refuse passwords that no attacker tries early.
const topStems = 1500

func collect() (list, error) {
	l := list{}
	stems := 0
	for _, name := range []string{"zxcvbn.txt.gz", "django.txt.gz"} {
		words, err := read(name)
		if err != nil {
			return nil, err
		}
		for _, w := range words {
			l.add(w)
			if stems < topStems && len(w) >= 4 && strings.IndexFunc(w, notLetter) < 0 {
				l.addStems(w)
				stems++
			}
		}
	}
	english, err := read("english.txt")
	if err != nil {
		return nil, err
	}
	l.addStems(english...)
	russian, err := read("russian.txt")
	if err != nil {
		return nil, err
	}
	for _, w := range russian {
		russian = append(russian, strings.ReplaceAll(w, "ё", "е"))
	}
	l.addStems(russian...)
	l.addStems(transliterations(russian)...)
	l.add(walks()...)
	return l, nil
}

func notLetter(r rune) bool { return !unicode.IsLetter(r) }

// read returns the words of a list in their order. In a .txt, lines that begin
// with # are remarks; a .gz is taken as it is, one word a line.
func read(name string) ([]string, error) {
	f, err := lists.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open list: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	if !strings.HasSuffix(name, ".gz") {
		return words(f, "#")
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", name, err)
	}
	return words(z, "")
}

func words(r io.Reader, remark string) ([]string, error) {
	var words []string
	s := bufio.NewScanner(r)
	for s.Scan() {
		if remark == "" || !strings.HasPrefix(s.Text(), remark) {
			words = append(words, strings.Fields(s.Text())...)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read list: %w", err)
	}
	return words, nil
}

func (l list) encode() []byte {
	entries := make([][]byte, 0, 2*len(l))
	add := func(word string, stem bool) {
		e := secret.CommonEntry(word, stem)
		entries = append(entries, e[:])
	}
	for _, w := range slices.Sorted(maps.Keys(l)) {
		add(w, false)
		if l[w] {
			add(w, true)
		}
	}
	slices.SortFunc(entries, bytes.Compare)
	return bytes.Join(slices.CompactFunc(entries, bytes.Equal), nil)
}
