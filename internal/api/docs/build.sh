#!/bin/sh
# Rebuilds scalar.js.gz and licenses.txt from npm. Needs npm, node, GNU gzip.
# The same version gives the same bytes. To move to another version, change
# the two lines below, run this, and open /docs in a browser with its console
# in sight: the policy in docs.go and the options in init.js were chosen for
# this version.
set -eu
version=1.72.1
sum=bf091006bdc3af6067af77c2f534812e3e633e94a94e87138069f570f33b762c # sha256 of dist/browser/standalone.js

cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

(cd "$tmp" && npm pack --silent "@scalar/api-reference@$version" >pack.log && tar -xzf ./*.tgz)
bundle=$tmp/package/dist/browser/standalone.js
echo "$sum  $bundle" | sha256sum --check --quiet -
gzip -9 --no-name --stdout "$bundle" >scalar.js.gz

# What is inside, by exact version; the style sheet's reset is Tailwind's.
{ node licenses.mjs list "$bundle.map"; echo tailwindcss@4.3.3; } >"$tmp/list"
xargs npm install --silent --prefix "$tmp" --ignore-scripts --no-audit --no-fund --legacy-peer-deps <"$tmp/list" >"$tmp/install.log"
node licenses.mjs text "$tmp" "$tmp/list" "@scalar/api-reference@$version" >licenses.txt
