# What the system tests share; sourced by each tests/system/*.sh. A script defines functions named
# test_* and ends with `run_tests`. Each of them runs in a shell of its own with
#   WORK      a directory of its own, removed afterwards
#   RUN       $WORK/run: configuration, journal, spool, logs
#   NAME      an instance of its own
# and must leave nothing behind: no process, nothing in /dev/shm, nothing elsewhere.
#   BUILD     where the programs are (default build); the first argument of the script, a glob,
#             selects tests by name
# A line for each: "ok ...", "FAILED ...", "skipped ...: reason"; "  note: ..." lines are figures
# worth seeing. Status 0: none failed.
# shellcheck shell=bash
set -u

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd) || exit 1
: "${BUILD:=build}"
[[ $BUILD == /* ]] || BUILD=$CHECKOUT/$BUILD
TOOLS=$BUILD/tests
SKIPPED=77
# Sanitizers and valgrind make everything slower; deadlines are multiplied by this.
: "${SLOWNESS:=1}"
export LC_ALL=C TZ=UTC
unset TASKRING_NAME TASKRING_JOURNAL TASKRING_SPOOL TASKRING_SIGNUP_DB http_proxy https_proxy
. "$CHECKOUT/tests/system/lib/web.sh"

# ---- saying how it went ---------------------------------------------------------------------

fail() {
	printf '    %s\n' "$*" >&2
	exit 1
}

skip() {
	printf '%s\n' "$*" >"$WORK/skipped"
	exit $SKIPPED
}

note() {
	printf '%s\n' "$*" >>"$WORK/notes"
}

expect() { # WHAT EXPECTED ACTUAL
	[ "$2" = "$3" ] || fail "$1: expected \"$2\", got \"$3\""
}

expect_match() { # WHAT PATTERN ACTUAL: an extended regular expression
	[[ $3 =~ $2 ]] || fail "$1: expected what matches \"$2\", got \"$3\""
}

# Polls until the command succeeds; fails the test after so many seconds.
wait_until() { # SECONDS COMMAND...
	local seconds=$1 deadline=$((SECONDS + $1 * SLOWNESS + 1))
	shift
	until "$@"; do
		[ $SECONDS -lt $deadline ] || fail "waited $seconds s for: $*"
		sleep 0.02
	done
}

# ---- an instance ----------------------------------------------------------------------------

free_port() {
	/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# taskd's configuration: quick to give up and to retry; $1 is added at the end.
configure() { # [MORE [POOLS]]
	local pools=${2:-'pool default { processes = 2 threads = 2 }'}
	mkdir -p "$RUN/spool"
	cat >"$RUN/taskd.conf" <<-END
		instance = "$NAME"
		journal = "journal.db"
		spool_dir = "spool"
		lock_file = "taskd.lock"
		plugin_dir = "${PLUGIN_DIR:-$TOOLS/plugins}"
		drain_timeout = 5s
		callback_timeout = ${CALLBACK_TIMEOUT:-500ms}
		exec_keeper = "$BUILD/modules/exec_keeper"
		transfer_module = "$BUILD/modules/transfer.so"
		mail { maildir = "mail" ${MAIL:-} }
		http { ${HTTP:-} }
		${1:-}
		$pools
	END
}

times_logged() { # TEXT
	if [ -e "$RUN/taskd.log" ]; then
		grep -acF -- "$1" "$RUN/taskd.log"
	else
		echo 0
	fi
}

has_logged() { # TEXT [AT_LEAST]
	[ "$(times_logged "$1")" -ge "${2:-1}" ]
}

# While one of its threads is still at it, its files are open and locked, though the first thread has ended.
is_gone() { # PID
	local stat threads
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
	threads=("/proc/$1/task"/*)
	[[ ${stat##*) } == Z* ]] && [ ${#threads[@]} -le 1 ]
}

# In a session of its own, so that a signal to the test's group does not reach it.
launch_taskd() {
	(cd "$RUN" && exec setsid "$BUILD/taskd" -c "$RUN/taskd.conf") </dev/null >>"$RUN/taskd.log" 2>&1 &
	TASKD=$!
}

start_taskd() {
	local before
	before=$(times_logged '] ready ')
	launch_taskd
	wait_until 20 has_logged_or_ended '] ready ' $((before + 1))
	! is_gone "$TASKD" || fail "taskd ended while starting"
}

has_logged_or_ended() { # TEXT AT_LEAST
	has_logged "$@" || is_gone "$TASKD"
}

# SIGTERM, and its exit status must be the one given (0).
stop_taskd() { # [STATUS]
	local status=0
	kill -TERM "$TASKD"
	wait_until 15 is_gone "$TASKD"
	wait "$TASKD" || status=$?
	expect "taskd's exit status" "${1:-0}" $status
}

# Not even a last thread of a process that nobody finds by its name any more: what it has locked is free.
no_taskd_left() {
	! pgrep -f "$RUN/taskd.conf" >/dev/null && ! grep -q ":$(stat -c %i "$RUN/taskd.lock") " /proc/locks
}

# The dispatcher and the workers die of their parent's death, a moment later.
kill_taskd() {
	kill -KILL "$TASKD"
	wait_until 15 no_taskd_left
	wait "$TASKD" 2>/dev/null || :
}

# The processes of taskd with a role: dispatcher, worker or trial.
pids_of() { # dispatcher|worker|trial
	local children pid
	children=$(cat "/proc/$TASKD/task/$TASKD/children" 2>/dev/null) || return 0
	for pid in $children; do
		case $1:$(cat "/proc/$pid/comm" 2>/dev/null) in
		dispatcher:taskd-dispatch | worker:taskd-worker | trial:taskd-trial) echo "$pid" ;;
		esac
	done
}

push() {
	"$TOOLS/push" -n "$NAME" -S "$RUN/spool" -J "$RUN/journal.db" "$@" || fail "push $* ended with status $?"
}

# Waits for the board's numbers: NAME=VALUE, NAME+AT_LEAST.
await() { # [-t SECONDS] CONDITION...
	local seconds=20
	if [ "$1" = -t ]; then
		seconds=$2
		shift 2
	fi
	"$TOOLS/await" -n "$NAME" -t $((seconds * SLOWNESS)) "$@" >"$WORK/awaited" || fail "await $*"
}

counter() { # NAME: what the board says
	"$BUILD/taskstat" -1 -n "$NAME" -f "$1" 2>/dev/null | awk '{ print $2; exit }'
}

expect_stat() { # NAME VALUE
	expect "$1" "$2" "$(counter "$1")"
}

# The journal, read while it is in use or not.
sql() { # STATEMENT
	sqlite3 -readonly -cmd '.timeout 5000' "$RUN/journal.db" "$1" || fail "sqlite: $1"
}

# From here on no commit of taskd's succeeds.
hold_journal() {
	mkfifo "$WORK/hold"
	sqlite3 "$RUN/journal.db" <"$WORK/hold" &
	HOLDER=$!
	exec 7>"$WORK/hold"
	printf '.timeout 10000\nBEGIN IMMEDIATE;\n.system touch %s\n' "$WORK/held" >&7
	wait_until 15 test -e "$WORK/held"
}

release_journal() {
	exec 7>&-
	wait "$HOLDER"
}

state_of() { # ID
	push -G "$1" | awk '{ print $1; exit }'
}

has_state() { # ID STATE
	[ "$(state_of "$1")" = "$2" ]
}

wait_state() { # ID STATE [SECONDS]
	wait_until "${3:-15}" has_state "$1" "$2"
}

# The journal's row says so, too; it is written a moment later.
has_row() { # ID STATE
	[ "$(sql "SELECT state FROM tasks WHERE id = '$1'")" = "$2" ]
}

wait_row() { # ID STATE [SECONDS]
	wait_until "${3:-15}" has_row "$1" "$2"
}

# ---- installing -----------------------------------------------------------------------------

# make install, from a copy of the build: another PREFIX makes taskd anew, which other scripts are running.
install_copy() { # MAKE_VARIABLE...
	local each
	if [ ! -e "$WORK/build" ]; then
		mkdir "$WORK/build"
		for each in "$BUILD"/*; do
			case ${each##*/} in
			tests | bench | torture | address | thread | run | run.*) ;;
			*) cp -a "$each" "$WORK/build" ;;
			esac
		done
	fi
	make -s -C "$CHECKOUT" install BUILD="$WORK/build" "$@" >"$WORK/install.log" 2>&1 || fail "$(cat "$WORK/install.log")"
}

# ---- a whole instance, as users start it ----------------------------------------------------

# `make run`; in a session of its own, as in a terminal. SUPERVISOR is the process to signal.
launch_run() { # [VARIABLE=VALUE...]
	: "${PORT:=$(free_port)}"
	rm -f "$WORK/run.log" # of the run before: what it printed is not this one's
	(cd "$WORK" && exec setsid make -s -C "$CHECKOUT" run PORT="$PORT" RUN_DIR="$RUN" NAME="$NAME" BUILD="$BUILD" "$@") \
		</dev/null >"$WORK/run.log" 2>&1 &
	MAKE=$!
	SESSIONS+=" $MAKE"
}

start_run() { # [VARIABLE=VALUE...]
	launch_run "$@"
	wait_until 60 has_started
	SUPERVISOR=$(sed -n 's/^  stop .*kill \([0-9]*\)$/\1/p' "$WORK/run.log")
	TASKD=$(awk '$1 == "taskd" { print $2 }' "$RUN/processes")
}

has_started() {
	if is_gone "$MAKE"; then
		cat "$WORK/run.log" >&2
		fail "make run ended while starting"
	fi
	grep -qs '^  stop ' "$WORK/run.log"
}

# Signals it as asked and expects it to end in order.
stop_run() { # COMMAND...
	local status=0
	"$@"
	wait_until 30 is_gone "$MAKE"
	wait "$MAKE" || status=$?
	expect "the exit status of make run" 0 $status
	expect "its last line" "taskring: stopped" "$(tail -n 1 "$WORK/run.log")"
}

# ---- documents ------------------------------------------------------------------------------

# Writes each of its blocks of that language to $WORK/blocks/N.
extract() { # DOCUMENT LANGUAGE
	rm -rf "$WORK/blocks"
	mkdir "$WORK/blocks"
	awk -v language="$2" -v directory="$WORK/blocks" '
		$1 == "```" language && !inside { inside = 1; file = directory "/" ++count; match($0, /^ */); indent = RLENGTH; next }
		$1 == "```" && inside { inside = 0; close(file); next }
		inside { print substr($0, indent + 1) >file }' "$1"
}

# The block behind the line that ends with a file's name, as in: `report.c`:
extract_file() { # DOCUMENT NAME
	awk -v name="\`$2\`:" '
		!found { found = length($0) >= length(name) && substr($0, length($0) - length(name) + 1) == name; next }
		/^```/ && inside { exit }
		inside { print }
		/^```c$/ { inside = 1 }' "$1"
}

# Whether the lines of one file stand in another, one after the other.
stands_in() { # BLOCK FILE
	local block text
	IFS= read -rd '' block <"$1" || : # to its end
	IFS= read -rd '' text <"$2" || :
	[[ $text == *"$block"* ]]
}

# ---- running --------------------------------------------------------------------------------

# Processes that work in this test's directory: all that it started do. Called as $(processes_left) only: its own shells leave the directory first.
processes_left() {
	cd / || exit 1
	find /proc -maxdepth 2 -name cwd \( -lname "$WORK" -o -lname "$WORK/*" -o -lname "/var/lib/taskring/$NAME*" \) \
		-printf '%h\n' 2>/dev/null | sed -n 's|^/proc/\([0-9]*\)$|\1|p' | grep -vx "$TEST_PID" || :
}

kill_left() {
	local pid killed=
	# One that is still starting works in the checkout, and would go on and start the rest.
	for pid in ${SESSIONS:-}; do
		pkill -KILL -s "$pid" && killed=1
	done
	for pid in $(processes_left); do
		kill -KILL "$pid" 2>/dev/null && killed=1
	done
	[ -z "$killed" ]
}

shared_memory_left() {
	find /dev/shm -maxdepth 1 -name "$NAME*" -printf '%f\n'
}

clean_up() {
	local status=$? left deadline=$((SECONDS + 10))
	trap - EXIT ERR
	trap '' INT TERM HUP
	set +e
	cd / || :
	until kill_left || [ $SECONDS -ge $deadline ]; do :; done
	left=$(processes_left)
	[ -z "$left" ] || echo "    processes that do not end: $left" >&2
	if [ $status -ne 0 ] && [ $status -ne $SKIPPED ]; then
		for log in "$WORK"/*.log "$RUN"/*.log "$RUN"/logs/*.log; do
			[ -s "$log" ] || continue
			printf -- '    --- the end of %s\n' "${log#"$WORK"/}"
			tail -n "${LOG_LINES:-25}" "$log" | cut -c 1-300 | sed 's/^/    /'
		done >&2
	fi
	rm -f /dev/shm/"$NAME".* /dev/shm/"$NAME"-*
	! mountpoint -q "$WORK/small" 2>/dev/null || umount "$WORK/small"
	for file in notes skipped; do
		[ ! -e "$WORK/$file" ] || mv "$WORK/$file" "$REPORT/$file"
	done
	rm -rf "$WORK" "/var/lib/taskring/$NAME" "/var/lib/taskring/$NAME-b"
	rmdir /var/lib/taskring 2>/dev/null
	exit $status
}

# One test, in a subshell: its messages go to $REPORT/output.
run_one() { # FUNCTION
	TEST_PID=$BASHPID
	SESSIONS=
	WORK=$(mktemp -d) || exit 1
	chmod 755 "$WORK" # another user may have to reach into it
	RUN=$WORK/run
	NAME=t$TEST_PID-${1#test_}
	NAME=${NAME:0:40}
	mkdir "$RUN"
	trap clean_up EXIT
	trap 'exit 1' INT TERM HUP
	cd "$WORK" || exit 1
	# What is not expected to fail must not; `fail` says more where it is.
	set -eE
	shopt -s inherit_errexit
	trap 'echo "    ${BASH_SOURCE[0]##*/}:$LINENO: \"$BASH_COMMAND\" ended with status $?" >&2' ERR
	"$1"
}

# What should have gone by itself when the test was through: fails those that end in order.
expect_nothing_left() {
	wait_until 10 no_processes_left
	expect "left in /dev/shm" "" "$(shared_memory_left)"
}

no_processes_left() {
	[ -z "$(processes_left)" ]
}

run_tests() { # [GLOB]
	local script test status failed=0 begun took
	script=$(basename "$0" .sh)
	REPORT=$(mktemp -d) || exit 1
	trap 'rm -rf "$REPORT"' EXIT
	trap 'exit 1' INT TERM HUP
	for test in $(declare -F | awk '{ print $3 }' | grep '^test_'); do
		# shellcheck disable=SC2053
		[[ ${test#test_} == ${1:-*} ]] || continue
		rm -f "$REPORT"/*
		begun=${EPOCHREALTIME/./}
		(run_one "$test") >"$REPORT/output" 2>&1
		status=$?
		took=$(((${EPOCHREALTIME/./} - begun) / 100000))
		took=$((took / 10)).$((took % 10))
		case $status in
		0) printf 'ok %s/%s (%s s)\n' "$script" "${test#test_}" $took ;;
		"$SKIPPED") printf 'skipped %s/%s: %s\n' "$script" "${test#test_}" "$(cat "$REPORT/skipped")" ;;
		*)
			printf 'FAILED %s/%s (%s s)\n' "$script" "${test#test_}" $took
			cat "$REPORT/output"
			failed=1
			;;
		esac
		[ ! -e "$REPORT/notes" ] || sed 's/^/  note: /' "$REPORT/notes"
	done
	exit $failed
}
