#!/bin/bash
# Fetches the npm packages that a lock file names, unless they are there. Called by conf/build-pages.sh and
# by tests.
#   npm-packages.sh FROM TO    FROM has package.json and package-lock.json, TO/node_modules is made
# Every package is held against the checksum in the lock file, and no script of one is run. Status 1:
# they are not there, and it has been said why.
set -u

from=$1 to=$2
# What was fetched, whole: written last.
are_fetched() {
	[ -e "$to/fetched" ] && cmp -s "$from/package-lock.json" "$to/fetched"
}

! are_fetched || exit 0
if ! command -v npm >/dev/null; then
	echo "npm-packages: there is no npm" >&2
	exit 1
fi
# Two tests may want them at once.
mkdir -p "$to" && exec 9>"$to/lock" && flock 9 || exit 1
! are_fetched || exit 0
rm -rf "$to/node_modules" "$to/fetched"
cp "$from/package.json" "$from/package-lock.json" "$to" || exit 1
if ! npm_config_cache="$(cd "$to" && pwd)/cache" npm ci --prefix "$to" --ignore-scripts --no-audit --no-fund \
	--no-update-notifier --fetch-retries=1 --fetch-timeout=60000 --loglevel=error </dev/null >"$to/npm.log" 2>&1; then
	echo "npm-packages: npm ci failed:" >&2
	tail -n 5 "$to/npm.log" >&2
	exit 1
fi
rm -rf "$to/cache"
cp "$from/package-lock.json" "$to/fetched"
