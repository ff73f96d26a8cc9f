#!/usr/bin/env bash
# Checks the OpenAPI document that the program prints, with Redocly CLI at the
# version in tools/openapi/package-lock.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v npm >/dev/null; then
	echo 'lint: the OpenAPI document is checked by a Node.js program: install Node.js 20.19 or newer, with npm.' >&2
	exit 1
fi
mkdir -p .cache
go run ./cmd/propusk openapi >.cache/openapi.json
cd tools/openapi
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
	npm ci --silent
fi
REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true \
	./node_modules/.bin/redocly lint --config redocly.yaml --format=stylish ../../.cache/openapi.json
