package account

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
)

// What can be wrong with a user name, and the arguments of the words.
const (
	CodeUsernameInvalid      Code = "username_invalid"
	CodeUsernameTooShort     Code = "username_too_short" // min
	CodeUsernameTooLong      Code = "username_too_long"  // max
	CodeUsernameLooksLikeID  Code = "username_looks_like_id"
	CodeUsernameMixedScripts Code = "username_mixed_scripts"
	CodeUsernameAmbiguous    Code = "username_ambiguous"
)

// The length of a user name in code points, after mapping.
const (
	minUsername = 2
	maxUsername = 64
)

// maxMarks is how many combining marks may follow one letter (UTS #39 section
// 5.4); more of them paint over the neighbouring lines of a page.
const maxMarks = 4

// The profiles of RFC 8265 sections 3.3 and 3.4, except for their Bidi rule: x/text
// applies it to text without right-to-left letters too and would refuse "7я".
var ( //nolint:gochecknoglobals // constants, safe for concurrent use
	casePreserved = precis.NewIdentifier(precis.FoldWidth, precis.Norm(norm.NFC))
	caseMapped    = precis.NewIdentifier(precis.FoldWidth, precis.LowerCase(), precis.Norm(norm.NFC))
)

// username is a user name as it is shown and as it is compared.
type username struct {
	name string // PRECIS UsernameCasePreserved (RFC 8265), letters as typed
	key  string // skeleton of PRECIS UsernameCaseMapped; unique among users
}

// parseUsername accepts a user name that cannot be taken for an e-mail address,
// for an id, or for the name of somebody else. Everything is judged after
// mapping, so that full-width digits or letters do not slip through.
//
// Names that differ only in letter case, width, normalisation or look-alike
// letters have the same key, hence one owner and one throttling counter.
func parseUsername(s string) (username, *Fault) {
	tooLong := &Fault{Code: CodeUsernameTooLong, Args: map[string]string{"max": strconv.Itoa(maxUsername)}}
	if len(s) > maxInputBytes {
		return username{}, tooLong
	}
	s = strings.Trim(s, " ")
	if s == "" {
		return username{}, &Fault{Code: CodeRequired}
	}
	name, err := casePreserved.String(s)
	if err != nil {
		return username{}, &Fault{Code: CodeUsernameInvalid}
	}
	mapped, err := caseMapped.String(s)
	if err != nil || !hasUsernameRunes(mapped) || !obeysBidiRule(mapped) {
		return username{}, &Fault{Code: CodeUsernameInvalid}
	}
	if n := utf8.RuneCountInString(mapped); n < minUsername {
		return username{}, &Fault{Code: CodeUsernameTooShort, Args: map[string]string{"min": strconv.Itoa(minUsername)}}
	} else if n > maxUsername {
		return username{}, tooLong
	}
	key := skeleton(mapped)
	// The skeleton is asked too: an id with a Cyrillic а reads as an id.
	if looksLikeID(mapped) || looksLikeID(key) {
		return username{}, &Fault{Code: CodeUsernameLooksLikeID}
	}
	if fault := scriptFault(mapped); fault != nil {
		return username{}, fault
	}
	if isAmbiguous(mapped, key) {
		return username{}, &Fault{Code: CodeUsernameAmbiguous}
	}
	return username{name: name, key: key}, nil
}

// hasUsernameRunes narrows what PRECIS lets through: no "@", nothing invisible
// (PRECIS allows joiners in some scripts), no mark without a letter under it or
// printed over itself, and at least one letter or digit.
func hasUsernameRunes(s string) bool {
	word, marks, previous := false, 0, rune(0)
	for _, r := range norm.NFD.String(s) {
		if r == '@' || r == utf8.RuneError || isInvisible(r) || unicode.IsSpace(r) {
			return false
		}
		if !unicode.IsMark(r) {
			word = word || unicode.IsLetter(r) || unicode.IsDigit(r)
			marks = 0
		} else if marks++; marks > maxMarks || r == previous || previous == 0 {
			return false
		}
		previous = r
	}
	return word
}

// looksLikeID tells whether s (in lower case) is a UUID in any usual spelling:
// hyphenated, bare, in braces, or as a URN (RFC 9562 section 4).
func looksLikeID(s string) bool {
	s = strings.TrimPrefix(s, "urn:")
	s = strings.TrimPrefix(s, "uuid:")
	s = strings.Trim(s, "{}()")
	s = strings.ReplaceAll(s, "-", "")
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// scripts is a set of ways of writing, each of them a script or several that
// one language writes together.
type scripts uint32

const (
	european  scripts = 1 << iota // Latin, Cyrillic and Greek: the skeleton keeps them apart
	eastAsian                     // Han with the Japanese syllabaries and Bopomofo
	korean                        // Han with Hangul
	firstOther

	anyScript = ^scripts(0)
)

// writing lists the scripts in everyday modern use (UAX #31 table 5). The others
// are refused: among them are whole alphabets of Latin look-alikes, such as
// Lisu, Cherokee and Coptic, that no rule against mixing would catch.
var writing = []struct { //nolint:gochecknoglobals // a constant table
	letters *unicode.RangeTable
	in      scripts
}{
	{unicode.Latin, european}, {unicode.Cyrillic, european}, {unicode.Greek, european},
	{unicode.Han, eastAsian | korean}, {unicode.Hangul, korean},
	{unicode.Hiragana, eastAsian}, {unicode.Katakana, eastAsian}, {unicode.Bopomofo, eastAsian},
	{unicode.Arabic, firstOther}, {unicode.Armenian, firstOther << 1},
	{unicode.Bengali, firstOther << 2}, {unicode.Devanagari, firstOther << 3},
	{unicode.Ethiopic, firstOther << 4}, {unicode.Georgian, firstOther << 5},
	{unicode.Gujarati, firstOther << 6}, {unicode.Gurmukhi, firstOther << 7},
	{unicode.Hebrew, firstOther << 8}, {unicode.Kannada, firstOther << 9},
	{unicode.Khmer, firstOther << 10}, {unicode.Lao, firstOther << 11},
	{unicode.Malayalam, firstOther << 12}, {unicode.Myanmar, firstOther << 13},
	{unicode.Oriya, firstOther << 14}, {unicode.Sinhala, firstOther << 15},
	{unicode.Tamil, firstOther << 16}, {unicode.Telugu, firstOther << 17},
	{unicode.Thaana, firstOther << 18}, {unicode.Thai, firstOther << 19},
	{unicode.Tibetan, firstOther << 20},
}

// europeanBlocks are the blocks of living Latin, Greek and Cyrillic
// orthographies. The phonetic and medieval blocks beyond them hold hundreds of
// variants of the same letters (small capitals, turned, hooked, insular).
var europeanBlocks = &unicode.RangeTable{R16: []unicode.Range16{ //nolint:gochecknoglobals // a constant table
	{Lo: 0x0000, Hi: 0x02AF, Stride: 1}, // Latin, with the phonetic letters that African languages write
	{Lo: 0x0370, Hi: 0x052F, Stride: 1}, // Greek, Cyrillic
	{Lo: 0x1E00, Hi: 0x1FFF, Stride: 1}, // Latin and Greek letters with marks
}}

// scriptFault refuses names that no language writes: letters, marks and digits
// of scripts that do not belong together.
func scriptFault(s string) *Fault {
	common := anyScript
	for _, r := range s {
		in := scriptsOf(r)
		if in == 0 {
			return &Fault{Code: CodeUsernameInvalid}
		}
		common &= in
	}
	if common == 0 {
		return &Fault{Code: CodeUsernameMixedScripts}
	}
	return nil
}

// scriptsOf gives the ways of writing that r can be part of, none if user names
// do not hold it.
func scriptsOf(r rune) scripts {
	switch {
	case r < utf8.RuneSelf && !unicode.IsLetter(r), 0x0300 <= r && r <= 0x036F:
		return anyScript
	case unicode.Is(unicode.Inherited, r):
		return anyScript &^ european // marks of other scripts are no accents
	case 0x02B9 <= r && r <= 0x02BF, r == 0x00B7:
		return european // apostrophes; the Catalan dot
	case r == 0x3006, r == 0x30FB, r == 0x30FC:
		return eastAsian
	case 0x0660 <= r && r <= 0x0669:
		r = 0x0627 // digits of Arabic, which Unicode files under Common
	}
	for _, w := range writing {
		if unicode.Is(w.letters, r) {
			if w.in == european && !unicode.Is(europeanBlocks, r) {
				return 0
			}
			return w.in
		}
	}
	return 0
}
