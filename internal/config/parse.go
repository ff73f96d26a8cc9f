package config

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A parser gets a text that is not empty and answers with the value, or with
// words that follow "setting (source): ". Parsers of settings that hold a
// credential are in private.go, and quote nothing of what they got.

// quote shows a wrong value, but not a book of it.
func quote(text string) string {
	if runes := []rune(text); len(runes) > 60 {
		text = string(runes[:60]) + "…"
	}
	return strconv.Quote(text)
}

// listOf parses texts between commas.
func listOf[T any](parse func(string) (T, error)) func(string) ([]T, error) {
	return func(text string) ([]T, error) {
		var list []T
		for item := range strings.SplitSeq(text, ",") {
			item = strings.TrimSpace(item)
			if item == "" {
				return nil, errors.New("has an empty item between its commas")
			}
			v, err := parse(item)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
}

// uniqueListOf refuses a list that names something twice.
func uniqueListOf[T comparable](parse func(string) (T, error)) func(string) ([]T, error) {
	return func(text string) ([]T, error) {
		list, err := listOf(parse)(text)
		for i, v := range list {
			if slices.Contains(list[:i], v) {
				return nil, fmt.Errorf("names %v twice", v)
			}
		}
		return list, err
	}
}

func oneOf[T ~string](choices ...T) func(string) (T, error) {
	return func(text string) (T, error) {
		if !slices.Contains(choices, T(text)) {
			names := strings.Trim(fmt.Sprint(choices), "[]") // none of them has a space
			return "", fmt.Errorf("%s is not one of %s", quote(text), strings.ReplaceAll(names, " ", ", "))
		}
		return T(text), nil
	}
}

func between(least, most int) func(string) (int, error) {
	return func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("%s is not a whole number from %d to %d", quote(text), least, most)
		}
		return n, nil
	}
}

var sixDigits = regexp.MustCompile(`^[0-9]{6}$`)

func parseCode(text string) (string, error) {
	if !sixDigits.MatchString(text) {
		return "", fmt.Errorf("%s is not six digits", quote(text))
	}
	return text, nil
}

func parseSwitch(text string) (bool, error) {
	switch text {
	case "on", "true":
		return true, nil
	case "off", "false":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither on nor off", quote(text))
}

func parsePath(text string) (string, error) {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "", fmt.Errorf("%s is not the name of a file", quote(text))
	}
	return text, nil
}

// maxDuration is far beyond use, and catches a unit gone wrong.
const maxDuration = 3650 * 24 * time.Hour

// withDays has four digits at most: as nanoseconds, six would overflow.
var withDays = regexp.MustCompile(`^([0-9]{1,4})d(.*)$`)

// parseDuration reads Go's durations, with days (of 24 hours) before them.
func parseDuration(text string) (time.Duration, error) {
	var days time.Duration
	rest := text
	if m := withDays.FindStringSubmatch(text); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return 0, fmt.Errorf("%s is not a duration", quote(text))
		}
		days = time.Duration(n) * 24 * time.Hour
		rest = m[2]
		if rest == "" {
			rest = "0"
		}
	}
	if strings.Trim(text, "0123456789.") == "" {
		return 0, fmt.Errorf("%s needs a unit, such as 90s, 15m, 24h or 30d", quote(text))
	}
	d, err := time.ParseDuration(rest)
	if err != nil || strings.HasPrefix(rest, "-") && days > 0 {
		return 0, fmt.Errorf("%s is not a duration such as 90s, 15m, 24h or 30d", quote(text))
	}
	// The rest alone is below the limit before it is added, so nothing overflows.
	if d <= 0 && days == 0 || d > maxDuration || days+d > maxDuration {
		return 0, fmt.Errorf("%s is not above zero and at most %dd", quote(text), maxDuration/(24*time.Hour))
	}
	return days + d, nil
}

// parseWholeSeconds is for what the API tells in whole seconds: half a second
// would be told as a token that never lived.
func parseWholeSeconds(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err == nil && d%time.Second != 0 {
		return 0, fmt.Errorf("%s is not a number of whole seconds", quote(text))
	}
	return d, err
}

func parseIdle(text string) (time.Duration, error) {
	if text == "none" {
		return 0, nil
	}
	d, err := parseWholeSeconds(text)
	if err != nil {
		err = fmt.Errorf("%w; write none for no limit", err)
	}
	return d, err
}

// parseOffline takes none as well: then nothing is checked without the database.
func parseOffline(text string) (time.Duration, error) {
	if text == "none" {
		return 0, nil
	}
	return parseDuration(text)
}

// maxSize is more than any machine has that this will run on.
const maxSize = 1 << 20 // MiB

// parseSize reads a number of MiB or GiB.
func parseSize(text string) (int64, error) {
	for unit, mebibytes := range map[string]int64{"MiB": 1, "GiB": 1024} {
		if digits, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.ParseInt(digits, 10, 32)
			if err == nil && n >= 1 && n*mebibytes <= maxSize {
				return n * mebibytes << 20, nil
			}
		}
	}
	return 0, fmt.Errorf("%s is not a size such as 256MiB or 1GiB", quote(text))
}

func parseZone(text string) (*time.Location, error) {
	zone, err := time.LoadLocation(text)
	if err != nil || text == "Local" { // which zone Local is depends on the machine
		return nil, fmt.Errorf("%s is not a time zone such as UTC or Europe/Moscow", quote(text))
	}
	return zone, nil
}

func parseRegistration(text string) (Registration, error) {
	if text == "verify-first" || text == "invite" {
		return "", fmt.Errorf("%s is not available in this version", text)
	}
	return oneOf(RegistrationOpen, RegistrationVerifyFirst, RegistrationClosed)(text)
}

var (
	userType = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)
	region   = regexp.MustCompile(`^[A-Z]{2}$`)
)

var roleName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`) //nolint:gochecknoglobals // a constant

// parseWhoMust reads none, all, or names of roles.
func parseWhoMust(text string) ([]string, error) {
	if text == "none" {
		return nil, nil
	}
	return uniqueListOf(func(name string) (string, error) {
		if !roleName.MatchString(name) || name == "none" {
			return "", fmt.Errorf("%s is not the name of a role", quote(name))
		}
		return name, nil
	})(text)
}

func parseUserTypes(text string) ([]string, error) {
	types, err := uniqueListOf(func(name string) (string, error) {
		if !userType.MatchString(name) {
			return "", fmt.Errorf("%s is not 1 to 32 of the letters a-z, digits and _", quote(name))
		}
		return name, nil
	})(text)
	if len(types) > 16 {
		return nil, fmt.Errorf("has %d names, at most 16 are possible", len(types))
	}
	return types, err
}

func parseRegion(text string) (string, error) {
	if !region.MatchString(text) {
		return "", fmt.Errorf("%s is not a country's two capital letters, such as RU", quote(text))
	}
	return text, nil
}

func parseLevel(text string) (slog.Level, error) {
	name, err := oneOf("debug", "info", "warn", "error")(text)
	if err != nil {
		return 0, err
	}
	var level slog.Level
	return level, level.UnmarshalText([]byte(name))
}

func parseLogFormat(text string) (LogFormat, error) {
	return oneOf(LogText, LogJSON, LogAuto)(text)
}
