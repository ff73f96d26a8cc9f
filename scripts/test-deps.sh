#!/usr/bin/env bash
# Makes sure that the programs are there that the tests run beside ours, and
# installs them where that needs no question. A missing one is an error: tests
# that were skipped for it would look as if they had passed.
set -euo pipefail

# A line for each: the Debian package, what it is for, and a command that says
# whether it is there.
missing=()
need() { # PACKAGE PURPOSE COMMAND...
	"${@:3}" >/dev/null 2>&1 || { missing+=("$1"); reasons+="  $1: $2"$'\n'; }
}
reasons=''

has_postgres() {
	[ -n "${PROPUSK_TEST_POSTGRES:-}" ] && return
	{ command -v initdb && command -v postgres; } && return
	local dir
	for dir in /usr/lib/postgresql/*/bin; do # where Debian keeps them, outside of PATH
		[ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && return
	done
	return 1
}

check() {
	missing=() reasons=''
	need postgresql 'the tests run on PostgreSQL too' has_postgres
	need gcc 'the race detector needs a C compiler' eval 'command -v "${CC:-gcc}"'
	if [ "$(uname -s)" = Linux ]; then # elsewhere its tests are not built
		need strace 'some tests watch which files the program syncs' command -v strace
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
${reasons}Install them with your system's package manager (on Debian and Ubuntu: apt-get install ${missing[*]}), or let PROPUSK_TEST_POSTGRES hold the postgres:// URL of a server on which the tests may create schemas, then run this again.
TEXT
exit 1
