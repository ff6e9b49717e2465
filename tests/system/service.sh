#!/bin/bash
# taskd and the responders as services: what taskd says to its manager, on a real socket, and the responders
# on a socket that is handed over. The units themselves are install.sh's.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

start_manager() { # NAME
	"$CHECKOUT/tests/system/notify_sink.py" "$1" "$WORK/heard" &
	wait_until 10 grep -qs '^listening' "$WORK/heard"
}

# How often the supervisor, and nobody else, has said a message that begins so.
times_heard() { # PATTERN
	grep -cE "^[0-9.]+ $TASKD $1" "$WORK/heard" || :
}

has_heard() { # PATTERN [AT_LEAST]
	[ "$(times_heard "$1")" -ge "${2:-1}" ]
}

expect_only_the_supervisor_spoke() {
	expect "who spoke" "$TASKD" "$(awk 'NR > 1 { print $2 }' "$WORK/heard" | sort -u)"
}

test_a_life_under_a_manager() {
	configure
	start_manager "$WORK/manager"
	NOTIFY_SOCKET=$WORK/manager start_taskd
	wait_until 5 has_heard "READY=1 STATUS=Serving instance $NAME\\.$"
	await worker_alive=2

	kill -HUP "$TASKD"
	wait_until 10 has_heard 'READY=1' 2
	expect_match "reloading before ready" "RELOADING=1 MONOTONIC_USEC=[0-9]+ .*READY=1" "$(tail -n 2 "$WORK/heard" | paste -sd' ')"
	echo 'nonsense = 1' >>"$RUN/taskd.conf"
	kill -HUP "$TASKD" # refused; the service goes on all the same
	wait_until 10 has_heard 'READY=1' 3
	expect "reloads announced" 2 "$(times_heard 'RELOADING=1')"

	kill -KILL "$(pids_of dispatcher)"
	wait_until 10 has_heard 'READY=1' 4
	expect_match "it says what happened" "STATUS=The dispatcher died \\(exit -1, signal 9\\)" "$(cat "$WORK/heard")"

	push -H sleep -a '{"ms":300}' >/dev/null
	await task_running=1
	stop_taskd
	expect "its last word, with drain_timeout and 10 s" "STOPPING=1 EXTEND_TIMEOUT_USEC=15000000" \
		"$(tail -n 1 "$WORK/heard" | grep -o 'STOPPING=1 EXTEND_TIMEOUT_USEC=[0-9]*')"
	expect "signs of life without a watchdog" 0 "$(times_heard 'WATCHDOG=1')"
	expect_only_the_supervisor_spoke
	kill %1
	expect_nothing_left
}

# A manager that expects a sign of life each 3 s gets them while the dispatcher works, and none when it does not.
test_watchdog_is_the_dispatchers() {
	local dispatcher heard
	configure
	start_manager "@$NAME"
	NOTIFY_SOCKET=@$NAME WATCHDOG_USEC=3000000 start_taskd
	wait_until 10 has_heard 'WATCHDOG=1' 2
	dispatcher=$(pids_of dispatcher)
	kill -STOP "$dispatcher"
	wait_until 5 is_stopped "$dispatcher"
	heard=$(times_heard 'WATCHDOG=1')
	# The supervisor is awake meanwhile: it replaces a worker. What was on its way has come by then.
	kill -KILL "$(pids_of worker | head -n 1)"
	wait_until 10 has_logged 'worker-ready' 3
	sleep 3.2 # a manager would have lost its patience by now
	[ "$(times_heard 'WATCHDOG=1')" -le $((heard + 1)) ] || fail "signs of life of a stopped dispatcher: $(cat "$WORK/heard")"
	heard=$(times_heard 'WATCHDOG=1')
	kill -CONT "$dispatcher"
	wait_until 10 has_heard 'WATCHDOG=1' $((heard + 2))
	expect_only_the_supervisor_spoke
	stop_taskd
	kill %1
	expect_nothing_left
}

is_stopped() { # PID
	[ "$(awk '$1 == "State:" { print $2 }' "/proc/$1/status")" = T ]
}

# What is meant for another process, as after a shell that did not exec; and what the children find of it.
test_variables() {
	local pid id
	configure
	start_manager "@$NAME"
	NOTIFY_SOCKET=@$NAME WATCHDOG_USEC=3000000 WATCHDOG_PID=1 start_taskd
	wait_until 5 has_heard 'READY=1'
	await worker_alive=2
	for pid in $(pids_of worker) $(pids_of dispatcher); do
		# The dispatcher has one, to the supervisor.
		expect "sockets of process $pid" "$(grep -c '^taskd-dispatch' "/proc/$pid/comm" || :)" \
			"$(find "/proc/$pid/fd" -lname 'socket:*' | wc -l)"
	done
	id=$(push -H environment -a '["NOTIFY_SOCKET","WATCHDOG_PID","WATCHDOG_USEC","TZ"]')
	wait_row "$id" succeeded
	expect "what a handler finds" '{"NOTIFY_SOCKET":null,"TZ":"UTC","WATCHDOG_PID":null,"WATCHDOG_USEC":null}' \
		"$(sql "SELECT result FROM tasks WHERE id = '$id'")"
	stop_taskd
	expect "signs of life meant for another" 0 "$(times_heard 'WATCHDOG=1')"
	kill %1
	expect_nothing_left
}

# As taskring-app.service: on descriptor 3, started by the first connection, which is then answered.
test_socket_activation() {
	local listener
	configure
	start_taskd
	(cd "$RUN" && umask 0 && exec setsid systemd-socket-activate -l "$RUN/responder.sock" "$BUILD/taskring-app" -s fd:3 \
		-n "$NAME" -S "$RUN/spool" -J "$RUN/journal.db" -p 2 -t 4) </dev/null >>"$RUN/responders.log" 2>&1 &
	listener=$!
	wait_until 10 test -S "$RUN/responder.sock"
	chmod 666 "$RUN/responder.sock"
	start_web nginx
	expect "responders before the first request" systemd-socket- "$(cat "/proc/$listener/comm")"
	post /register '{"email":"ada@example.org","name":"Ada"}'
	expect "status" 202 "$STATUS"
	expect "responders after it" taskring-app "$(cat "/proc/$listener/comm")"
	kill -TERM "$listener"
	wait_until 10 is_gone "$listener"
	wait "$listener"
	[ -S "$RUN/responder.sock" ] || fail "the responders have removed a socket that is not theirs"
	stop_web
	stop_taskd
	expect_nothing_left
}

run_tests "$@"
