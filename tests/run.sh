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
UNIT_SECONDS=200 # one program of unit tests; a torture program; a script of system tests
TORTURE_SECONDS=240
SYSTEM_SECONDS=600
passed=0 failed=0
skipped=()
output=$(mktemp -d) || exit 1
trap 'stop_all; rm -rf "$output"' EXIT
trap 'exit 1' INT TERM HUP

# What still runs when we have to stop; each hands the signal on to what it started itself.
stop_all() {
	local pids
	mapfile -t pids < <(jobs -pr)
	[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null
	wait
}

since() { # EPOCHREALTIME: seconds, with one decimal
	local tenths=$(((${EPOCHREALTIME/./} - ${1/./}) / 100000))
	printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
}

heading() {
	printf -- '--- %s\n' "$*"
}

# Gives way to tests that run beside it, with time limits of their own.
build() { # MAKE_ARGUMENT...
	local begun=$EPOCHREALTIME
	if ! nice make -s -j"$(nproc)" CC="$CC" "$@" >"$output/make" 2>&1; then
		echo "FAILED make $*"
		cat "$output/make"
		failed=$((failed + 1))
		return 1
	fi
	echo "built: make $* ($(since "$begun"))"
}

# ---- side by side ---------------------------------------------------------------------------

# START NAME becomes the program that is meant (it ends with exec); as many run at a time as there
# are processors. REPORT NAME STATUS TOOK FILE is called in the order of the names, whoever ends first.
side_by_side() { # START REPORT NAME...
	local start=$1 report=$2 name pid status next=0
	local directory names=("${@:3}")
	local -A running=() started=() ended=()
	shift 2
	directory=$(mktemp -d -p "$output") || exit 1
	while [ $next -lt ${#names[@]} ]; do
		while [ $# -gt 0 ] && [ ${#running[@]} -lt "$(nproc)" ]; do
			started[$1]=$EPOCHREALTIME
			"$start" "$1" >"$directory/${1//\//-}" 2>&1 &
			running[$!]=$1
			shift
		done
		status=0
		wait -n -p pid "${!running[@]}" || status=$?
		name=${running[$pid]}
		unset "running[$pid]"
		ended[$name]="$status $(since "${started[$name]}")"
		while [ $next -lt ${#names[@]} ] && [ -n "${ended[${names[next]}]:-}" ]; do
			name=${names[next]}
			"$report" "$name" "${ended[$name]%% *}" "${ended[$name]#* }" "$directory/${name//\//-}"
			next=$((next + 1))
		done
	done
	rm -rf "$directory"
}

# COMMAND goes on beside what follows, until collect NAME waits for it, and prints and counts what it said.
beside() { # NAME COMMAND...
	local name=$1
	shift
	(
		trap stop_all EXIT
		trap 'exit 1' INT TERM HUP
		"$@"
	) >"$output/$name" 2>&1 &
	beside[$name]=$!
}

declare -A beside=()
collect() { # NAME
	local line status=0
	[ -n "${beside[$1]:-}" ] || return 0
	wait "${beside[$1]}" || status=$?
	[ $status -eq 0 ] || echo "FAILED $1 (status $status)" >>"$output/$1"
	while IFS= read -r line; do
		printf '%s\n' "$line"
		case $line in
		'ok '*) passed=$((passed + 1)) ;;
		'FAILED '*) failed=$((failed + 1)) ;;
		'skipped '*) skipped+=("${line#skipped }") ;;
		esac
	done <"$output/$1"
}

# ---- programs and scripts -------------------------------------------------------------------

start_unit() { # PROGRAM, of unit_build, behind unit_command
	exec timeout -k 5 $UNIT_SECONDS "${unit_command[@]}" "$unit_build/tests/$1"
}

# One program of CUnit tests: its summary is counted; without one the program has failed as a whole.
report_unit() { # PROGRAM STATUS TOOK OUTPUT
	local ran good bad
	read -r ran good bad < <(awk '$1 == "tests" { print $3, $4, $5 }' "$4")
	if [ "$2" -eq 0 ] && [ "${bad:-1}" -eq 0 ] && [ "${ran:-0}" -gt 0 ]; then
		echo "ok $unit_label/$1 ($ran tests, $3)"
		passed=$((passed + ran))
		return
	fi
	[ "${bad:-0}" -gt 0 ] || bad=1
	echo "FAILED $unit_label/$1 (status $2, $3)"
	cat "$4"
	passed=$((passed + ${good:-0}))
	failed=$((failed + bad))
}

run_units() { # LABEL BUILD [COMMAND...]
	local unit_label=$1 unit_build=$2 unit_command programs
	shift 2
	unit_command=("$@")
	mapfile -t programs < <(make -s CC="$CC" BUILD="$unit_build" print-unit-tests)
	side_by_side start_unit report_unit "${programs[@]#"$unit_build/tests/"}"
}

start_torture() { # PROGRAM
	exec timeout -k 5 $TORTURE_SECONDS "$BUILD/torture/$1"
}

report_torture() { # PROGRAM STATUS TOOK OUTPUT
	if [ "$2" -eq 0 ]; then
		echo "ok torture/$1 ($3)"
		sed -n 's/^/  /; /points tried/p' "$4"
		passed=$((passed + 1))
	else
		echo "FAILED torture/$1 (status $2, $3)"
		cat "$4"
		failed=$((failed + 1))
	fi
}

start_script() { # SCRIPT, for script_build and script_san
	BUILD=$script_build SAN=$script_san exec timeout -k 20 $SYSTEM_SECONDS "tests/system/$1.sh"
}

# A script prints a line for each of its tests; see collect.
report_script() { # SCRIPT STATUS TOOK OUTPUT
	cat "$4"
	if [ "$2" -ne 0 ] && ! grep -q '^FAILED ' "$4"; then
		echo "FAILED $1 (status $2; 124: it took too long)"
	fi
}

run_scripts() { # BUILD SAN SCRIPT...
	local script_build=$1 script_san=$2
	shift 2
	side_by_side start_script report_script "$@"
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
		SLOWNESS=3 beside smoke run_scripts "$BUILD/address" address smoke
		run_units address "$BUILD/address"
	fi
	if build SAN=thread BUILD="$BUILD/thread" test-programs; then
		# shellcheck disable=SC2046
		run_units thread "$BUILD/thread" $(fixed_addresses)
	fi
	collect smoke
}

wants() { # PART
	[ "$parts" = " " ] || [[ $parts == *" $1 "* ]]
}

parts=" $* "
[ $# -gt 0 ] || parts=" "
begun=$EPOCHREALTIME
conf/install-packages.sh build run test || exit 1
if build SAN="$SAN" BUILD="$BUILD" test-programs; then
	if wants system; then
		# They mostly wait, each for servers and ports of its own: meanwhile the others compute.
		# shellcheck disable=SC2046
		beside system run_scripts "$BUILD" "$SAN" $(system_scripts)
	fi
	if wants units; then
		heading "unit tests"
		run_units unit "$BUILD"
	fi
	if wants torture && [ -z "$SAN" ]; then
		heading "every instruction of a producer and of the consumer"
		side_by_side start_torture report_torture step_producer step_consumer
	fi
fi
if wants sanitizers && [ -z "$SAN" ]; then
	heading "the same with sanitizers"
	run_sanitizers
fi
if wants system; then
	heading "system tests"
	collect system
fi
heading "$(since "$begun")"
for each in "${skipped[@]}"; do
	echo "skipped: $each"
done
summary="$passed passed, $failed failed"
[ ${#skipped[@]} -eq 0 ] || summary+=", ${#skipped[@]} skipped"
echo "$summary"
[ $failed -eq 0 ]
