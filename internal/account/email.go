package account

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/secure/bidirule"
	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// What can be wrong with an address; CodeRequired is for every field.
const (
	CodeRequired     Code = "required"
	CodeEmailInvalid Code = "email_invalid"
)

const (
	// maxInputBytes bounds what is normalised at all, so that a huge value
	// costs a comparison of lengths and nothing more.
	maxInputBytes = 1024

	maxLocalBytes = 64  // RFC 5321 section 4.5.3.1.1
	maxEmailBytes = 254 // RFC 5321 section 4.5.3.1.3, less the angle brackets
)

// mailDomain maps a domain as UTS #46 says for look-up (letter case, NFC) and
// holds the result to IDNA 2008: STD 3 characters, hyphens, the Bidi rule of
// RFC 5893, the lengths of DNS. It is non-transitional: straße.de and
// strasse.de are two domains with two owners.
var mailDomain = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.VerifyDNSLength(true)) //nolint:gochecknoglobals // a constant, safe for concurrent use

// email is one mailbox. Mail goes to the address that is stored, never to
// another spelling with the same key: two mailboxes may share a key (ß and ss),
// and whoever owns the other one must not receive the first one's links.
type email struct {
	address string // as typed (after trimming U+0020), NFC
	key     string // case-folded local part, "@", lower-case ASCII domain; unique among users
}

// parseEmail accepts one bare address (an addr-spec without quotes, comments
// and address literals) and refuses everything else that RFC 5322 would allow:
// lists, groups and display names are how one field comes to name two
// recipients (CVE-2022-35924). It canonicalises first and validates the result,
// so that no character turns into "@" or "." afterwards (CVE-2026-73420).
//
// The key is a fixed point: parseEmail(key) gives the same key.
func parseEmail(s string) (email, *Fault) {
	invalid := &Fault{Code: CodeEmailInvalid}
	if len(s) > maxInputBytes {
		return email{}, invalid
	}
	s = strings.Trim(s, " ")
	if s == "" {
		return email{}, &Fault{Code: CodeRequired}
	}
	// IDNA drops a soft hyphen without a word, so the invisible is looked for
	// before anything is mapped.
	if !utf8.ValidString(s) || strings.ContainsFunc(s, isInvisible) {
		return email{}, invalid
	}
	s = norm.NFC.String(s)
	// Full-width letters, U+FF20, ligatures and the like stand for other
	// characters; what another program makes of them is anybody's guess.
	if !norm.NFKC.IsNormalString(s) {
		return email{}, invalid
	}
	local, domain, _ := strings.Cut(s, "@")
	ascii, ok := asciiDomain(domain)
	if !ok || !isDotAtom(local) || len(local) > maxLocalBytes || len(s) > maxEmailBytes {
		return email{}, invalid
	}
	// The limits hold for the key too, for case folding and Punycode can
	// lengthen it.
	folded := norm.NFC.String(dropSoftDots(foldCase(local)))
	key := folded + "@" + ascii
	if len(folded) > maxLocalBytes || len(key) > maxEmailBytes {
		return email{}, invalid
	}
	return email{address: s, key: key}, nil
}

// isDotAtom tells whether s is a dot-atom of RFC 5322 section 3.2.3, its atext
// widened by RFC 6532 to letters, marks and digits of every script. Symbols and
// punctuation beyond ASCII stay out: there are look-alikes of "@" and ";" among
// them.
func isDotAtom(s string) bool {
	atomStart := true
	for _, r := range s {
		switch {
		case r == '.':
			if atomStart {
				return false
			}
			atomStart = true
			continue
		case r < utf8.RuneSelf:
			if !isAtext(r) {
				return false
			}
		case !isWordRune(r), atomStart && unicode.IsMark(r):
			return false
		}
		atomStart = false
	}
	return !atomStart && obeysBidiRule(s)
}

func isAtext(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
		strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// isWordRune tells whether r is a visible letter, combining mark or decimal
// digit. What the Unicode version of this build does not know is none.
func isWordRune(r rune) bool {
	return (unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r)) && !isInvisible(r)
}

// isInvisible tells whether r is a control or format character or another that
// leaves no trace on the screen: two strings that differ only in such look the
// same. Some are letters and marks by category (Hangul fillers, variation
// selectors).
func isInvisible(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf,
		unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// obeysBidiRule keeps right-to-left letters from rearranging the text around
// them (RFC 5893 section 2). The rule is for text that has such letters; to
// other text bidirule.ValidString is too strict: it refuses a digit in front.
func obeysBidiRule(s string) bool {
	return bidirule.DirectionString(s) == bidi.LeftToRight || bidirule.ValidString(s)
}

// asciiDomain gives the lower-case ASCII (Punycode) form of a host name with at
// least two labels whose last can be a top-level domain.
func asciiDomain(s string) (string, bool) {
	// UTS #46 reads U+3002 as a dot; a mailer need not.
	if strings.Contains(s, "\u3002") {
		return "", false
	}
	ascii, err := mailDomain.ToASCII(s)
	if err != nil {
		return "", false
	}
	dot := strings.LastIndexByte(ascii, '.')
	if dot < 1 || !isTopLevel(ascii[dot+1:]) {
		return "", false
	}
	// The letters are looked at in both spellings, since an xn-- label can
	// hide what would be refused in plain sight.
	decoded, err := mailDomain.ToUnicode(ascii)
	if err != nil {
		return "", false
	}
	for _, r := range decoded {
		if !isWordRune(r) && !strings.ContainsRune("-.\u00b7\u30fb", r) {
			return "", false
		}
	}
	return ascii, true
}

// isTopLevel tells whether label is alphabetic or an A-label (RFC 1123 section
// 2.1, RFC 3696 section 2). That keeps out IPv4 addresses in every notation
// (10.0.0.1, 0x7f.1) and the empty label after a trailing dot.
func isTopLevel(label string) bool {
	if strings.HasPrefix(label, "xn--") {
		return true
	}
	for _, c := range []byte(label) {
		if c < 'a' || c > 'z' {
			return false
		}
	}
	return label != ""
}
