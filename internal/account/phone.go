package account

import (
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// CodeContactNumberInvalid is for whatever is no phone number.
const CodeContactNumberInvalid Code = "contact_number_invalid"

// maxPhoneBytes is what is parsed at most. E.164 has 15 digits; the rest is
// room for an international prefix and for punctuation.
const maxPhoneBytes = 40

// parsePhone gives the E.164 form of a number in international form, or in the
// national form of region (see [validRegion]). The E.164 form is a fixed point
// in every region.
//
// Letters are refused rather than read as keys of a telephone (a vanity number
// has many spellings), and so are extensions: a code cannot be sent to one.
func parsePhone(s, region string) (string, *Fault) {
	invalid := &Fault{Code: CodeContactNumberInvalid}
	if len(s) > maxInputBytes {
		return "", invalid
	}
	s = strings.Trim(s, " ")
	if s == "" {
		return "", &Fault{Code: CodeRequired}
	}
	if len(s) > maxPhoneBytes || !isDialable(s) {
		return "", invalid
	}
	number, err := phonenumbers.Parse(s, region)
	if err != nil || number.GetExtension() != "" || !phonenumbers.IsValidNumber(number) {
		return "", invalid
	}
	return phonenumbers.Format(number, phonenumbers.E164), nil
}

// isDialable tells whether s holds nothing but ASCII digits, the punctuation
// that people group them with, and at most one plus sign, before the first
// digit. The library is more lenient: it skips over what it does not know.
func isDialable(s string) bool {
	digits, plus := 0, 0
	for _, c := range []byte(s) {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case c == '+':
			if digits > 0 || plus > 0 {
				return false
			}
			plus++
		case !strings.ContainsRune(" -()./", rune(c)):
			return false
		}
	}
	return digits > 0
}

// validRegion tells whether region is an ISO 3166-1 alpha-2 code, in capitals,
// whose numbering plan is known.
func validRegion(region string) bool {
	return len(region) == 2 && phonenumbers.GetSupportedRegions()[region]
}
