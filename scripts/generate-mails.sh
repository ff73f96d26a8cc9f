#!/usr/bin/env bash
# Compiles the look of mails, tools/mail/layout.mjml, into the file named, with
# MJML at the version in tools/mail/package-lock.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v npm >/dev/null; then
	echo 'generate: the look of mails is compiled by a Node.js program: install Node.js 20.19 or newer, with npm.' >&2
	exit 1
fi
out=$(realpath "$1")
cd tools/mail
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
	npm ci --silent
fi
./node_modules/.bin/mjml layout.mjml -o "$out" --config.validationLevel strict
