package outbox

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

const (
	noBreak   = "\u00A0" // between a number and its noun
	hairSpace = "\u200A"
	// maxValue is how much is shown of what a user wrote, in runes.
	maxValue = 64
)

// What the data of messages can be, besides texts.
var (
	numbers = []string{"minutes", "hours", "left"}          //nolint:gochecknoglobals // a constant list
	factors = []string{"totp", "passkey", "recovery_codes"} //nolint:gochecknoglobals // a constant list
	code    = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z-]{3,31}$`)
)

// pluralForms is how many forms a noun has after whole numbers.
var pluralForms = map[string]int{"en": 2, "ru": 3} //nolint:gochecknoglobals // a constant table

// values are what a message is filled with. Whatever is no number, code, time or
// address may come from a stranger.
type values struct {
	lang, service string
	data          map[string]string
}

// errNoValue: the data lacks what the words speak of.
var errNoValue = errors.New("has no value")

// in fills the words.
func (w words) in(v values) (string, error) {
	var out strings.Builder
	for _, p := range w {
		text := p.literal
		if p.key != "" {
			var err error
			if text, err = v.show(p); err != nil {
				return "", fmt.Errorf("{%s} %w", p.key, err) // never the value: it may be a secret
			}
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

func (v values) show(p piece) (string, error) {
	if p.key == "service" {
		return v.service, nil
	}
	value := v.data[p.key]
	switch {
	case value == "":
		return "", errNoValue
	case p.choices != nil:
		if text, ok := p.choices[value]; ok {
			return text, nil
		}
		return "", errors.New("is none of those that there are words for")
	}
	switch p.key {
	case "code":
		if !code.MatchString(value) {
			return "", errors.New("does not look like one")
		}
		return value, nil
	case "minutes", "hours", "left":
		return v.number(value, p.forms)
	case "time":
		return v.time(value)
	case "ip":
		if ip, err := netip.ParseAddr(value); err == nil && ip.Unmap().Is6() && ip.Zone() == "" {
			return ip.String(), nil // nothing makes a link of it, and it reads badly with gaps
		}
	}
	return unlinked(clean(value)), nil
}

func (v values) number(value string, forms []string) (string, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return "", errors.New("is not a whole number")
	}
	if forms == nil {
		return strconv.Itoa(n), nil
	}
	form := len(forms) - 1
	switch plural.Cardinal.MatchPlural(language.Make(v.lang), n, 0, 0, 0, 0) {
	case plural.One:
		form = 0
	case plural.Few:
		form = 1
	}
	return strconv.Itoa(n) + noBreak + forms[form], nil
}

var russianMonths = [...]string{ //nolint:gochecknoglobals // a constant list
	"января", "февраля", "марта", "апреля", "мая", "июня", "июля", "августа", "сентября", "октября", "ноября", "декабря",
}

// time is read by people who do not know where the server stands, so that it
// names its zone.
func (v values) time(value string) (string, error) {
	t, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		return "", errors.New("is not a time of RFC 3339")
	}
	month := t.Month().String()
	if v.lang == "ru" {
		month = russianMonths[t.Month()-1]
	}
	zone := "UTC"
	if _, offset := t.Zone(); offset != 0 {
		sign := '+'
		if offset < 0 {
			sign, offset = '-', -offset
		}
		zone += fmt.Sprintf("%c%d", sign, offset/3600)
		if minutes := offset / 60 % 60; minutes != 0 {
			zone += fmt.Sprintf(":%02d", minutes)
		}
	}
	return fmt.Sprintf("%d%s%s %d, %s (%s)", t.Day(), noBreak, month, t.Year(), t.Format("15:04"), zone), nil
}

// clean is a text on one line, without what is not seen, and not too long.
func clean(s string) string {
	var out []rune
	marks, gap := 0, false
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case unicode.IsSpace(r):
			gap = true
			continue
		case !unicode.IsPrint(r), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r), r == '\u2800':
			continue // also what turns the direction of writing, and what joins or parts letters
		case unicode.IsMark(r):
			if marks++; marks > 4 {
				continue // more would cover the lines above
			}
		default:
			marks = 0
		}
		if gap && out != nil {
			out = append(out, ' ')
		}
		gap = false
		if out = append(out, r); len(out) > maxValue {
			return string(out[:maxValue-1]) + "…"
		}
	}
	if out == nil {
		return "—"
	}
	return string(out)
}

// unlinked keeps mail programs from making a link of what somebody chose as a
// name: many do so with whatever looks like an address, in HTML as well as in
// plain text, and the mail would lead to wherever a stranger likes. A hair space
// follows all but letters, digits and harmless signs, so that there is no
// address in it any more. A zero-width character would not do: Android takes
// them for letters.
func unlinked(s string) string {
	var out strings.Builder
	var last rune
	for i, r := range s {
		if i > 0 && r != ' ' && last != ' ' && !harmless(last) {
			out.WriteString(hairSpace)
		}
		out.WriteRune(r)
		last = r
	}
	return out.String()
}

func harmless(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.Is(unicode.Nd, r) || strings.ContainsRune(`-_(),;'"+!&`, r)
}
