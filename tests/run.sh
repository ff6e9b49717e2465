#!/bin/bash
# make test: builds what is to be tested, runs all of it, and says how it went: a line for each
# test, in full what failed, and at the end "N passed, N failed" (", N skipped" and their names).
#   tests/run.sh [units] [torture] [system] [sanitizers]   only these; none: all
#   BUILD, CC, SAN   as the Makefile's; with SAN only units and system
#   SYSTEM="taskd mail"   only these scripts of tests/system
# Needs no terminal and no standard input. Status 0: nothing failed.
set -u
cd "$(dirname "$0")/.." || exit 1
exec </dev/null

: "${BUILD:=build}" "${SAN:=}" "${CC:=cc}"
unset MAKEFLAGS MFLAGS MAKELEVEL
UNIT_SECONDS=120 # one program of unit tests; a torture program; a script of system tests
TORTURE_SECONDS=240
SYSTEM_SECONDS=400
passed=0 failed=0
skipped=()
output=$(mktemp) || exit 1
trap 'rm -f "$output" "$output".*' EXIT
trap 'exit 1' INT TERM HUP

since() { # EPOCHREALTIME: seconds, with one decimal
	local tenths=$(((${EPOCHREALTIME/./} - ${1/./}) / 100000))
	printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
}

heading() {
	printf -- '--- %s\n' "$*"
}

build() { # MAKE_ARGUMENT...
	local begun=$EPOCHREALTIME
	if ! make -s -j"$(nproc)" CC="$CC" "$@" >"$output" 2>&1; then
		echo "FAILED make $*"
		cat "$output"
		failed=$((failed + 1))
		return 1
	fi
	echo "built: make $* ($(since "$begun"))"
}

# One program of CUnit tests: its summary is counted; without one the program has failed as a whole.
run_unit() { # PROGRAM LABEL [COMMAND...]
	local program=$1 label=$2 status=0 begun=$EPOCHREALTIME ran good bad
	shift 2
	timeout -k 5 $UNIT_SECONDS "$@" "$program" >"$output" 2>&1 || status=$?
	read -r ran good bad < <(awk '$1 == "tests" { print $3, $4, $5 }' "$output")
	if [ $status -eq 0 ] && [ "${bad:-1}" -eq 0 ] && [ "${ran:-0}" -gt 0 ]; then
		echo "ok $label ($ran tests, $(since "$begun"))"
		passed=$((passed + ran))
		return
	fi
	[ "${bad:-0}" -gt 0 ] || bad=1
	echo "FAILED $label (status $status, $(since "$begun"))"
	cat "$output"
	passed=$((passed + ${good:-0}))
	failed=$((failed + bad))
}

unit_programs() { # MAKE_ARGUMENT...
	make -s CC="$CC" "$@" print-unit-tests
}

run_units() { # LABEL BUILD [COMMAND...]
	local label=$1 build=$2 program
	shift 2
	for program in $(unit_programs BUILD="$build"); do
		run_unit "$program" "$label/${program##*/}" "$@"
	done
}

run_torture() {
	local program status begun
	for program in "$BUILD"/torture/step_producer "$BUILD"/torture/step_consumer; do
		status=0 begun=$EPOCHREALTIME
		timeout -k 5 $TORTURE_SECONDS "$program" >"$output" 2>&1 || status=$?
		if [ $status -eq 0 ]; then
			echo "ok torture/${program##*/} ($(since "$begun"))"
			sed -n 's/^/  /; /points tried/p' "$output"
			passed=$((passed + 1))
		else
			echo "FAILED torture/${program##*/} (status $status, $(since "$begun"))"
			cat "$output"
			failed=$((failed + 1))
		fi
	done
}

# A script prints a line for each of its tests, which is also what is counted here.
count_script() { # SCRIPT STATUS OUTPUT
	local line
	cat "$3"
	while IFS= read -r line; do
		case $line in
		'ok '*) passed=$((passed + 1)) ;;
		'FAILED '*) failed=$((failed + 1)) ;;
		'skipped '*) skipped+=("${line#skipped }") ;;
		esac
	done <"$3"
	if [ "$2" -ne 0 ] && ! grep -q '^FAILED ' "$3"; then
		echo "FAILED $1 (status $2; 124: it took too long)"
		failed=$((failed + 1))
	fi
}

# As many at a time as there are processors: they mostly wait, each for servers and ports of its own.
run_system() { # BUILD SAN SCRIPT...
	local build=$1 san=$2 script status pid
	local -A running=()
	shift 2
	while [ $# -gt 0 ] || [ ${#running[@]} -gt 0 ]; do
		while [ $# -gt 0 ] && [ ${#running[@]} -lt "$(nproc)" ]; do
			BUILD=$build SAN=$san timeout -k 20 $SYSTEM_SECONDS "tests/system/$1.sh" >"$output.$1" 2>&1 &
			running[$!]=$1
			shift
		done
		status=0
		wait -n -p pid "${!running[@]}" || status=$?
		script=${running[$pid]}
		unset "running[$pid]"
		count_script "$script" "$status" "$output.$script"
		rm -f "$output.$script"
	done
}

system_scripts() {
	local script
	if [ -n "${SYSTEM:-}" ]; then
		echo "$SYSTEM"
		return
	fi
	for script in tests/system/*.sh; do
		script=$(basename "$script" .sh)
		case $script in
		lib | smoke) ;; # smoke.sh is for the sanitizers
		*) echo "$script" ;;
		esac
	done
}

# ThreadSanitizer does not find its place in memory where addresses are more random than it knows.
fixed_addresses() {
	setarch "$(uname -m)" -R true 2>/dev/null && echo "setarch $(uname -m) -R"
}

run_sanitizers() {
	if build SAN=address BUILD="$BUILD/address" test-programs; then
		run_units address "$BUILD/address"
		SLOWNESS=3 run_system "$BUILD/address" address smoke
	fi
	if build SAN=thread BUILD="$BUILD/thread" test-programs; then
		# shellcheck disable=SC2046
		run_units thread "$BUILD/thread" $(fixed_addresses)
	fi
}

wants() { # PART
	[ "$parts" = " " ] || [[ $parts == *" $1 "* ]]
}

parts=" $* "
[ $# -gt 0 ] || parts=" "
begun=$EPOCHREALTIME
conf/install-packages.sh build run test || exit 1
if build SAN="$SAN" BUILD="$BUILD" test-programs; then
	if wants units; then
		heading "unit tests"
		run_units unit "$BUILD"
	fi
	if wants torture && [ -z "$SAN" ]; then
		heading "every instruction of a producer and of the consumer"
		run_torture
	fi
	if wants system; then
		heading "system tests"
		# shellcheck disable=SC2046
		run_system "$BUILD" "$SAN" $(system_scripts)
	fi
fi
if wants sanitizers && [ -z "$SAN" ]; then
	heading "the same with sanitizers"
	run_sanitizers
fi
heading "$(since "$begun")"
for each in "${skipped[@]}"; do
	echo "skipped: $each"
done
summary="$passed passed, $failed failed"
[ ${#skipped[@]} -eq 0 ] || summary+=", ${#skipped[@]} skipped"
echo "$summary"
[ $failed -eq 0 ]
