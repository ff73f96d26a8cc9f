#!/bin/bash
# Writes reference.txt with the reference implementation's program (Debian's
# argon2 20171227): passes, memory in KiB, lanes, size of the key, salt, password
# in hexadecimal, key.
set -euo pipefail
cd "$(dirname "$0")"

line() { # passes memory lanes size salt password
	local key
	key=$(printf %s "$6" | argon2 "$5" -id -v 13 -r -t "$1" -k "$2" -p "$3" -l "$4")
	echo "$1 $2 $3 $4 $5 $(printf %s "$6" | od -An -v -tx1 | tr -d ' \n') $key"
}

{
	# What a service uses: OWASP's choices and those of RFC 9106, section 4.
	line 1 47104 1 32 somesaltsomesalt 'correct horse battery staple'
	line 2 19456 1 32 somesaltsomesalt 'correct horse battery staple'
	line 3 12288 1 32 somesaltsomesalt 'correct horse battery staple'
	line 4 9216 1 32 somesaltsomesalt 'correct horse battery staple'
	line 5 7168 1 32 somesaltsomesalt 'correct horse battery staple'
	line 3 65536 4 32 somesaltsomesalt 'correct horse battery staple'
	# Memory that does not divide by four for each lane; and the least there is.
	for lanes in 1 2 3 4 7; do
		for memory in 8 9 11 12 15 16 17 31 100 511 512 513 1027; do
			[ $((memory)) -ge $((8 * lanes)) ] || continue
			for passes in 1 2 3; do
				line $passes $memory $lanes 32 saltsalt password
			done
		done
	done
	# Sizes of the key about the edges of H', and of the password (the program refuses none).
	for size in 4 5 16 24 31 32 33 63 64 65 95 96 97 127 128 129 160 1024; do
		line 2 64 2 $size 0123456789abcdef password
	done
	line 2 64 1 32 saltsalt 'пропуск'
	line 2 64 1 32 saltsalt "$(printf 'x%.0s' {1..127})"
	line 2 64 1 32 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0 a
	# Lanes up to what a byte holds.
	line 1 2040 255 32 saltsalt password
	line 2 1031 16 32 saltsalt password
} >reference.txt
