#!/bin/bash
# The responders behind nginx while they are reloaded, stopped, started, killed and crowded: what
# was sent is answered. A taskd runs only where it says so.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# Load until stop_load: its output is in $WORK/load.
start_load() { # CONNECTIONS [accepted]
	mkfifo "$WORK/load.end"
	"$CHECKOUT/tests/system/load.py" "http://127.0.0.1:$PORT" "$@" <"$WORK/load.end" >"$WORK/load" &
	LOAD=$!
	exec 7>"$WORK/load.end"
}

stop_load() {
	local answered
	exec 7>&-
	wait "$LOAD"
	answered=$(sed -n 's/^answered //p' "$WORK/load")
	note "$1: $answered requests, $(awk '/^wrong/ { wrong++ } END { print wrong + 0 }' "$WORK/load") wrong"
	expect "answers that were wrong" "" "$(sed -n '/^wrong/p' "$WORK/load" | head -n 3)"
	[ "$answered" -gt "$2" ] || fail "only $answered requests"
}

# The ring stays, as it should when responders end: taskd would find in it what they published.
end_web() {
	stop_nginx
	rm -f /dev/shm/"$NAME".*
	expect_nothing_left
}

# While so many more requests are answered.
let_pass() { # REQUESTS
	wait_until 20 has_passed $(($(passed) + $1))
}

passed() {
	wc -l <"$RUN/logs/access.log"
}

has_passed() { # REQUESTS
	[ "$(passed)" -ge "$1" ]
}

children_of() { # PID
	cat "/proc/$1/task/$1/children" 2>/dev/null
}

# As many as before, none of them the same.
are_replaced() { # PID BEFORE...
	local now pid
	now=" $(children_of "$1")"
	[ "$(wc -w <<<"$now")" -eq $(($# - 1)) ] || return 1
	for pid in "${@:2}"; do
		[[ $now != *" $pid "* ]] || return 1
	done
}

reload_under_load() {
	local before round
	for round in 1 2 3 4; do
		read -ra before <<<"$(children_of "$APP")"
		kill -HUP "$APP"
		wait_until 15 are_replaced "$APP" "${before[@]}"
		let_pass 500
	done
	stop_load "four reloads" 200
}

test_reload_loses_nothing() {
	start_app -p 2 -t 4
	start_nginx 2 8
	start_load 24
	reload_under_load
	stop_app
	end_web
}

# Answers that wait for the disk belong to no thread; a process that stops waits for them.
test_reload_loses_nothing_on_its_way_to_disk() {
	configure
	start_taskd
	start_app -p 2 -t 4 -d disk
	start_nginx 2 8
	start_load 24 accepted
	reload_under_load
	stop_app
	stop_taskd
	end_web
}

# Over a socket that outlives the responders, which serve without a master.
test_stop_and_start_lose_nothing() {
	local round status=0
	mkdir -p "$RUN/spool"
	(cd "$RUN" && exec setsid "$CHECKOUT/tests/system/inherit.py" "$RUN/responder.sock" 2 \
		"$BUILD/taskring-app" -p 0 -t 4 -m 666 -n "$NAME" -S "$RUN/spool") >"$WORK/inherit" 2>"$RUN/app.log" &
	APP=$!
	wait_until 10 times_started 1
	start_nginx 2 8
	start_load 24
	for round in 2 3 4 5; do
		kill -USR2 "$APP"
		wait_until 15 times_started $round
		let_pass 500
	done
	stop_load "four stops and starts" 200
	kill -TERM "$APP"
	wait "$APP" || status=$?
	expect "status" 0 $status
	expect "exit statuses" "ended [0, 0]" "$(sed -n '/^ended/p' "$WORK/inherit" | sort -u)"
	end_web
}

times_started() { # COUNT
	[ "$(grep -c started "$WORK/inherit")" -ge "$1" ]
}

# More connections kept by nginx than the responders may have open: they are asked to let go.
test_crowd_loses_nothing() {
	start_app -p 1 -t 4 -c 16
	start_nginx 2 64
	start_load 40
	wait_until 10 test -e "$RUN/logs/access.log"
	let_pass 5000
	stop_load "40 connections where 16 may be open" 200
	stop_app
	end_web
}

answers() { # PATH STATUS
	request "$1"
	[ "$STATUS" = "$2" ]
}

# There are two again, and not the one that was killed.
is_replaced() { # PID
	local now
	now=" $(children_of "$APP")"
	[ "$(wc -w <<<"$now")" -eq 2 ] && [[ $now != *" $1 "* ]]
}

test_killed_process_is_replaced() {
	local killed round
	start_app -p 2 -t 2
	start_nginx
	wait_until 5 answers /nothing 404
	for round in 1 2 3; do
		read -r killed _ <<<"$(children_of "$APP")"
		kill -KILL "$killed"
		wait_until 10 is_replaced "$killed"
		answers /nothing 404 || fail "round $round: not answered after a kill: $STATUS"
	done
	expect "deaths in the log" 3 "$(awk '/ process-ended .* signal=9 / { n++ } END { print n + 0 }' "$RUN/app.log")"
	stop_app
	end_web
}

# One line for a request, whatever its path is.
test_access_log() {
	local hostile='/no%22thing%0a<3>taskd[1]%20fake?x="'
	start_app -p 1 -t 2 -a server
	start_nginx
	request /nothing -H 'X-Request-ID: one'
	request '/%22%20status=200%20x="'
	stop_app
	grep -q 'FastCGI sent in stderr: "taskring-app: request id=one .* method=GET path="/nothing" status=404 bytes=[0-9]* us=[0-9]*"' \
		"$RUN/logs/nginx-error.log" || fail "no line of the request in nginx's error log"
	grep -qF 'path="/\" status=200 x=\"" status=404' "$RUN/logs/nginx-error.log" || fail "the path is not quoted"
	expect "lines in its own log" 0 "$(awk '/ request / { n++ } END { print n + 0 }' "$RUN/app.log")"

	start_app -p 1 -t 2 -a stderr
	request /nothing -H 'X-Request-ID: two'
	request "$hostile" -g
	stop_app
	expect "lines of requests" 2 "$(awk '/^<5>taskring-app\[[0-9]*\] request / { n++ } END { print n + 0 }' "$RUN/app.log")"
	expect "lines that are no events" 0 "$(awk '!/^<[0-9]>taskring-app\[/ { n++ } END { print n + 0 }' "$RUN/app.log")"
	start_app -p 1 -t 2
	request /nothing
	stop_app
	expect "lines without -a" 2 "$(awk '/ request / { n++ } END { print n + 0 }' "$RUN/app.log")"
	end_web
}

# systemd's protocol: descriptor 3, named by two variables.
test_systemd_socket() {
	start_nginx
	mkdir -p "$RUN/spool"
	/usr/bin/python3 - "$RUN/responder.sock" "$BUILD/taskring-app" -p 1 -t 2 -n "$NAME" <<-'END' >>"$RUN/app.log" 2>&1 &
		import os, socket, sys
		listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
		listener.bind(sys.argv[1])
		os.chmod(sys.argv[1], 0o666)
		listener.listen(100)
		os.dup2(listener.fileno(), 3)
		os.set_inheritable(3, True)
		os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="x")
		os.execv(sys.argv[2], sys.argv[2:])
	END
	APP=$!
	wait_until 10 answers /nothing 404
	stop_app
	end_web
}

run_tests "$@"
