#!/bin/bash
# Puts together what /docs and /dashboard are: our own files of app/ui/, and those of npm packages that
# they load. Called by make.
#   build-pages.sh TARGET    a directory that is made anew
# The packages are those of app/ui/package-lock.json, in build/npm/ui; once they are there nothing is
# fetched. Without them, and without npm or the network, the pages are left out, and it is said: status 0,
# as the rest of taskring does without.
set -u
cd "$(dirname "$0")/.." || exit 1

target=$1
modules=build/npm/ui/node_modules

leave_out() {
	printf 'taskring: the pages /docs and /dashboard are left out: %s\n' "$*" >&2
	printf 'taskring: everything else is built; npm (Debian: nodejs npm) and its registry are needed once, for them\n' >&2
	rm -rf "$target"
	exit 0
}

copy() { # PLACE FILE...
	local place=$target.new/$1
	shift
	mkdir -p "$place" && cp "$@" "$place" || exit 1
}

conf/npm-packages.sh app/ui build/npm/ui || leave_out "their npm packages are not there"
rm -rf "$target.new"
copy docs app/ui/docs/*
copy docs/vendor "$modules/swagger-ui-dist"/{swagger-ui-bundle.js,swagger-ui.css,favicon-32x32.png}
cp "$modules/swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt" "$target.new/docs/vendor/swagger-ui-bundle.LICENSE.txt" &&
	cp "$modules/swagger-ui-dist/LICENSE" "$target.new/docs/vendor/swagger-ui.LICENSE.txt" || exit 1
copy dashboard/vendor "$modules/uplot/dist"/{uPlot.esm.js,uPlot.min.css}
cp "$modules/uplot/LICENSE" "$target.new/dashboard/vendor/uPlot.LICENSE.txt" || exit 1
# The dashboard: all of app/ui/ but /docs and the list of packages.
(cd app/ui && find . -path ./docs -prune -o -type f ! -name 'package*.json' -print0 | sort -z |
	tar --null --files-from=- -cf -) | tar -C "$target.new/dashboard" -xf - || exit 1
rm -rf "$target"
mv "$target.new" "$target"
