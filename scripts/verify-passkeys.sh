#!/usr/bin/env bash
# Has another verifier, @simplewebauthn/server at the version in
# tools/webauthn/package-lock.json, look at what a real browser sent to the running
# program, on each engine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v npm >/dev/null; then
	echo 'passkeys: they are verified by a Node.js program too: install Node.js 20.19 or newer, with npm.' >&2
	exit 1
fi
mkdir -p .cache
tapes=("$PWD"/.cache/passkeys-{sqlite,postgres}.json)
rm -f "${tapes[@]}"
PROPUSK_TEST_TAPE=1 go test -count=1 -run '^TestPasskeysInARealBrowser$' ./cmd/propusk
cd tools/webauthn
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
	npm ci --silent
fi
for tape in "${tapes[@]}"; do
	node verify.mjs "$tape"
done
