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

# has finds a program also where Debian puts what only root should run.
has() {
	command -v "$1" || [ -x "/usr/sbin/$1" ]
}

# has_chromium looks where internal/apptest/browser does.
has_chromium() {
	[ -n "${PROPUSK_TEST_CHROMIUM:-}" ] && return
	command -v chromium || command -v chromium-browser || command -v google-chrome-stable || command -v google-chrome
}

compiles() {
	echo '#include <stdlib.h>' | "${CC:-gcc}" -fsyntax-only -xc -
}

check() {
	missing=() reasons=''
	need postgresql 'the tests run on PostgreSQL too (or on a server of yours, if PROPUSK_TEST_POSTGRES holds its postgres:// URL)' has_postgres
	need 'gcc libc6-dev' 'the race detector needs a C compiler' compiles
	need nginx-light 'its configuration in deploy/gateways is run in it' has nginx
	need caddy 'its configuration in deploy/gateways is run in it' has caddy
	need haproxy 'its configuration in deploy/gateways is run in it' has haproxy
	need exim4-daemon-light 'mail is sent to a server that others have written' has exim4
	need chromium 'the pages are looked at in it (or in a browser of yours, if PROPUSK_TEST_CHROMIUM names its program)' has_chromium
	need oathtool 'codes of an authenticator app are made by it' command -v oathtool
	need curl 'a test runs the lines of the README' command -v curl
	if [ "$(uname -s)" = Linux ]; then # there is none elsewhere
		need strace 'some tests watch what the program asks of the system' command -v strace
	fi
	[ "${#missing[@]}" -eq 0 ]
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# install adds packages without starting anything, now or at the next boot:
# PostgreSQL's package would make a system-wide cluster, those of the gateways
# would take the ports 80 and 443, and the tests start their own. It removes
# nothing either: another mail server that is there does its work.
install() {
	export DEBIAN_FRONTEND=noninteractive
	as_root mkdir -p /etc/postgresql-common/createcluster.d
	echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.d/propusk-tests.conf >/dev/null
	as_root apt-get update -q </dev/null
	# It forbids the scripts of packages to start anything. One that is there
	# already has its reasons, and stays.
	local policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod 755 "$policy"
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends --no-remove "${missing[@]}" </dev/null
	local package
	for package in "${missing[@]}"; do
		case $package in
		nginx-light | caddy | haproxy | exim4-daemon-light) # enabled by its package; fails where there is no systemd
			package=${package%-light}
			as_root systemctl disable -q "${package%-daemon}" 2>/dev/null || true
			;;
		esac
	done
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
