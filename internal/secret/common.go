package secret

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"sort"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

//go:generate go run ./commongen -o common.bin

// common is the list: the CommonEntry of every listed password, sorted, end to
// end. A string, so that it stays in the program's read-only pages, and a
// look-up reads a few of them in place; nothing is loaded at start.
//
//go:embed common.bin
var common string

const commonEntryLen = 5

// IsCommon reports whether password is among those that most people choose and
// every attacker tries first. It is the blocklist of NIST SP 800-63B-4, section
// 3.1.1.2, which wants the entire password compared: a long password that
// contains a listed word is not common.
//
// Passwords are compared by the keys pressed, so neither letter case nor a
// keyboard left in the other layout hides one: "Привет", "ghbdtn" and "GHBDTN"
// are one entry, as are "qwerty" and "йцукен". Common, then, is
//
//   - a listed password;
//   - a listed word with a usual ending: "наташа1990", "welcome@123", "summer24!";
//   - a date written in figures;
//   - up to four keys over and over.
//
// What only this user would choose, a name or an address, is not known here.
//
// The list holds the first 40 bits of hashes. Some 106,000 entries and at most
// three look-ups refuse one good password in about 3,500,000 by mistake.
func IsCommon(password string) bool {
	var buf [64]byte
	strokes := appendStrokes(buf[:0], password)
	if isRepetition(strokes) || isDate(strokes) || listed(strokes) {
		return true
	}
	word := withoutSigns(strokes)
	return listed(stemStrokes(word)) || listed(stemStrokes(withoutNumber(word)))
}

// CommonEntry is the entry for password in common.bin. With stem it is the entry
// that says that password is a word to which people add endings. Exported for
// commongen, which must see passwords as IsCommon does.
func CommonEntry(password string, stem bool) [commonEntryLen]byte {
	strokes := appendStrokes(nil, password)
	if stem {
		strokes = stemStrokes(strokes)
	}
	return entry(strokes)
}

// stemStrokes sets stems apart from whole passwords, which end in no NUL. It may
// overwrite what follows strokes in their array.
func stemStrokes(strokes []byte) []byte { return append(strokes, 0) }

func entry(strokes []byte) [commonEntryLen]byte {
	sum := sha256.Sum256(strokes)
	return [commonEntryLen]byte(sum[:])
}

func listed(strokes []byte) bool {
	e := entry(strokes)
	at := func(i int) string { return common[i*commonEntryLen:][:commonEntryLen] }
	n := len(common) / commonEntryLen
	i := sort.Search(n, func(i int) bool { return at(i) >= string(e[:]) })
	return i < n && at(i) == string(e[:])
}

// Keys of the Russian layout, each a letter of two bytes, and below each what
// the same key types in the US layout. The last three are Ukrainian.
const (
	cyrillicKeys = "ёйцукенгшщзхъфывапролджэячсмитьбюіїє"
	latinKeys    = "`qwertyuiop[]asdfghjkl;'zxcvbnm,.s]'"
)

// appendStrokes appends the keys pressed to type password, each named by what it
// types without Shift in the US layout, except that signs above digits keep
// their Shift. What no key of the two layouts types stands for itself.
func appendStrokes(dst []byte, password string) []byte {
	password = norm.NFC.String(password)
	cyrillic := strings.ContainsFunc(password, func(r rune) bool { return unicode.Is(unicode.Cyrillic, r) })
	for _, r := range password {
		// By way of the upper case, for letters with two lower-case forms (ς, σ).
		r = unicode.ToLower(unicode.ToUpper(r))
		if cyrillic {
			r = keyOfRussian(r)
		} else if i := strings.IndexRune(`~{}:"<>`, r); i >= 0 {
			r = rune("`[];',."[i])
		}
		dst = append(dst, string(r)...)
	}
	return dst
}

func keyOfRussian(r rune) rune {
	if i := strings.IndexRune(cyrillicKeys, r); i >= 0 {
		return rune(latinKeys[i/2])
	}
	// These signs are elsewhere than in the US layout.
	switch r {
	case '"':
		return '@'
	case '№':
		return '#'
	case ';':
		return '$'
	case ':':
		return '^'
	case '?':
		return '&'
	case '.':
		return '/'
	case ',':
		return '?'
	}
	return r
}

// withoutSigns cuts off the signs that people add to a password when a site
// demands one.
func withoutSigns(strokes []byte) []byte {
	return bytes.TrimRight(strokes, "!?*&/") // & and / are ? and . on a Russian keyboard
}

// withoutNumber cuts off the number that people add, and the signs before it, if
// it is a number that thousands would choose.
func withoutNumber(strokes []byte) []byte {
	word := bytes.TrimRight(strokes, "0123456789")
	if number := strokes[len(word):]; len(number) == 0 || !isUsualNumber(string(number)) {
		return strokes
	}
	return bytes.TrimRight(word, "@#_- ")
}

func isUsualNumber(n string) bool {
	return len(n) <= 2 ||
		len(n) == 4 && (n[:2] == "19" || n[:2] == "20") || // a year
		strings.HasPrefix("1234567890", n) ||
		strings.Trim(n, n[:1]) == "" || // one digit over and over
		n == "321" || n == "007"
}

// isRepetition reports whether strokes are one to four keys over and over, at
// least twice.
func isRepetition(strokes []byte) bool {
	for period := 1; period <= 4 && 2*period <= len(strokes); period++ {
		if bytes.Equal(strokes[period:], strokes[:len(strokes)-period]) {
			return true
		}
	}
	return false
}

// isDate reports whether strokes are a day of 1900 to 2099 in figures, its century
// among them. These are fewer than two million passwords; a list of them would
// be many times as long as all else in common.bin.
func isDate(strokes []byte) bool {
	if len(strokes) < len("1.1.1990") || len(strokes) > len("01.01.1990") ||
		len(bytes.Trim(strokes, "0123456789./-")) > 0 {
		return false
	}
	day := strings.ReplaceAll(strings.ReplaceAll(string(strokes), "/", "."), "-", ".")
	for _, layout := range []string{"02012006", "01022006", "20060102", "2.1.2006", "1.2.2006", "2006.1.2"} {
		if t, err := time.Parse(layout, day); err == nil && 1900 <= t.Year() && t.Year() < 2100 {
			return true
		}
	}
	return false
}
