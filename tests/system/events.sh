#!/bin/bash
# Server-sent events behind nginx: one task followed to its end, going on after a break, many listeners
# beside ordinary requests, and those who do not read.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

LISTENERS=1000

start_all() { # [APP_OPTION...]
	configure
	start_taskd
	start_app -J "$RUN/journal.db" "$@"
	start_nginx 2 4
}

stop_all() {
	stop_nginx
	stop_app
	stop_taskd
	rm -f /dev/shm/"$NAME".*
	expect_nothing_left
}

# To its end, into $WORK/stream; EVENTS and DATA are what came, a line for each.
follow() { # PATH [CURL_OPTION...]
	local path=$1
	shift
	STATUS=$(curl -sN -m $((30 * SLOWNESS)) --noproxy '*' -D "$WORK/head.raw" -o "$WORK/stream" -w '%{http_code}' "$@" \
		"http://127.0.0.1:$PORT$path")
	tr -d '\r' <"$WORK/head.raw" >"$WORK/head"
	sed -n 's/^event: //p' "$WORK/stream" >"$WORK/events"
	sed -n 's/^data: //p' "$WORK/stream" >"$WORK/data"
	sed -n 's/^id: //p' "$WORK/stream" >"$WORK/ids"
}

id_of_answer() {
	jq -r '.tasks[0].id' "$WORK/body"
}

test_a_calculation_to_its_end() {
	local id third last
	PLUGIN_DIR=$BUILD/handlers start_all -p 1 -t 2
	post /calculations '{"limit":600000000}'
	id=$(id_of_answer)
	follow "/tasks/$id/events"
	expect status 200 "$STATUS"
	expect type text/event-stream "$(header Content-Type)"
	expect "caching" no-store "$(header Cache-Control)"
	expect "first event" state "$(head -n 1 "$WORK/events")"
	expect "last event" state "$(tail -n 1 "$WORK/events")"
	expect "all are of this task" "$id" "$(jq -r .id "$WORK/data" | sort -u)"
	expect "its end" 'succeeded 31324703' "$(tail -n 1 "$WORK/data" | jq -r '"\(.state) \(.result.primes)"')"
	jq -s '[.[].progress.done] | . == sort and (unique | length > 3) and last == 600000000' "$WORK/data" >"$WORK/order"
	expect "progress is in order" true "$(cat "$WORK/order")"
	expect "ids are in order" "" "$(sed 's/^[^-]*-\([0-9]*\).*/\1/' "$WORK/ids" | sort -nc 2>&1)"
	note "a calculation: $(wc -l <"$WORK/events") events, $(grep -c progress "$WORK/events") of progress"

	# The same from the third event on, as a browser asks after a break.
	third=$(sed -n 3p "$WORK/ids")
	last=$(tail -n 1 "$WORK/ids")
	sed -n '4,$p' "$WORK/ids" >"$WORK/expected"
	follow "/tasks/$id/events" -H "Last-Event-ID: $third"
	expect "what came after $third" "$(tail -n 1 "$WORK/expected")" "$(tail -n 1 "$WORK/ids")"
	expect "nothing is missed" 0 "$(grep -c missed "$WORK/events")"
	expect "nothing else" "" "$(grep -vxF -f "$WORK/expected" "$WORK/ids")"

	# Who has heard the end is not to ask again; a new listener hears how it ended.
	follow "/tasks/$id/events" -H "Last-Event-ID: $last"
	expect "status after the end" 204 "$STATUS"
	follow "/tasks/$id/events"
	expect "an ended task" "state succeeded" "$(cat "$WORK/events") $(jq -r .state "$WORK/data")"
	# A number of another board.
	follow "/tasks/$id/events" -H "Last-Event-ID: 0123456789abcdef-5"
	expect "of another board" "missed state" "$(head -n 2 "$WORK/events" | tr '\n' ' ' | sed 's/ $//')"
	request "/tasks/00000000-0000-7000-8000-000000000000/events"
	expect "unknown" 404 "$STATUS"
	request "/tasks/$id/events" -I
	expect "HEAD" 200 "$STATUS"
	stop_all
}

test_filter() {
	local id
	start_all -p 1 -t 2
	curl -sN -m 60 --noproxy '*' "http://127.0.0.1:$PORT/events?state=dead&state=succeeded&handler=log_lines" >"$WORK/heard" &
	LISTENER=$!
	wait_until 5 grep -qs '^retry' "$WORK/heard"
	push -H noop -c 5 >/dev/null
	id=$(push -H log_lines -a '{"lines":2}')
	wait_until 10 grep -qs '"state":"succeeded"' "$WORK/heard"
	expect "one event" 1 "$(grep -c ^event: "$WORK/heard")"
	expect "of the one" "$id log_lines" "$(sed -n 's/^data: //p' "$WORK/heard" | jq -r '"\(.id) \(.handler)"')"
	request '/events?state=no'
	expect "a state that there is not" 422 "$STATUS"
	# The dispatcher dies; who listens stays, and hears of it.
	kill -KILL "$TASKD" "$(pids_of dispatcher)"
	wait_until 10 grep -qs '{"state":"dead"}' "$WORK/heard"
	wait "$TASKD" || :
	start_taskd
	wait_until 10 grep -qs '{"state":"alive"}' "$WORK/heard"
	id=$(push -H log_lines -a '{"lines":2}')
	wait_until 10 grep -qs "$id" "$WORK/heard"
	kill "$LISTENER"
	stop_all
}

# One who takes nothing.
open_deaf() {
	/usr/bin/python3 - "$PORT" >"$WORK/deaf" <<-'END' &
		import signal, socket, sys
		s = socket.socket()
		s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
		s.connect(("127.0.0.1", int(sys.argv[1])))
		s.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
		print(s.recv(10), flush=True)
		signal.pause()
	END
	DEAF=$!
	disown
	wait_until 10 grep -qs HTTP "$WORK/deaf"
}

ask() { # LINE: the answer's words in ANSWER
	echo "$1" >&8
	read -rt 60 -a ANSWER <&9 || fail "no answer to \"$1\""
}

cpu_ticks() { # PID
	awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

test_many_listeners() {
	local child memory before after
	ulimit -n "$(ulimit -H -n)"
	start_all -p 1 -t 2
	child=$(cat "/proc/$APP/task/$APP/children")
	child=${child%% *}
	memory=$(awk '/^VmRSS/ { print $2 }' "/proc/$child/status")
	mkfifo "$WORK/to" "$WORK/from"
	"$CHECKOUT/tests/system/events.py" 127.0.0.1 "$PORT" $LISTENERS '/events?handler=noop' <"$WORK/to" >"$WORK/from" &
	exec 8>"$WORK/to" 9<"$WORK/from"
	read -rt 60 -a ANSWER <&9 || fail "they cannot listen"
	expect "all of them" listening "${ANSWER[0]}"
	open_deaf
	expect "threads" 5 "$(find "/proc/$child/task" -mindepth 1 -maxdepth 1 | wc -l)" # 2 that answer, streamer, watcher, main
	[ "$(find "/proc/$child/fd" -type l -name '?' -o -name '??' -o -name '???' | wc -l)" -lt 40 ] || fail "listeners hold low numbers"

	before=$(cpu_ticks "$child")
	ask "ask 300"
	expect "ordinary requests" asked "${ANSWER[0]}"
	note "$LISTENERS listeners: 300 requests, p50 ${ANSWER[1]} ms, p99 ${ANSWER[2]} ms, most ${ANSWER[3]} ms, with 2 threads"
	after=$(cpu_ticks "$child")
	note "$LISTENERS idle listeners and these requests: $((after - before)) ticks of 10 ms"

	before=$(cpu_ticks "$child")
	push -H noop -c 30 -p >/dev/null
	ask "await 60"
	after=$(cpu_ticks "$child")
	expect "everybody has heard" "heard" "${ANSWER[0]}"
	[ "${ANSWER[1]}" -ge 60 ] || fail "one has heard only ${ANSWER[1]} events"
	expect "nobody more than another" "${ANSWER[1]}" "${ANSWER[2]}"
	note "to $LISTENERS listeners ${ANSWER[1]} events each: delay p50 ${ANSWER[3]} ms, p99 ${ANSWER[4]} ms, $((after - before)) ticks of 10 ms"
	note "memory: $memory KB before, $(awk '/^VmRSS/ { print $2 }' "/proc/$child/status") KB with them"

	# The deaf one: his buffers are filled, and then he is dropped. Nobody else notices.
	push -H log_lines -a '{"lines":190}' -c 150 -p >/dev/null
	wait_until 60 grep -q listener-dropped "$RUN/app.log"
	ask "ask 100"
	expect "ordinary requests" asked "${ANSWER[0]}"
	kill -KILL $DEAF
	expect "dropped" 1 "$(grep -c listener-dropped "$RUN/app.log")"

	# A stop ends them in order, at once.
	kill -TERM "$APP"
	ask "end"
	expect "ended" "ended $LISTENERS 0" "${ANSWER[*]}"
	wait "$APP" || fail "the responder's exit status: $?"
	exec 8>&- 9<&-
	stop_nginx
	stop_taskd
	rm -f /dev/shm/"$NAME".*
	expect_nothing_left
}

# As many as -e lets in, in each process; the next is told to come later.
test_as_many_as_may() {
	local i listeners=()
	start_all -p 1 -t 2 -e 2
	for i in 1 2; do
		curl -sN -m 60 --noproxy '*' "http://127.0.0.1:$PORT/events" >"$WORK/heard.$i" &
		listeners+=($!)
		wait_until 5 grep -qs '^retry' "$WORK/heard.$i"
	done
	request /events
	expect "the third" 503 "$STATUS"
	expect "Retry-After" 10 "$(header Retry-After)"
	# Told to end the streams, so that nginx can stop at once.
	kill -USR2 "$APP"
	wait "${listeners[@]}" || fail "a stream broke off"
	expect "ended politely" 2 "$(grep -c '^retry: ' "$WORK/heard.1")"
	curl -sN -m 60 --noproxy '*' "http://127.0.0.1:$PORT/events" >"$WORK/heard.1" &
	wait_until 5 grep -qs '^retry' "$WORK/heard.1"
	kill -USR2 "$APP"
	stop_all
}

run_tests "$@"
