package main

import (
	"slices"
	"strings"
)

// transliterations returns words in the Latin spellings that Russians use, those
// of passports and those of chats.
func transliterations(words []string) []string {
	var all []string
	for _, differing := range [][]string{
		{"ж", "zh", "х", "kh", "ц", "ts", "щ", "shch", "ю", "yu", "я", "ya", "й", "y", "ё", "yo"},
		{"ж", "zh", "х", "kh", "ц", "ts", "щ", "shch", "ю", "iu", "я", "ia", "й", "i", "ё", "e"},
		{"ж", "zh", "х", "h", "ц", "c", "щ", "sch", "ю", "yu", "ия", "ia", "я", "ya", "ий", "y", "й", "i", "ё", "e", "кс", "x"},
		{"ж", "j", "х", "h", "ц", "c", "щ", "sh", "ю", "u", "ья", "ia", "я", "ya", "й", "y", "ё", "e", "кс", "x"},
		{"ж", "zh", "х", "h", "ц", "c", "щ", "sch", "ю", "ju", "я", "ja", "й", "j", "ё", "jo"},
	} {
		// A replacer prefers the earlier pair, so the pairs of letters come first.
		scheme := strings.NewReplacer(slices.Concat(differing, agreed)...)
		for _, w := range words {
			all = append(all, scheme.Replace(w))
		}
	}
	return all
}

// agreed are the letters that every scheme writes alike.
var agreed = []string{
	"а", "a", "б", "b", "в", "v", "г", "g", "д", "d", "е", "e", "з", "z", "и", "i", "к", "k", "л", "l",
	"м", "m", "н", "n", "о", "o", "п", "p", "р", "r", "с", "s", "т", "t", "у", "u", "ф", "f", "ч", "ch",
	"ш", "sh", "ъ", "", "ы", "y", "ь", "", "э", "e",
}

// walks returns the passwords that a finger finds by itself: every run of at
// least four along a row, either way, and small blocks of keys put together.
func walks() []string {
	var all []string
	for _, row := range []string{
		"12345678901234567890", "`1234567890-=", "01234567890", "!@#$%^&*()_+",
		"qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./", "qwertyuiopasdfghjklzxcvbnm",
		"qwertzuiopasdfghjklyxcvbnm", "azertyuiopqsdfghjklmwxcvbn",
		"abcdefghijklmnopqrstuvwxyz", "абвгдежзийклмнопрстуфхцчшщъыьэюя", "абвгдеёжзийклмн",
		"qazwsxedcrfvtgbyhnujmikolp", "qazxswedcvfrtgbnhyujm", "qawsedrftgyhujikolp", "zaqxswcdevfrbgtnhymju",
		"1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/", "1qazxsw23edcvfr45tgbnhy67ujm", "zaq12wsxcde34rfvbgt56yhnmju7",
		"zaq1xsw2cde3vfr4bgt5nhy6mju7", "!qaz@wsx#edc$rfv%tgb", "1qaz@wsx3edc$rfv", "!qaz2wsx#edc4rfv", "1qaz!qaz2wsx@wsx",
		"1q2w3e4r5t6y7u8i9o0p", "q1w2e3r4t5y6u7i8o9p0", "1qw23er45ty67ui8", "1a2s3d4f5g6h7j8k9l", "a1s2d3f4g5h6j7k8l9",
		"a1b2c3d4e5f6g7h8i9", "1a2b3c4d5e6f7g8h9i", "1z2x3c4v5b6n7m", "z1x2c3v4b5n6m7", "qawszxedc", "qweasdzxcrtyfghvbn",
		"qwaszxerdfcv", "112233445566778899", "111222333444555666777888999", "111122223333444455556666", "aabbccddeeffgg",
		"aaabbbcccdddeee", "aaaabbbbccccdddd", "qqwweerrttyy", "qqqwwweeerrr", "qqqqwwwweeeerrrr", "aassddffgg", "aaasssdddfff",
	} {
		all = append(all, runs(row)...)
	}
	for _, blocks := range [][]string{
		{"123", "321", "456", "789", "987", "000", "111", "qwe", "ewq", "asd", "dsa", "zxc", "cxz", "qaz", "wsx", "edc", "zaq", "xsw", "abc", "aaa", "wer", "sdf"},
		{"1234", "4321", "5678", "0000", "1111", "qwer", "rewq", "asdf", "fdsa", "zxcv", "vcxz", "1qaz", "2wsx", "3edc", "zaq1", "xsw2", "abcd", "aaaa"},
		{"12345", "54321", "67890", "qwert", "trewq", "asdfg", "gfdsa", "zxcvb", "bvcxz", "abcde"},
		{"123456", "654321", "qwerty", "ytrewq", "asdfgh", "hgfdsa", "zxcvbn", "nbvcxz", "abcdef", "qazwsx", "123123", "111111"},
	} {
		all = append(all, chains(blocks)...)
	}
	return all
}

func runs(row string) []string {
	var all []string
	keys := []rune(row)
	for range 2 {
		for from := range keys {
			for to := from + 4; to <= len(keys); to++ {
				all = append(all, string(keys[from:to]))
			}
		}
		slices.Reverse(keys)
	}
	return all
}

// chains returns every two and three of blocks end to end.
func chains(blocks []string) []string {
	var all []string
	for _, a := range blocks {
		for _, b := range blocks {
			all = append(all, a+b)
			for _, c := range blocks {
				all = append(all, a+b+c)
			}
		}
	}
	return all
}
