#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, each for the time
# given (such as 10s or 5m).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

each=${1:?usage: scripts/fuzz.sh TIME}
count=0
while IFS=: read -r file match; do
	target=${match#func }
	echo "== $target in $(dirname "$file") for $each"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$each" "$(dirname "$file")"
	count=$((count + 1))
done < <(grep -rHo --include='*_test.go' --exclude-dir=node_modules '^func Fuzz[A-Za-z0-9_]*' . | sort)
echo "$count fuzz targets"
[ "$count" -gt 0 ]
