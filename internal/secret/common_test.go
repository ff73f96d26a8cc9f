package secret_test

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"propusk/internal/secret"
)

func TestCommonPasswordsAreCommon(t *testing.T) {
	for _, p := range []string{
		// the world's
		"password", "12345678", "123456789", "qwerty123", "qwertyuiop", "1q2w3e4r", "1qaz2wsx", "zaq12wsx",
		"iloveyou", "trustno1", "letmein1", "sunshine", "princess", "football", "p@ssw0rd", "Pa$$w0rd",
		"11111111", "87654321", "abcdefgh", "asdfghjkl", "1234qwer", "qwer1234", "password1",
		// Russia's, as typed, in the other layout and in Latin letters
		"йцукенгш", "йцукен", "привет", "ghbdtn", "пароль", "gfhjkm", "любимая", "k.,bvfz", "наташа", "yfnfif",
		"natasha", "солнышко", "cjkysirj", "solnyshko", "люблютебя", "k.,k.nt,z", "спартак", "cgfhnfr",
		"лёха", "леха", "юлия", "yuliya", "yulia", "julija", "марина", "vfhbyf", "пропуск",
		// words of the world typed in a Russian or Ukrainian layout
		"зфыыцщкв", "зфііцщкв", "цуцуцуц", "йфяцыч", "вкфпщт",
		// what is added when figures and signs are demanded
		"pass12345", "Password123!", "Qwerty123!", "Welcome@2024", "Summer2025!", "admin_123", "Zima2024",
		"наташа1990", "yfnfif1990", "Natasha_1990", "привет123?", "ghbdtn123&", "пароль №1", "Москва777",
		"trustno1!", "q1w2e3r4!", "dragon!!!", "любовь...", "максим85", "Спартак1922",
		// days
		"01011990", "31121999", "12311999", "19900101", "09.05.1945", "9/5/1945", "1.1.1990", "1990-01-31", "29022024",
		// one to four keys over and over
		"aaaaaaaa", "ёёёёёёёёёё", "abababababab", "хахахаха", "123123123123123123", "qazwqazwqazwqazw", "........",
		strings.Repeat("7", 1000),
	} {
		for _, p := range []string{p, strings.ToUpper(p), strings.ToLower(p), capitalised(p), norm.NFD.String(p)} {
			if !secret.IsCommon(p) {
				t.Errorf("%q is not common", p)
			}
		}
	}
}

func capitalised(s string) string {
	r := []rune(s)
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}

// A list that refuses too much is as bad as one that refuses too little: people
// then take whatever passes.
func TestOtherPasswordsAreNotCommon(t *testing.T) {
	for _, p := range []string{
		"", "\x00", "\xfe", "\u0301",
		// phrases, also those that contain or begin with a listed word
		"password of my grandmother's cat", "correct horse battery staple gun", "мой пароль никто не угадает",
		"наташа и серёжа едут в Сочи", "qwerty is not a word", "ненастный вечер у реки", "вишнёвый трактор 12 едет",
		"I love you, but not that way",
		// a listed word with what few would add
		"dragon8153", "наташа4096", "password-x7f", "summer2024winter", "сол ныш ко",
		// nearly a day, nearly a repetition
		"32011990", "30021991", "13.13.1990", "01011790", "0101199", "010119901",
		"abcdeabcdf", "qazwsqazwx",
		// random
		"k7#Vq9!x", "tR4$wnZp2", "8f3Kq0Lz", "жЩ7эъпт0", "Xq2-Vb7-Lm4", "зёбру-щёлк-92-юз", "60943817",
	} {
		if secret.IsCommon(p) {
			t.Errorf("%q is common", p)
		}
	}
}

// The same ones in each run, so that a false positive cannot come and go.
func TestRandomPasswordsAreNotCommon(t *testing.T) {
	for i := range 5000 {
		sum := sha256.Sum256(fmt.Append(nil, i))
		if p := base32.StdEncoding.EncodeToString(sum[:])[:10]; secret.IsCommon(p) {
			t.Errorf("%q is common", p)
		}
	}
}

// Every letter must meet its other cases, or a capital would hide a password.
func TestCommonFoldsEveryLetter(t *testing.T) {
	for r := range unicode.MaxRune + 1 {
		for _, other := range []rune{unicode.ToUpper(r), unicode.ToLower(r), unicode.ToTitle(r)} {
			if other != r && secret.CommonEntry(string(other), false) != secret.CommonEntry(string(r), false) {
				t.Errorf("%q and %q are different keys", r, other)
			}
		}
	}
}

func BenchmarkIsCommon(b *testing.B) {
	for _, p := range []string{"password", "tR4$wnZp2", "наташа4096", "13.13.1990", "ненастный вечер у реки"} {
		b.Run(p, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				secret.IsCommon(p)
			}
		})
	}
}

func FuzzIsCommon(f *testing.F) {
	for _, p := range []string{"password", "Привет123?", "ghbdtn", "01.01.1990", "ёёёё", "a\u0301\x00\xff", "ſtraße!1"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		got := secret.IsCommon(p)
		if upper := strings.ToUpper(p); secret.IsCommon(upper) != got {
			t.Errorf("IsCommon(%q) = %v, of %q it is not", p, got, upper)
		}
		if lower := strings.ToLower(p); secret.IsCommon(lower) != got {
			t.Errorf("IsCommon(%q) = %v, of %q it is not", p, got, lower)
		}
		if composed := norm.NFC.String(p); secret.IsCommon(composed) != got {
			t.Errorf("IsCommon(%q) = %v, of %q it is not", p, got, composed)
		}
	})
}
