#!/usr/bin/env bash
# Makes sure that the programs are there that the tests run beside ours, and
# installs them where that needs no question. A missing one is an error: tests
# that were skipped for it would look as if they had passed.
set -euo pipefail

# need PACKAGES PURPOSE COMMAND... notes the Debian packages when the command,
# which looks for what they bring, fails.
need() {
	local packages
	read -ra packages <<<"$1"
	"${@:3}" >/dev/null 2>&1 || { missing+=("${packages[@]}"); reasons+="  $1: $2"$'\n'; }
}

has_postgres() {
	[ -n "${PROPUSK_TEST_POSTGRES:-}" ] && return
	{ command -v initdb && command -v postgres; } && return
	local dir
	for dir in /usr/lib/postgresql/*/bin; do # where Debian keeps them, outside of PATH
		[ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && return
	done
	return 1
}

compiles() {
	echo '#include <stdlib.h>' | "${CC:-gcc}" -fsyntax-only -xc -
}

check() {
	missing=() reasons=''
	need postgresql 'the tests run on PostgreSQL too (or on a server of yours, if PROPUSK_TEST_POSTGRES holds its postgres:// URL)' has_postgres
	need 'gcc libc6-dev' 'the race detector needs a C compiler' compiles
	need curl 'a test runs the lines of the README' command -v curl
	if [ "$(uname -s)" = Linux ]; then # there is none elsewhere
		need strace 'some tests watch what the program asks of the system' command -v strace
	fi
	[ "${#missing[@]}" -eq 0 ]
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# install adds packages without starting anything: PostgreSQL's package would
# make a system-wide cluster and start it, and the tests start their own.
install() {
	export DEBIAN_FRONTEND=noninteractive
	as_root mkdir -p /etc/postgresql-common/createcluster.d
	echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.d/propusk-tests.conf >/dev/null
	as_root apt-get update -q </dev/null
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}" </dev/null
}

check && exit
if command -v apt-get >/dev/null && as_root true 2>/dev/null; then
	echo "test-deps: installing ${missing[*]}"
	install
	check && exit
fi
cat >&2 <<TEXT
test-deps: programs that the tests need are missing:
${reasons}Install them with your system's package manager (on Debian and Ubuntu: apt-get install ${missing[*]}) and run this again.
TEXT
exit 1
