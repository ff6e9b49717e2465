#!/bin/bash
# The handler "exec" with real programs: what becomes of their output and their ends, and that nothing of them is left.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# A program of that name: a script. Its body is standard input. It works where lib.sh looks for what a failed test leaves.
program() { # NAME [OPTIONS [INTERPRETER]]
	local directory="directory = \"$WORK\""
	[[ ${2:-} != *directory* ]] || directory=
	{ printf '#!%s\n' "${3:-/bin/sh}" && cat; } >"$WORK/$1"
	chmod 755 "$WORK/$1"
	PROGRAMS+="exec $1 { program = \"$WORK/$1\" $directory ${2:-} }
"
}

# Programs that were defined, and one worker with one thread: what runs at the same time runs in it.
start_programs() {
	configure "$PROGRAMS" 'pool default { processes = 1 threads = 1 }'
	start_taskd
}

exec_task() { # ARGUMENTS [PUSH_OPTION...]
	local args=$1
	shift
	push -H exec -B 10 -a "$args" "$@"
}

run_task() { # PROGRAM STATE [INPUT [PUSH_OPTION...]]: sets ID
	local program=$1 state=$2 input=${3:-null}
	shift 2
	[ $# -eq 0 ] || shift
	ID=$(exec_task "{\"program\":\"$program\",\"input\":$input}" "$@")
	wait_row "$ID" "$state"
}

result_of() { # ID
	sql "SELECT result FROM tasks WHERE id = '$1'"
}

# Of the newline behind it, too.
result_bytes() { # ID
	sql "SELECT length(CAST(result AS BLOB)) FROM tasks WHERE id = '$1'"
}

error_of() { # ID
	sql "SELECT error FROM tasks WHERE id = '$1'"
}

# The task's log lines as taskd's log has them, without what stands before the text.
log_of() { # ID
	grep -a "task-log id=$1 " "$RUN/taskd.log" | sed 's/.* text=//; s/^"\(.*\)"$/\1/'
}

# Processes with that word on their command line, but this test's own.
running() { # WORD
	pgrep -f -- "$1" | grep -cvx "$BASHPID" || :
}

none_running() { # WORD
	[ "$(running "$1")" -eq 0 ]
}

are_running() { # WORD COUNT
	[ "$(running "$1")" -eq "$2" ]
}

test_input_result_log_and_environment() {
	program count "args = { \"a b\", \"\", '\$(touch $WORK/shell)' } environment = { \"LANG=C\", \"COLOUR=deep blue\" } directory = \"/\"" /usr/bin/python3 <<-'END'
		import json, os, sys
		given = sys.stdin.read()
		print("first line", file=sys.stderr, flush=True)
		print("<3>an error", file=sys.stderr, flush=True)
		print("progress 1 4 a quarter", file=sys.stderr, flush=True)
		print("last\tline without an end", file=sys.stderr, flush=True, end="")
		json.dump({"given": json.loads(given), "lines": given.count("\n"), "environment": dict(os.environ), "directory": os.getcwd(),
		           "group": os.getpgrp() == os.getpid(), "fds": sorted(os.listdir("/proc/self/fd"))[:4], "arguments": sys.argv[1:]}, sys.stdout)
	END
	start_programs
	run_task count succeeded '{"ä":[1,2.5,"x\ny"]}'
	result_of "$ID" >"$WORK/result"
	expect "input" '{"ä":[1,2.5,"x\ny"]}' "$(jq -c .given "$WORK/result")"
	expect "lines of input" 1 "$(jq .lines "$WORK/result")"
	expect "arguments" "[\"a b\",\"\",\"\$(touch $WORK/shell)\"]" "$(jq -c .arguments "$WORK/result")"
	expect "no shell" no "$([ -e "$WORK/shell" ] && echo yes || echo no)"
	expect "directory" / "$(jq -r .directory "$WORK/result")"
	expect "a process group of its own" true "$(jq .group "$WORK/result")"
	expect "open files" '["0","1","2","3"]' "$(jq -c .fds "$WORK/result")" # 3 is the directory that is read
	expect "environment" "COLOUR=deep blue LANG=C PATH=/usr/local/bin:/usr/bin:/bin TASKRING_ATTEMPT=1 TASKRING_TASK_ID=$ID" \
		"$(jq -r '.environment | del(.LC_CTYPE) | to_entries | sort_by(.key) | map(.key + "=" + .value) | join(" ")' "$WORK/result")"
	expect "log" "first line|an error|last␉line without an end" "$(log_of "$ID" | paste -sd'|')"
	stop_taskd
	expect_nothing_left
}

# As its request had them: with the traceparent a program can go on.
test_trace() {
	local traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
	program traced <<-'END'
		printf '"%s %s"' "${TASKRING_TRACE-none}" "${TASKRING_REQUEST_ID-none}"
	END
	start_programs
	run_task traced succeeded null -r "$traceparent;request_id=r-1"
	expect "both" "\"$traceparent r-1\"" "$(result_of "$ID")"
	run_task traced succeeded null -r "$traceparent"
	expect "a trace" "\"$traceparent none\"" "$(result_of "$ID")"
	run_task traced succeeded null -r "order-17"
	expect "an application's own id" '"none order-17"' "$(result_of "$ID")"
	run_task traced succeeded
	expect "neither" '"none none"' "$(result_of "$ID")"
	stop_taskd
	expect_nothing_left
}

test_outputs() {
	local id
	program words <<-'END'
		printf 'plain "text"\n\377 and more\n'
	END
	program silent <<-'END'
		cat >/dev/null
	END
	program number <<-'END'
		echo 42 >/dev/stdout
	END
	program zero <<-'END'
		printf '{"a":1}\0'
	END
	program large '' /usr/bin/python3 <<-'END'
		import json
		json.dump("x" * 65534, __import__("sys").stdout)
	END
	program larger '' /usr/bin/python3 <<-'END'
		import json
		json.dump("x" * 65535, __import__("sys").stdout)
	END
	start_programs
	run_task words succeeded
	expect "no JSON" '{"output":"plain \"text\"\n'$'\xef\xbf\xbd'' and more\n","bytes":24}' "$(result_of "$ID")"
	run_task silent succeeded
	expect "no output" "" "$(result_of "$ID")"
	run_task number succeeded
	expect "JSON, without its newline" "42, 2 bytes" "$(result_of "$ID"), $(result_bytes "$ID") bytes"
	run_task zero succeeded
	expect "a zero in it" '{"output":"{\"a\":1}\u0000","bytes":8}' "$(result_of "$ID")"
	run_task large succeeded
	expect "the largest result" 65536 "$(result_bytes "$ID")"
	run_task larger succeeded
	expect "one too large" "8192 65537" "$(result_of "$ID" | jq -r '(.output | length | tostring) + " " + (.bytes | tostring)')"
	# No arguments but program and input; input may be missing.
	id=$(exec_task '{"program":"silent"}')
	wait_row "$id" succeeded
	stop_taskd
}

# The file that the task owns: its path is there, and the file itself until the task has ended.
test_owned_file() {
	program sum <<-'END'
		read -r sum rest <<-FILE
			$(sha256sum "$TASKRING_FILE")
		FILE
		echo "\"$sum\""
	END
	start_programs
	seq 1 100000 >"$WORK/file"
	ID=$(exec_task '{"program":"sum"}' -O "$WORK/file")
	wait_row "$ID" succeeded
	expect "its sum" "\"$(sha256sum "$WORK/file" | cut -d' ' -f1)\"" "$(result_of "$ID" | tr -d '\n')"
	wait_until 5 is_empty "$RUN/spool"
	stop_taskd
}

is_empty() { # DIRECTORY
	[ -z "$(ls -A "$1")" ]
}

# Each class of the table: once, or three times and dead.
test_ends() {
	local id
	program ends <<-'END'
		read -r code
		echo "it says why" >&2
		[ "$code" != '"SEGV"' ] || kill -SEGV $$
		exit "$code"
	END
	program text <<-'END'
		echo "some output"
		exit 1
	END
	start_programs
	expect_end() { # INPUT ATTEMPTS ERROR
		run_task ends dead "$1" -m 2
		expect "attempts of $1" "$2" "$(sql "SELECT count(*) FROM attempts WHERE task = '$ID'")"
		expect "error of $1" "$3" "$(error_of "$ID")"
	}
	run_task ends succeeded 0
	expect_end 1 2 "ends ended with status 1: it says why"
	expect_end 64 1 "ends ended with status 64 (called in a wrong way): it says why"
	expect_end 65 1 "ends ended with status 65 (the input is wrong): it says why"
	expect_end 69 2 "ends ended with status 69 (a service is not available): it says why"
	expect_end 75 2 "ends ended with status 75 (a temporary failure): it says why"
	expect_end 78 1 "ends ended with status 78 (configured in a wrong way): it says why"
	expect_end 127 1 "ends ended with status 127 (a command was not found): it says why"
	expect_end '"SEGV"' 2 "ends was killed by SIGSEGV (Segmentation fault): it says why"
	run_task text dead null -m 1
	expect "the output of one that failed" "standard output: some output" "$(log_of "$ID")"
	stop_taskd
}

test_what_cannot_be_started() {
	local id
	program gone <<-'END'
		exit 0
	END
	program lost "directory = \"$WORK/place\"" <<-'END'
		exit 0
	END
	program broken '' /nowhere/interpreter <<-'END'
	END
	mkdir "$WORK/place"
	start_programs
	rm "$WORK/gone"
	rmdir "$WORK/place"
	run_task gone dead null -m 2
	expect "a program that is gone" "gone cannot be started: $WORK/gone: No such file or directory" "$(error_of "$ID")"
	expect "attempts" 2 "$(sql "SELECT count(*) FROM attempts WHERE task = '$ID'")"
	run_task lost dead null -m 1
	expect "a directory that is gone" "lost cannot be started: directory $WORK/place: No such file or directory" "$(error_of "$ID")"
	run_task broken dead null -m 1
	expect "an interpreter that is not there" "broken cannot be started: $WORK/broken: No such file or directory" "$(error_of "$ID")"
	run_task none dead null -m 2
	expect "not in the configuration" 'exec: the configuration has no program "none"' "$(error_of "$ID")"
	for args in '[]' '{}' '{"program":1}' '{"program":"/bin/true"}' '{"program":"gone","args":[]}' '{"program":"gone","program":"lost"}'; do
		id=$(exec_task "$args" -m 1)
		wait_row "$id" dead
	done
	expect_match "an argument that is none" 'there is no argument "args"' "$(sql "SELECT group_concat(error) FROM tasks")"
	stop_taskd
}

# The program ignores SIGTERM, and has started others: in its group, out of it, and a daemon.
test_timeout_kills_all() {
	local mark=$RANDOM$RANDOM
	program stubborn 'kill_after = 200ms' <<-END
		trap '' TERM
		sleep 1000.$mark &
		setsid sleep 1001.$mark &
		(setsid sh -c 'trap "" TERM; sleep 1002.$mark & sleep 1003.$mark' &)
		sleep 1004.$mark
	END
	program polite <<-END
		trap 'echo "asked to end" >&2; exit 0' TERM
		sleep 1005.$mark &
		wait
	END
	start_programs
	ID=$(exec_task '{"program":"stubborn"}' -m 1 -T 400)
	wait_until 10 are_running "^sleep 100[0-4].$mark" 5
	wait_row "$ID" dead
	expect_match "its error" '^stubborn was stopped: out of time after [0-9.]+ s$' "$(error_of "$ID")"
	expect "left of it" 0 "$(running "100[0-9].$mark")"
	# Asked to end, it may clean up; but a task that was out of time has not succeeded.
	run_task polite dead null -m 1 -T 300
	expect_match "its error" '^polite was stopped: out of time' "$(error_of "$ID")"
	expect "its log" "asked to end" "$(log_of "$ID")"
	expect "left of it" 0 "$(running "1005.$mark")"
	expect "workers that were killed" 0 "$(counter worker_died)"
	# A hard timeout alone: the program is stopped before the worker would be killed.
	run_task stubborn dead null -m 1 -t 4000
	expect_match "its error" '^stubborn was stopped: out of time' "$(error_of "$ID")"
	expect "workers that were killed" 0 "$(counter worker_died)"
	expect "left of it" 0 "$(running "100[0-9].$mark")"
	stop_taskd
}

test_cancelled() {
	local mark=$RANDOM$RANDOM
	program sleeper <<-END
		sleep 2000.$mark
	END
	start_programs
	ID=$(exec_task '{"program":"sleeper"}')
	wait_until 10 are_running "^sleep 2000.$mark" 1
	push -C "$ID" >/dev/null
	wait_row "$ID" cancelled
	wait_until 5 none_running "2000.$mark"
	stop_taskd
	expect_nothing_left
}

# What a program leaves running ends with it, also when it holds the pipes.
test_left_behind() {
	local mark=$RANDOM$RANDOM
	program leaver <<-END
		sleep 3000.$mark &
		setsid sleep 3001.$mark &
		echo '"done"'
	END
	start_programs
	run_task leaver succeeded
	expect "its result" '"done"' "$(result_of "$ID" | tr -d '\n')"
	expect "left of it" 0 "$(running "300[01].$mark")"
	stop_taskd
}

test_worker_is_killed() {
	local mark=$RANDOM$RANDOM
	program sleeper <<-END
		sleep 4000.$mark &
		setsid sleep 4001.$mark &
		wait
	END
	start_programs
	ID=$(exec_task '{"program":"sleeper"}' -m 1)
	wait_until 10 are_running "^sleep 400[01].$mark" 2
	kill -KILL "$(pids_of worker)"
	wait_row "$ID" dead
	wait_until 5 none_running "400[01].$mark"
	# And of the keeper's death: the program dies, the task fails.
	ID=$(exec_task '{"program":"sleeper"}' -m 1)
	wait_until 10 are_running "^sleep 400[01].$mark" 2
	pkill -KILL -f "exec_keeper .*$WORK/sleeper"
	wait_row "$ID" dead
	expect "its error" "sleeper: its keeper was killed, and so was it" "$(error_of "$ID")"
	expect "the program itself" 0 "$(running "^/bin/sh $WORK/sleeper")"
	pkill -KILL -f "^sleep 400[01].$mark" || :
	# taskd itself, with all of its processes.
	ID=$(exec_task '{"program":"sleeper"}')
	wait_until 10 are_running "^sleep 400[01].$mark" 2
	kill -KILL "$TASKD"
	wait_until 5 none_running "400[01].$mark"
	expect "keepers left" 0 "$(running "exec_keeper .*$WORK/sleeper")"
}

# It may go on while there is time, then it is asked to end; the task runs again at the next start.
test_shutdown() {
	local id
	program brief 'kill_after = 200ms' <<-'END'
		sleep 0.5
		echo '"in time"'
	END
	program endless 'kill_after = 100ms' <<-END
		echo run >>"$WORK/runs"
		[ "\$(wc -l <"$WORK/runs")" -gt 1 ] || sleep 5000
	END
	configure "$PROGRAMS drain_timeout = 3s" 'pool default { processes = 1 threads = 1 }'
	sed -i '/drain_timeout = 5s/d' "$RUN/taskd.conf"
	start_taskd
	ID=$(exec_task '{"program":"endless"}' -m 1)
	id=$(exec_task '{"program":"brief"}' -m 1)
	wait_state "$id" running
	wait_until 10 test -s "$WORK/runs"
	stop_taskd
	expect "one that ends in time" '"in time"' "$(result_of "$id" | tr -d '\n')"
	expect_match "the other" '^(queued|scheduled)$' "$(sql "SELECT state FROM tasks WHERE id = '$ID'")"
	start_taskd
	wait_row "$ID" succeeded
	expect "failed attempts" 0 "$(sql "SELECT count(*) FROM attempts WHERE task = '$ID' AND outcome NOT IN ('succeeded', 'snoozed', 'interrupted')")"
	stop_taskd
}

test_floods() {
	program flood 'max_output = 1M' <<-'END'
		yes 'no end'
	END
	program noise 'max_output = 1M' <<-'END'
		yes 'no end' >&2
	END
	program chatter <<-'END'
		seq 1 1500 >&2
		seq 1 20000
	END
	program one_line <<-'END'
		head -c 3000000 /dev/zero | tr '\0' x >&2
	END
	start_programs
	run_task flood dead null
	expect "its error" "flood was killed: it wrote more than max_output, 1048576 bytes" "$(error_of "$ID")"
	run_task noise dead null
	expect "its error" "noise was killed: it wrote more than max_output, 1048576 bytes" "$(error_of "$ID")"
	run_task chatter succeeded
	expect "bytes" 108894 "$(result_of "$ID" | jq .bytes)"
	expect "the end of its log" "999 1000 500 more lines of standard error were dropped" "$(log_of "$ID" | tail -n 3 | paste -sd' ')"
	run_task one_line succeeded
	expect "its only line" 1000 "$(log_of "$ID" | head -n 1 | tr -d '\n' | wc -c)"
	expect "workers that died" 0 "$(counter worker_died)"
	stop_taskd
}

test_input_that_is_not_read() {
	program deaf <<-'END'
		exec <&-
		sleep 0.2
		echo 1
	END
	program idle <<-'END'
		sleep 0.2
		echo 2
	END
	program reader <<-'END'
		wc -c
	END
	start_programs
	python3 -c 'import json; print(json.dumps({"program": "PROGRAM", "input": "x" * 1000000}))' >"$WORK/large"
	for each in deaf:1 idle:2 reader:1000003; do
		sed "s/PROGRAM/${each%:*}/" "$WORK/large" >"$WORK/args"
		ID=$(push -H exec -m 1 -A "$WORK/args")
		wait_row "$ID" succeeded
		expect "the result of ${each%:*}" "${each#*:}" "$(result_of "$ID" | tr -d '\n')"
	done
	stop_taskd
}

test_limits() {
	program hungry 'limit_memory = 64M' /usr/bin/python3 <<-'END'
		try:
		    bytearray(200 << 20)
		except MemoryError:
		    print('"refused"')
	END
	program busy 'limit_cpu = 1s' <<-'END'
		while :; do :; done
	END
	program files 'limit_files = 16' <<-'END'
		ulimit -n
	END
	start_programs
	run_task files succeeded
	expect "files" 16 "$(result_of "$ID" | tr -d '\n')"
	run_task hungry succeeded
	expect "memory" '"refused"' "$(result_of "$ID" | tr -d '\n')"
	run_task busy dead null -m 1
	expect_match "processor time" '^busy was killed by SIGXCPU' "$(error_of "$ID")"
	stop_taskd
}

# One worker with one thread carries all of them at once.
test_many() {
	local mark=$RANDOM$RANDOM worker
	PROGRAMS="exec sleep { program = \"/bin/sleep\" directory = \"$WORK\" args = { \"6000.$mark\" } }"
	start_programs
	exec_task '{"program":"sleep"}' -c 200 -p -m 1 >/dev/null
	wait_until 20 are_running "^/bin/sleep 6000.$mark" 200
	expect_stat task_running 200
	worker=$(pids_of worker)
	note "200 programs: the worker has $(awk '$1 == "Rss:" { print $2 " kB" }' "/proc/$worker/smaps_rollup"), a keeper $(awk '$1 ~ /^Private_/ { sum += $2 } END { print sum " kB" }' "/proc/$(pgrep -f -n "exec_keeper .*6000.$mark")/smaps_rollup") of its own"
	pkill -KILL -f "^/bin/sleep 6000.$mark" # each is an ordinary failure of its own
	wait_until 20 none_running "^/bin/sleep 6000.$mark"
	await task_running=0
	expect_stat worker_died 0
	stop_taskd
	expect_nothing_left
}

run_tests "$@"
