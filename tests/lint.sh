#!/bin/bash
# make lint: every C file through gcc, clang, clang-tidy and cppcheck, and where it is installed
# every script through shellcheck. Silent files are good files; any warning is a failure.
#   WARN, VERSION   as the Makefile's
#   LINT_FILES      only these C files
set -u

status=0
if [ -n "${LINT_FILES:-}" ]; then
	read -ra files <<<"$LINT_FILES"
else
	mapfile -t files < <(find app shared taskd tests -name '*.c' | sort)
fi
defines=(-I. -Ishared/include -D_GNU_SOURCE "-DTASKRING_VERSION=\"$VERSION\"")
read -ra flags <<<"-std=c11 $WARN"
flags+=("${defines[@]}")

each() { # COMMAND...: once for each file, as many at a time as there are processors
	printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" "$@"
}

step() { # NAME COMMAND...
	local name=$1
	shift
	if "$@"; then
		echo "lint: $name ok"
	else
		echo "lint: $name found something" >&2
		status=1
	fi
}

# -O2: some of gcc's warnings need the optimiser's eyes; so it really compiles, to nowhere.
step gcc each gcc "${flags[@]}" -O2 -c -o /dev/null
step clang each clang "${flags[@]}" -fsyntax-only

# clang-tidy counts what it suppresses on standard error; only that is dropped.
tidy() {
	printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -I '{}' clang-tidy --quiet --warnings-as-errors='*' '{}' -- \
		"${flags[@]}" 2> >(grep -v 'warnings\? generated\.$' >&2)
}
step clang-tidy tidy

# What is off, and why: portability and performance hints and unusedFunction look at files of a
# library alone; unknownMacro and the like come from headers that are not read.
step cppcheck cppcheck --quiet --std=c11 --language=c --enable=warning,portability --inline-suppr \
	--error-exitcode=1 --suppress=missingIncludeSystem --suppressions-list=tests/cppcheck.txt \
	-j "$(nproc)" "${defines[@]}" "${files[@]}"

if command -v shellcheck >/dev/null; then
	mapfile -t scripts < <(grep -lE '^#!/bin/(ba)?sh' -r conf tests .ci 2>/dev/null | sort)
	step shellcheck shellcheck --severity=warning "${scripts[@]}"
fi
[ $status -ne 0 ] || echo "lint: ok (${#files[@]} files)"
exit $status
