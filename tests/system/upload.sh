#!/bin/bash
# POST /files through nginx: what arrives is what was sent, however large, with the same memory;
# what is refused, broken off or has no room leaves nothing. No taskd runs but in the last test.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

files_in_spool() {
	find "$RUN/spool" -type f | wc -l
}

# Open files without a name in the spool directory, of all responders.
open_uploads() {
	find /proc/[0-9]*/fd -lname "$RUN/spool/*" 2>/dev/null | wc -l
}

# The one file in the spool is what was sent; it goes.
expect_file() { # FILE
	local id
	expect "status" 202 "$STATUS"
	expect "handler" digest_file "$(jq -r '.tasks[0].handler' "$WORK/body")"
	id=$(jq -r '.tasks[0].id' "$WORK/body")
	expect "Location" "/tasks/$id" "$(header Location)"
	expect "in the spool" "$RUN/spool/$id.file" "$(find "$RUN/spool" -type f)"
	cmp "$1" "$RUN/spool/$id.file" || fail "the file is not what was sent"
	rm "$RUN/spool/$id.file"
}

expect_refused() { # STATUS DETAIL, as jq shows it
	expect "status" "$1" "$STATUS"
	expect "type" application/json "$(header Content-Type)"
	expect "detail" "$2" "$(jq -c .detail "$WORK/body")"
	expect "files in the spool" 0 "$(files_in_spool)"
	wait_until 5 no_open_uploads
}

no_open_uploads() {
	[ "$(open_uploads)" = 0 ]
}

end_web() {
	stop_app
	stop_nginx
	rm -f /dev/shm/"$NAME".*
	expect_nothing_left
}

test_plain_and_form() {
	local sent=$WORK/sent
	start_app -p 1 -t 2
	start_nginx
	head -c 300000 /dev/urandom >"$sent"
	request /files -H 'Content-Type: application/pdf' -H 'Content-Disposition: attachment; filename="a.pdf"' --data-binary "@$sent"
	expect_file "$sent"
	request /files -F "comment=of no matter" -F "file=@$sent;type=text/csv;filename=../../x" -F empty=
	expect_file "$sent"
	# A chunked body declares no length.
	request /files -H 'Transfer-Encoding: chunked' -T "$sent" -X POST
	expect_file "$sent"
	# What looks like the end of the form is none.
	printf '\r\n--------------------------\r\n--\r\n' >"$sent"
	request /files -F "file=@$sent"
	expect_file "$sent"
	: >"$sent"
	request /files -F "file=@$sent"
	expect_file "$sent"
	end_web
}

test_refusals() {
	local sent=$WORK/sent before
	start_app -p 1 -t 2 -u 1
	start_nginx
	head -c 2000000 /dev/zero >"$sent"
	request /files --data-binary "@$sent"
	expect_refused 413 '"the file is larger than what is taken here"'
	request /files -F "file=@$sent"
	expect_refused 413 '"the file is larger than what is taken here"'
	request /files -H 'Transfer-Encoding: chunked' -T "$sent" -X POST
	expect_refused 413 '"the file is larger than what is taken here"'
	before='"loc":["body","file"],"msg"'
	request /files -X POST
	expect_refused 422 "[{$before:\"Field required\",\"type\":\"missing\"}]"
	request /files -F other=x
	expect_refused 422 "[{$before:\"Field required\",\"type\":\"missing\"}]"
	head -c 10 /dev/zero >"$sent"
	request /files -F "file=@$sent" -F "file=@$sent"
	expect_refused 422 "[{$before:\"Exactly one file is taken, in this field\",\"type\":\"value_error\"}]"
	request /files -F "file=@$sent;filename=.."
	expect_refused 422 "[{$before:\"The name must be UTF-8 of 1 to 255 bytes without control characters\",\"type\":\"value_error\"}]"
	request /files -H 'Content-Type: multipart/form-data; boundary=B' --data-binary 'no such thing'
	expect_refused 400 '"the body is not what Content-Type and Content-Length say"'
	# The connections to the responder are as good as before.
	request /files -F "file=@$sent"
	expect_file "$sent"
	end_web
}

test_no_space() {
	local sent=$WORK/sent
	mkdir -p "$WORK/small"
	mount -t tmpfs -o size=4m,mode=777 tmpfs "$WORK/small" || skip "tmpfs cannot be mounted here"
	ln -s "$WORK/small" "$RUN/spool"
	start_app -p 1 -t 2 -f 1
	start_nginx
	head -c 5000000 /dev/zero >"$sent"
	request /files --data-binary "@$sent"
	expect_refused 507 '"there is no space for this file now"'
	request /files -H 'Transfer-Encoding: chunked' -T "$sent" -X POST
	expect_refused 507 '"there is no space for this file now"'
	request /files --data-binary '@-' <<<"small enough"
	expect "status" 202 "$STATUS"
	stop_app
	start_app -p 1 -t 2 -f 5
	request /files --data-binary '@-' <<<"small, but so much is to stay free"
	expect "status" 507 "$STATUS"
	end_web
	umount "$WORK/small"
}

has_open_upload() {
	[ "$(open_uploads)" -gt 0 ]
}

# A client that goes away, one that stalls, and a responder that is killed. -r 1: a stall lasts a second.
test_aborted_leaves_nothing() {
	local sender before
	start_app -p 1 -t 4 -r 1
	start_nginx
	(cat "$BUILD/taskring-app"; exec sleep 30) | curl -s --noproxy '*' -T - -X POST "http://127.0.0.1:$PORT/files" >"$WORK/aborted" &
	sender=$!
	wait_until 5 has_open_upload
	kill -KILL $sender
	wait_until 5 no_open_uploads
	expect "files in the spool" 0 "$(files_in_spool)"

	/usr/bin/python3 - "$PORT" >"$WORK/answer" <<-'END'
		import socket, sys
		client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
		client.sendall(b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nsome")
		print(client.recv(65536).decode().splitlines()[0])
	END
	expect_match "what it is told" '^HTTP/1.1 408 ' "$(head -n 1 "$WORK/answer")"
	wait_until 5 no_open_uploads

	(cat "$BUILD/taskring-app"; exec sleep 30) | curl -s --noproxy '*' -T - -X POST "http://127.0.0.1:$PORT/files" >"$WORK/aborted" &
	sender=$!
	wait_until 5 has_open_upload
	kill -KILL "$(cut -d' ' -f1 "/proc/$APP/task/$APP/children")"
	wait_until 5 no_open_uploads
	expect "files in the spool" 0 "$(files_in_spool)"
	kill_sleepers
	end_web
}

kill_sleepers() {
	local pid
	for pid in $(processes_left); do
		[ "$(cat "/proc/$pid/comm")" != sleep ] || kill "$pid"
	done
}

# Uploads do not take all threads.
test_at_once() {
	local i
	start_app -p 1 -t 4 -k 2
	start_nginx
	for i in 1 2; do
		(printf 'some'; exec sleep 30) | curl -s --noproxy '*' -T - -X POST "http://127.0.0.1:$PORT/files" >/dev/null &
		wait_until 5 has_uploads $i
	done
	request /files --data-binary x
	expect_busy
	request /nothing
	expect "another request" 404 "$STATUS"
	kill_sleepers
	wait_until 5 no_open_uploads
	end_web
}

# Who is refused has no thread to hold, however slowly the body comes.
test_refused_at_once() {
	local i
	start_app -p 1 -t 4 -k 2 -r 60
	start_nginx
	for i in 1 2; do
		(printf 'some'; exec sleep 60) | curl -s --noproxy '*' -T - -X POST "http://127.0.0.1:$PORT/files" >/dev/null &
		wait_until 5 has_uploads $i
	done
	/usr/bin/python3 - "$PORT" >"$WORK/answers" <<-'END'
		import socket, sys
		def begin(method):
		    client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
		    client.sendall(b"%s /files HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nsome" % method)
		    return client
		for client in [begin(method) for method in [b"POST", b"PUT"] for each in range(8)]:
		    print(client.recv(65536).decode().split()[1])
	END
	expect "what they are told" "8 405,8 503" "$(sort "$WORK/answers" | uniq -c | awk '{ print $1, $2 }' | paste -sd,)"
	kill_sleepers
	wait_until 5 no_open_uploads
	end_web
}

has_uploads() { # COUNT
	[ "$(open_uploads)" = "$1" ]
}

expect_busy() {
	expect "status" 503 "$STATUS"
	expect "detail" '"other files are being received; try again later"' "$(jq -c .detail "$WORK/body")"
	[ -n "$(header Retry-After)" ] || fail "no Retry-After"
}

peak_kib() {
	awk '$1 == "VmHWM:" { print $2 }' "/proc/$(cut -d' ' -f1 "/proc/$APP/task/$APP/children")/status"
}

test_constant_memory() {
	local sent=$WORK/sent before after
	start_app -p 1 -t 2
	start_nginx
	head -c 1000000 /dev/zero >"$sent"
	request /files -F "file=@$sent"
	expect_file "$sent"
	before=$(peak_kib)
	head -c $((64 << 20)) /dev/urandom >"$sent"
	request /files -F "file=@$sent"
	expect_file "$sent"
	request /files --data-binary "@$sent"
	expect_file "$sent"
	after=$(peak_kib)
	note "peak memory of a responder: $before KiB after 1 MB, $after KiB after twice 64 MiB"
	[ $((after - before)) -lt 2048 ] || fail "its memory has grown"
	end_web
}

# As users have it, to the task's end, with which the file goes.
test_digested_and_deleted() {
	local sent=$WORK/sent
	start_run
	seq 100000 >"$sent"
	request /files -F "file=@$sent;filename=../numbers.txt"
	expect "status" 202 "$STATUS"
	wait_until 15 task_has_state "$(jq -r '.tasks[0].id' "$WORK/body")" succeeded
	expect "sha256" "$(sha256sum <"$sent" | cut -d' ' -f1)" "$(jq -r .result.sha256 "$WORK/body")"
	expect "bytes" "$(stat -c %s "$sent")" "$(jq -r .result.bytes "$WORK/body")"
	wait_until 5 spool_is_empty
	stop_run kill -TERM "$SUPERVISOR"
	expect_nothing_left
}

task_has_state() { # ID STATE
	request "/tasks/$1"
	[ "$STATUS" = 200 ] && [ "$(jq -r .state "$WORK/body")" = "$2" ]
}

spool_is_empty() {
	[ -z "$(find "$RUN/spool" -type f)" ]
}

run_tests "$@"
