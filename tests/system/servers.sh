#!/bin/bash
# The responders behind each web server that conf/ has a configuration for: requests and answers, what a
# server passes and how, connections that are kept, errors, and that responders may die or be replaced.
#   WEB   nginx, apache, lighttpd, several of them, or all; default nginx and apache
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

: "${WEB:=nginx apache}"
[ "$WEB" != all ] || WEB="nginx apache lighttpd"
export PLUGIN_DIR=$BUILD/handlers # those of POST /register
ADA='{"email":"ada@example.org","name":"Ada"}'
TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01

# taskd, responders and the server.
start_all() { # SERVER [RESPONDER_OPTION...]
	local server=$1
	shift
	configure 'ring { slots_per_lane = 8192 }' # two threads must not fill theirs within a slow commit
	start_taskd
	make_token
	start_responders "$@"
	start_web "$server"
	wait_until 10 answers_with 200 /healthz
}

make_token() {
	TOKEN=$(add_token ops:operator)
	echo "anybody submitter" >>"$RUN/tokens"
}

start_responders() { # [OPTION...]
	start_app -J "$RUN/journal.db" -T "$RUN/tokens" "$@"
}

stop_everything() {
	stop_web
	stop_app
	stop_taskd
	expect_nothing_left
}

answers_with() { # STATUS PATH [CURL_OPTION...]
	local status=$1
	shift
	request "$@"
	[ "$STATUS" = "$status" ]
}

# An error is JSON with a detail, whoever made it.
refuses() { # WHAT STATUS PATH [CURL_OPTION...]
	local what=$1 status=$2
	shift 2
	request "$@"
	expect_refusal "$what" "$status"
}

expect_refusal() { # WHAT STATUS: of what is in STATUS, head and body
	expect "$1" "$2" "$STATUS"
	expect "$1: type" application/json "$(header Content-Type)"
	jq -e .detail "$WORK/body" >/dev/null || fail "$1: no detail in $(cat "$WORK/body")"
}

# What no client library would send; the answer as request() leaves it.
raw_request() { # TEXT
	exec 8<>"/dev/tcp/127.0.0.1/$PORT"
	printf '%b' "$1" >&8
	timeout 20 cat <&8 >"$WORK/raw" || :
	exec 8>&-
	tr -d '\r' <"$WORK/raw" | sed '/^$/q' >"$WORK/head"
	tr -d '\r' <"$WORK/raw" | sed '1,/^$/d' >"$WORK/body"
	STATUS=$(awk 'NR == 1 { print $2 }' "$WORK/head")
}

# ---- requests and answers -------------------------------------------------------------------

requests() { # SERVER
	local id
	start_all "$1" -p 2 -t 4 -W "$BUILD/ui"
	post /register "$ADA"
	expect "status" 202 "$STATUS"
	expect "type" application/json "$(header Content-Type)"
	id=$(jq -r '.tasks[1].id' "$WORK/body")
	expect "Location" "/tasks/$id" "$(header Location)"
	wait_row "$id" succeeded
	answers_with 200 "/tasks/$id" || fail "the task: $STATUS"
	expect "the task" succeeded "$(jq -r .state "$WORK/body")"
	request "/tasks/$id" -I
	expect "HEAD" "200 0" "$STATUS $(wc -c <"$WORK/body" | sed 's/^[1-9].*/0/')"

	request /healthz -H 'X-Request-ID: order-17' -H "traceparent: $TRACEPARENT"
	wait_until 10 grep -qF " order-17 $TRACEPARENT" "$RUN/logs/access.log"
	refuses "nothing there" 404 /nowhere
	refuses "nothing there, with what a path may hold" 404 '/a%2Fb//c%20d?e=%2F'
	refuses "another method" 405 /register
	expect_match "Allow" "POST" "$(header Allow)"
	refuses "no JSON" 400 /register -H 'Content-Type: application/json' -d '{"email":'
	refuses "another type" 415 /register -H 'Content-Type: text/plain' -d "$ADA"
	refuses "two faults" 422 /register -H 'Content-Type: application/json' -d '{"email":"nobody","name":""}'
	expect "both are named" "email name" "$(jq -r '.detail[].loc[1]' "$WORK/body" | paste -sd' ')"
	head -c 1100000 /dev/zero | tr '\0' ' ' >"$WORK/large"
	refuses "too large" 413 /register -H 'Content-Type: application/json' --data-binary "@$WORK/large"
	answers_with 202 /register -H 'Content-Type: application/json' -H 'Transfer-Encoding: chunked' -d "$ADA" ||
		fail "a body of unknown length: $STATUS"
	expect "the methods" 204 "$(request /register -X OPTIONS && echo "$STATUS")"
	expect_steering "$id"
	expect_pages
	expect_events
	stop_everything
}

# They come one by one, while the answer is under way.
expect_events() {
	local listener
	curl -sN -m 60 --noproxy '*' "http://127.0.0.1:$PORT/events?handler=record_signup" >"$WORK/events" &
	listener=$!
	wait_until 5 grep -qs '^retry' "$WORK/events"
	post /register "$ADA"
	wait_until 5 grep -qs '"state":"succeeded"' "$WORK/events"
	! is_gone $listener || fail "the stream has ended"
	kill -USR2 "$APP"
	wait $listener || fail "the stream ended with $?"
}

# What is not JSON comes as it was given, and what the client has is not sent again.
expect_pages() {
	local tag
	request /docs
	expect "the way to the pages" "307 docs/" "$STATUS $(header Location)"
	request /docs/
	expect "a page" "200 text/html; charset=utf-8" "$STATUS $(header Content-Type)"
	expect_match "its policy" "^default-src 'none'; script-src 'self'" "$(header Content-Security-Policy)"
	cmp -s "$BUILD/ui/docs/index.html" "$WORK/body" || fail "another page"
	tag=$(header ETag)
	request /docs/ -H "If-None-Match: $tag"
	expect "again" "304 0 $tag" "$STATUS $(wc -c <"$WORK/body") $(header ETag)"
}

# Authorization comes through, and decides.
expect_steering() { # ID of a task that is over
	refuses "no token" 401 "/tasks/$1" -X DELETE
	refuses "another token" 401 "/tasks/$1" -X DELETE -H "Authorization: Bearer ${TOKEN}x"
	request "/tasks/$1" -X DELETE -H "Authorization: Bearer $TOKEN"
	[[ $STATUS != 401 && $STATUS != 403 ]] || fail "the token: $STATUS $(cat "$WORK/body")"
}

# What the server itself refuses, also while no responder is there.
own_errors() { # SERVER
	local path
	start_all "$1" -p 1 -t 2
	raw_request 'no HTTP at all\r\n\r\n'
	expect_refusal "a broken request line" 400
	raw_request 'GET /healthz HTTP/9.0\r\nHost: x\r\nConnection: close\r\n\r\n'
	[ "$STATUS" = 200 ] || expect_refusal "a version to come" 505
	raw_request 'POST /register HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: gzip\r\n\r\n'
	expect_match "an unknown coding" '^(400|411|501)$' "$STATUS"
	expect_refusal "an unknown coding" "$STATUS"
	path=$(head -c 9000 /dev/zero | tr '\0' a)
	request "/$path"
	expect_match "a long target" '^4(14|31)$' "$STATUS"
	expect_refusal "a long target" "$STATUS"
	request /healthz -H "X-Long: $path$path"
	if [ "$1" = nginx ]; then
		expect "a long header line" 431 "$STATUS"
	else
		expect_match "a long header line" '^4(00|31)$' "$STATUS"
	fi
	expect_refusal "a long header line" "$STATUS"
	stop_app
	request /healthz
	expect_match "no responders" '^50[023]$' "$STATUS"
	expect_refusal "no responders" "$STATUS"
	[ "$1" = lighttpd ] || expect "Retry-After" 1 "$(header Retry-After)"
	start_responders
	# At once, with nothing to be done about the server.
	wait_until 3 answers_with 200 /healthz
	stop_everything
}

# Refused before the body has come, of which the rest follows only a second later: the client is told why all the same.
refused_early() { # SERVER
	start_all "$1" -p 1 -t 2
	(printf '%01000d' 0; sleep 1; printf '%01000d' 0) |
		request /files -X PUT -T - -H 'Content-Length: 2000' -H 'Transfer-Encoding:' -H 'Expect:'
	STATUS=$(head -n 1 "$WORK/head" | cut -d' ' -f2)
	expect_refusal "another method" 405
	expect "Allow" "POST, OPTIONS" "$(header Allow)"
	stop_everything
}

# ---- what is passed to the responder --------------------------------------------------------

start_echo() {
	(cd "$RUN" && exec setsid "$TOOLS/echo_fcgi" "$RUN/responder.sock" "$RUN/arrivals") </dev/null >>"$RUN/echo.log" 2>&1 &
	ECHO=$!
	wait_until 10 test -S "$RUN/responder.sock"
}

passed() { # PARAMETER
	jq -r --arg name "$1" '.[$name]' "$WORK/body"
}

has_arrived() { # BYTES
	local bytes
	bytes=$(tail -n 1 "$RUN/arrivals")
	[ "${bytes:-0}" -ge "$1" ]
}

# 100,000 bytes, of which the client sends the second half only after the first has come through.
expect_streamed() { # WHAT CURL_OPTION...
	local what=$1 client
	shift
	: >"$RUN/arrivals"
	mkfifo "$WORK/body.fifo"
	curl -s -m 20 --noproxy '*' -o "$WORK/body" -T "$WORK/body.fifo" -X POST "$@" "http://127.0.0.1:$PORT/files" &
	client=$!
	exec 7>"$WORK/body.fifo"
	head -c 50000 /dev/zero >&7
	wait_until 5 has_arrived 40000
	head -c 50000 /dev/zero >&7
	exec 7>&-
	wait "$client"
	rm "$WORK/body.fifo"
	expect "$what" 100000 "$(passed body_bytes)"
}

passes() { # SERVER
	start_echo
	start_web "$1"
	request '/a%2Fb//c%20d/../e?x=%2F&y' -X DELETE --path-as-is -H 'Authorization: Bearer s3cret' -H 'X-Request-ID: abc-1' \
		-H 'Traceparent: 00-1-2-01'
	expect "status" 200 "$STATUS"
	expect_match "the target" '^/a%2Fb//c%20d/\.\./e\?x=%2F&y$' "$(passed REQUEST_URI)"
	expect "its query" 'x=%2F&y' "$(passed QUERY_STRING)"
	expect "the method" DELETE "$(passed REQUEST_METHOD)"
	expect "the token" 'Bearer s3cret' "$(passed HTTP_AUTHORIZATION)"
	expect "the request's id" abc-1 "$(passed HTTP_X_REQUEST_ID)"
	expect "the trace" 00-1-2-01 "$(passed HTTP_TRACEPARENT)"
	expect "the peer" 127.0.0.1 "$(passed REMOTE_ADDR)"
	request /files -H 'Content-Type: text/plain; charset=utf-8' -d 'four'
	expect "the body" "4 4 text/plain; charset=utf-8" "$(passed CONTENT_LENGTH) $(passed body_bytes) $(passed CONTENT_TYPE)"
	if [ "$2" = streams ]; then
		expect_streamed "a body of known length" -H 'Content-Length: 100000' -H 'Transfer-Encoding:'
	fi
	kill "$ECHO"
	stop_web
	expect_nothing_left
}

# ---- connections ----------------------------------------------------------------------------

kept_connections() {
	ss -xH state connected src "$RUN/responder.sock" | wc -l
}

# More clients than threads, and connections that the server keeps must not lock any of them out.
connections() { # SERVER kept|closed
	start_all "$1" -p 1 -t 2
	"$CHECKOUT/tests/system/register.py" --threads 24 "http://127.0.0.1:$PORT" 600 "$WORK/ids" >"$WORK/answers"
	expect "answers" "600 × 202" "$(cat "$WORK/answers")"
	if [ "$2" = kept ]; then
		[ "$(kept_connections)" -ge 1 ] || fail "no connection to the responders was kept"
	else
		expect "connections kept" 0 "$(kept_connections)"
	fi
	# One client's connection is kept, too.
	curl -s -m 20 --noproxy '*' -o /dev/null -o /dev/null -w '%{num_connects} ' "http://127.0.0.1:$PORT/healthz" \
		"http://127.0.0.1:$PORT/healthz" >"$WORK/connects"
	expect "connections of a client that asks twice" "1 0 " "$(cat "$WORK/connects")"
	await task_accepted=1200
	stop_everything
}

# ---- responders that go ---------------------------------------------------------------------

confirmed_at_least() { # IDS
	[ -e "$WORK/ids" ] && [ "$(wc -l <"$WORK/ids")" -ge "$1" ]
}

all_confirmed_are_rows() {
	sql "SELECT id FROM tasks ORDER BY id" >"$WORK/rows"
	[ -z "$(comm -23 <(sort "$WORK/ids") "$WORK/rows")" ]
}

# Replaced one by one under load, twice: nobody notices. Then killed: what was answered with 202 is there.
replaced() { # SERVER
	local client victim
	start_all "$1" -p 2 -t 4
	"$CHECKOUT/tests/system/register.py" "http://127.0.0.1:$PORT" 1500 "$WORK/ids" >"$WORK/answers" &
	client=$!
	for share in 1 2; do
		wait_until 30 confirmed_at_least $((share * 700))
		kill -HUP "$APP"
	done
	wait "$client" || fail "$(cat "$WORK/answers")"
	expect "answers while they were replaced" "1500 × 202" "$(cat "$WORK/answers")"
	wait_until 10 all_confirmed_are_rows

	rm "$WORK/ids"
	"$CHECKOUT/tests/system/register.py" "http://127.0.0.1:$PORT" 1500 "$WORK/ids" >"$WORK/answers" &
	client=$!
	for share in 1 2 3; do
		wait_until 30 confirmed_at_least $((share * 700))
		wait_until 5 pgrep -P "$APP" >"$WORK/pids" # those killed before may still be missing
		victim=$(head -n 1 "$WORK/pids")
		kill -KILL "$victim"
		wait_until 5 is_gone "$victim"
	done
	wait "$client" || fail "$(cat "$WORK/answers")"
	note "$1, 3 responders killed: $(cat "$WORK/answers")"
	wait_until 10 all_confirmed_are_rows
	expect "ids given out twice" 0 "$(sort "$WORK/ids" | uniq -d | wc -l)"
	stop_everything
}

for server in $WEB; do
	kept=kept streams=streams
	case $server in
	nginx) grep -q 'fastcgi_request_buffering off' "$CHECKOUT/conf/nginx.conf.in" || streams=buffers ;;
	lighttpd) kept=closed ;;
	esac
	for part in requests own_errors refused_early "passes:$streams" "connections:$kept" replaced; do
		eval "test_${server}_${part%:*}() { ${part%:*} $server ${part#*:}; }"
	done
done

# mod_fcgid starts the responders itself.
if [[ " $WEB " == *" apache "* ]]; then
	test_fcgid_starts_responders() {
		configure 'ring { mode = 0666 }'
		chmod 777 "$RUN/spool"
		start_taskd
		chmod 666 "$RUN"/journal.db*
		make_token
		[ "$(id -u)" -ne 0 ] || chown www-data: "$RUN/tokens"
		start_web fcgid
		post /register "$ADA"
		expect "status" 202 "$STATUS"
		wait_row "$(jq -r '.tasks[1].id' "$WORK/body")" succeeded
		expect_steering "$(jq -r '.tasks[1].id' "$WORK/body")"
		refuses "two faults" 422 /register -H 'Content-Type: application/json' -d '{"email":"nobody","name":""}'
		pgrep -f "taskring-app -n $NAME .*-s fd:0" >"$WORK/responders" || fail "no responder was started"
		"$CHECKOUT/tests/system/register.py" "http://127.0.0.1:$PORT" 200 "$WORK/ids" >"$WORK/answers"
		expect "answers" "200 × 202" "$(cat "$WORK/answers")"
		stop_web
		stop_taskd
		expect_nothing_left
	}
fi

run_tests "$@"
