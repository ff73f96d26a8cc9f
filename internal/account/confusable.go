package account

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// skeleton maps a name to what a reader makes of it: names with the same
// skeleton look alike, hence they are one name and have one owner. Without it,
// somebody could register "аdmin" with a Cyrillic а beside "admin" and be taken
// for him in a list of users, in a chat, in a mail to support.
//
// Names are compared without regard to letter case, so letters are taken as
// look-alikes if they are so in either case: Cyrillic "в" is "b" because "В" is
// "B". What the table leaves out is told apart by a careful reader; it does not
// merge ASCII letters with each other or with digits (I and l, O and 0), for
// then ordinary names (Karl, Kari) would take each other's place.
//
// The skeleton is a fixed point and only for comparing: never show it.
func skeleton(s string) string {
	var b strings.Builder
	for _, r := range foldCase(s) {
		if twin, ok := lookAlikes[r]; ok {
			b.WriteString(twin)
		} else {
			b.WriteRune(r)
		}
	}
	return norm.NFC.String(dropSoftDots(norm.NFD.String(b.String())))
}

// foldCase folds letter case in full (ß is ss, final sigma is sigma, the Kelvin
// sign is k), counts the dotless ı as i, and gives NFD: folding one composed
// letter can give a letter and a mark.
func foldCase(s string) string {
	s = norm.NFD.String(cases.Fold().String(norm.NFD.String(s)))
	// x/text swaps the cases of Cherokee instead of folding them; ToLower, which
	// changes nothing else here, brings both to the same one.
	return strings.ReplaceAll(strings.ToLower(s), "ı", "i")
}

// dropSoftDots removes from NFD text the dot that i and j have anyway, so that
// the Turkish İ, which folds to i and a dot, is i.
func dropSoftDots(s string) string {
	const dot = '\u0307'
	if !strings.ContainsRune(s, dot) {
		return s
	}
	dotted := false
	return strings.Map(func(r rune) rune {
		switch {
		case r == dot && dotted:
			return -1
		case !unicode.IsMark(r):
			dotted = r == 'i' || r == 'j'
		}
		return r
	}, s)
}

const (
	// twoFaced are the letters whose capital looks like one Latin letter and
	// whose small form like another: ν is v, Ν is N. A key has room for one
	// reading only (the table takes the capital's), so the other must not
	// occur.
	twoFaced = "βγηνυƽ"

	// plainlyGreek are the letters that show a name to be Greek in small type.
	plainlyGreek = "βγδεζθλμξπσφψω"
)

// isAmbiguous tells whether a name can be read as another than the one of its
// key: it has a two-faced letter among Latin or Cyrillic ones ("iνan"), or it is
// Greek and nothing in it says so ("νονα"). An accent does say so, and ordinary
// Greek names have one.
func isAmbiguous(mapped, key string) bool {
	folded := foldCase(mapped)
	if !strings.ContainsAny(folded, twoFaced) {
		return false
	}
	ascii := true
	for _, r := range key {
		ascii = ascii && r < utf8.RuneSelf
	}
	for _, r := range folded {
		if unicode.In(r, unicode.Latin, unicode.Cyrillic) {
			return true
		}
	}
	return ascii && !strings.ContainsAny(folded, plainlyGreek)
}

// lookAlikes holds the letters of europeanBlocks, folded and decomposed, that
// can pass for a Latin letter or digit, or for a letter of another of the three
// alphabets. The facts are those of Unicode's confusables (UTS #39), for the
// letter itself and for its capital. A twin is never a key of the table, or the
// skeleton would not be a fixed point.
var lookAlikes = map[rune]string{ //nolint:gochecknoglobals // a constant table
	// Latin letter by letter: first the Latin variants, then Greek, then Cyrillic.
	'\u0251': "a", '\u03b1': "a", '\u0430': "a", // ɑ α а
	'\u0185': "b", '\u0299': "b", '\u03b2': "b", '\u0432': "b", '\u044c': "b", // ƅ ʙ β в ь
	'\u0441': "c", '\u0501': "d", // с ԁ
	'\u025b': "e", '\u03b5': "e", '\u0435': "e", '\u0454': "e", '\u04bd': "e", '\u0511': "e", // ɛ ε е є ҽ ԑ
	'\u03dd': "f", '\u1e9d': "f", // ϝ ẝ
	'\u018d': "g", '\u0261': "g", '\u0262': "g", '\u050d': "g", // ƍ ɡ ɢ ԍ
	'\u029c': "h", '\u03b7': "h", '\u043d': "h", '\u04bb': "h", // ʜ η н һ
	'\u0269': "i", '\u026a': "i", '\u03b9': "i", '\u0456': "i", // ɩ ɪ ι і
	'\u0237': "j", '\u029d': "j", '\u03f3': "j", '\u0458': "j", // ȷ ʝ ϳ ј
	'\u0138': "k", '\u03ba': "k", '\u043a': "k", // ĸ κ к
	'\u01c0': "l", '\u029f': "l", '\u04cf': "l", // ǀ ʟ ӏ
	'\u03bc': "m", '\u03fb': "m", '\u043c': "m", // μ ϻ м
	'\u019e': "n", '\u0274': "n", '\u03bd': "n", // ƞ ɴ ν
	'\u03bf': "o", '\u03c3': "o", '\u03db': "o", '\u043e': "o", // ο σ ϛ о
	'\u01bf': "p", '\u03c1': "p", '\u0440': "p", // ƿ ρ р
	'\u051b': "q",                               // ԛ
	'\u0280': "r", '\u03b3': "r", '\u0433': "r", // ʀ γ г
	'\u0455': "s",                // ѕ
	'\u03c4': "t", '\u0442': "t", // τ т
	'\u028b': "u",                                                             // ʋ
	'\u0475': "v",                                                             // ѵ
	'\u026f': "w", '\u03c9': "w", '\u0448': "w", '\u0461': "w", '\u051d': "w", // ɯ ω ш ѡ ԝ
	'\u03c7': "x", '\u0445': "x", // χ х
	'\u0263': "y", '\u028f': "y", '\u03c5': "y", '\u0443': "y", '\u04af': "y", '\u1eff': "y", // ɣ ʏ υ у ү ỿ
	'\u03b6': "z", // ζ

	// Digits, and ASCII signs that user names may hold.
	'\u01a8': "2",                                                                            // ƨ
	'\u021d': "3", '\u025c': "3", '\u0292': "3", '\u0437': "3", '\u04e1': "3", '\u01bd': "5", // ȝ ɜ ʒ з ӡ ƽ
	'\u0183': "6", '\u0431': "6", '\u0223': "8", // ƃ б ȣ
	'\u0242': "?", '\u0294': "?", '\u01c3': "!", // ɂ ʔ ǃ
	'\u02b9': "'", '\u02bb': "'", '\u02bc': "'", '\u02bd': "'", // ʹ ʻ ʼ ʽ

	// Two letters in one.
	'\u00e6': "ae", '\u04d5': "ae", '\u0153': "oe", '\u0276': "oe", // æ ӕ œ ɶ
	'\u0238': "db", '\u0239': "qp", '\u01c1': "ll", // ȸ ȹ ǁ
	'\u02a3': "dz", '\u02a6': "ts", '\u02aa': "ls", '\u02ab': "lz", // ʣ ʦ ʪ ʫ
	'\u044b': "bi", '\u044e': "io", '\u0479': "oy", // ы ю ѹ

	// A stroke through a letter, whether of the letter or of a mark over it.
	'\u0334': "\u0335", '\u0336': "\u0335", '\u0337': "\u0335", '\u0338': "\u0335",
	'\u0180': "b\u0335", '\u0463': "b\u0335", '\u048d': "b\u0335", '\u023c': "c\u0335", // ƀ ѣ ҍ ȼ
	'\u0111': "d\u0335", '\u00f0': "d\u0335", '\u0256': "d\u0335", '\u0247': "e\u0335", // đ ð ɖ ɇ
	'\u01e5': "g\u0335", '\u0127': "h\u0335", '\u045b': "h\u0335", '\u0268': "i\u0335", // ǥ ħ ћ ɨ
	'\u0249': "j\u0335", '\u049f': "k\u0335", '\u019a': "l\u0335", '\u0142': "l\u0335", // ɉ ҟ ƚ ł
	'\u026b': "l\u0335", '\u00f8': "o\u0335", '\u0275': "o\u0335", '\u03b8': "o\u0335", // ɫ ø ɵ θ
	'\u0473': "o\u0335", '\u04e9': "o\u0335", '\u024d': "r\u0335", '\u0493': "r\u0335", // ѳ ө ɍ ғ
	'\u0167': "t\u0335", '\u0289': "u\u0335", '\u024f': "y\u0335", '\u04b1': "y\u0335", // ŧ ʉ ɏ ұ
	'\u01b6': "z\u0335", '\u01bb': "2\u0335", // ƶ ƻ

	// A comma below is a cedilla (ș, ş), and so is the tail of ҫ.
	'\u0326': "\u0327", '\u04ab': "c\u0327",

	// Letters without a twin in ASCII that two or three alphabets share.
	'\u01dd': "ə", '\u04d9': "ə", '\u037b': "ɔ", // ǝ ә ͻ
	'\u03c6': "ɸ", '\u0444': "ɸ", '\u03bb': "ʌ", '\u043b': "ʌ", // φ ф λ л
	'\u04cc': "ҷ", '\u04ca': "ӈ", // ӌ ӊ
	'\u03f8': "þ", '\u0377': "и", '\u043f': "π", '\u0471': "ψ", '\u1e9f': "δ", // ϸ ͷ п ѱ ẟ
}
