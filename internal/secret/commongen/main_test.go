package main

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"propusk/internal/secret"
)

func TestCommonBinIsCurrent(t *testing.T) {
	want := collected().encode()
	got, err := os.ReadFile("../common.bin")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("common.bin is not made from the lists beside it: run go generate ./internal/secret")
	}
	if len(got) > 600_000 {
		t.Errorf("common.bin has %d bytes; it is part of every binary and should stay below 600,000", len(got))
	}
}

func TestListIsLongEnough(t *testing.T) {
	l := collected()
	long := 0
	for w := range l {
		if utf8.RuneCountInString(w) >= 8 {
			long++
		}
	}
	t.Logf("%d passwords, %d of them of 8 characters or more", len(l), long)
	if len(l) < 80_000 || long < 40_000 {
		t.Errorf("%d passwords, %d of 8 characters or more: want 80,000 and 40,000; has a list been cut short?", len(l), long)
	}
	for name, want := range map[string]int{
		"zxcvbn.txt.gz": 49_233, "django.txt.gz": 19_727, "english.txt": 1_000, "russian.txt": 2_500,
	} {
		words, err := read(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(words) < want {
			t.Errorf("%s has %d words, want at least %d", name, len(words), want)
		}
	}
}

func TestEveryListedPasswordIsCommon(t *testing.T) {
	for w, stem := range collected() {
		if !secret.IsCommon(w) {
			t.Errorf("%q is listed, and not common", w)
		}
		if upper := strings.ToUpper(w); !secret.IsCommon(upper) {
			t.Errorf("%q is common, and not %q", w, upper)
		}
		if !stem {
			continue
		}
		ending := "2024!"
		if last, _ := utf8.DecodeLastRuneInString(w); !unicode.IsLetter(last) {
			ending = "!" // a number is added to letters alone
		}
		if !secret.IsCommon(w + ending) {
			t.Errorf("%q takes endings, and %q is not common", w, w+ending)
		}
	}
}

// collected is the list; collect takes a while under the race detector.
var collected = sync.OnceValue(func() list {
	l, err := collect()
	if err != nil {
		panic(err)
	}
	return l
})
