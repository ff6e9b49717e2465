#!/bin/bash
# HTTP tasks against a real server on the loopback (http_server.py).
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# The server; each request is a line of $WORK/requests. Sets HTTP_PORT.
start_server() { # [OPTION...]
	: >"$WORK/server.port"
	(cd "$WORK" && exec "$CHECKOUT/tests/system/http_server.py" --log "$WORK/requests" "$@") \
		</dev/null >"$WORK/server.port" 2>"$WORK/server.log" &
	SERVER=$!
	wait_until 15 grep -q '^port ' "$WORK/server.port"
	HTTP_PORT=$(sed 's/^port //' "$WORK/server.port")
}

stop_server() {
	kill -TERM "$SERVER"
	wait_until 5 is_gone "$SERVER"
}

# One task to a path of the server, with more members ("" or '"a":1,'); prints its id.
ask() { # PATH [MEMBERS [PUSH_OPTION...]]
	local path=$1 members=${2:-}
	shift $(($# > 1 ? 2 : 1))
	push -H http -a "{${members}\"url\":\"http://127.0.0.1:$HTTP_PORT$path\"}" -B 10 "$@"
}

result_of() { # ID JQ
	sql "SELECT result FROM tasks WHERE id = '$1'" | jq -r "$2"
}

error_of() { # ID
	sql "SELECT error FROM tasks WHERE id = '$1'"
}

attempts_of() { # ID
	sql "SELECT count(*) FROM attempts WHERE task = '$1'"
}

last_request() { # JQ
	tail -n 1 "$WORK/requests" | jq -r "$1"
}

begin() { # [SERVER_OPTION...]
	start_server "$@"
	HTTP=${HTTP-"allow_private = yes"} configure
	start_taskd
}

end() {
	stop_taskd
	stop_server
	expect_nothing_left
}

test_request_and_result() {
	local id trace=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
	begin
	id=$(ask /echo '"json":{"amount": 0.10},"headers":{"Authorization":"Bearer s"},' -r $trace)
	wait_row "$id" succeeded
	expect "status" 200 "$(result_of "$id" .status)"
	expect "body as JSON" /echo "$(result_of "$id" .body.path)"
	expect "method" POST "$(last_request .method)"
	expect "body" '{"amount": 0.10}' "$(last_request .body)"
	expect "Content-Type" application/json "$(last_request '.headers["Content-Type"]')"
	expect "Authorization" "Bearer s" "$(last_request '.headers.Authorization')"
	expect "Idempotency-Key" "$id" "$(last_request '.headers["Idempotency-Key"]')"
	expect "traceparent" $trace "$(last_request '.headers.traceparent')"
	id=$(ask /bytes/10000000)
	wait_row "$id" succeeded
	expect "of a huge body" "4096 true" "$(result_of "$id" '(.body | length | tostring) + " " + (.body_cut | tostring)')"
	end
}

# Which statuses are tried again, and which are not.
test_outcomes() {
	local id status
	begin
	for status in 400 401 404 410 422 302 304; do
		id=$(ask /status/$status '' -m 3)
		wait_row "$id" dead
		expect "attempts after $status" 1 "$(attempts_of "$id")"
		expect_match "the error" "the server answered $status" "$(error_of "$id")"
	done
	for status in 408 429 500 502 503; do
		id=$(ask /status/$status '' -m 2)
		wait_row "$id" dead
		expect "attempts after $status" 2 "$(attempts_of "$id")"
	done
	id=$(ask /status/404 '"method":"DELETE","expect":[204,404],')
	wait_row "$id" succeeded
	id=$(ask /flaky/2/a '' -m 5)
	wait_row "$id" succeeded
	expect "attempts of a flaky one" 3 "$(attempts_of "$id")"
	expect "its Idempotency-Keys" "" "$(grep -h /flaky/ "$WORK/requests" | jq -r '.headers["Idempotency-Key"] // empty' | sort -u)"
	id=$(ask /flaky/1/b '"body":"x",' -m 5)
	wait_row "$id" succeeded
	expect "the Idempotency-Keys of a POST" "$id" "$(grep -h /flaky/1/b "$WORK/requests" | jq -r '.headers["Idempotency-Key"]' | sort -u)"
	end
}

test_broken_peers() {
	local id path
	begin
	for path in /close /broken /garbage /headers; do
		id=$(ask $path '' -m 2)
		wait_row "$id" dead
		expect "attempts at $path" 2 "$(attempts_of "$id")"
	done
	for path in /stall /drip; do
		id=$(ask $path '"timeout_ms":200,' -m 1)
		wait_row "$id" dead
		expect_match "the error at $path" "timed out" "$(error_of "$id")"
	done
	id=$(push -H http -a '{"url":"http://127.0.0.1:1/"}' -B 10 -m 2)
	wait_row "$id" dead
	expect_match "nobody listens" "Failed to connect" "$(error_of "$id")"
	end
}

# What was answered counts, also when the connection is reset right behind it; and a kept connection that is
# reset just when it is used again costs no attempt.
test_resets() {
	local id
	begin
	printf '{"url":"http://127.0.0.1:%s/early/413","body":"%01000000d"}' "$HTTP_PORT" 0 >"$WORK/args"
	# Where the reset comes while we send, the kernel may have thrown the answer away: that is a network error.
	id=$(push -H http -A "$WORK/args" -B 10 -m 20)
	wait_row "$id" dead
	expect "the answer" "http: the server answered 413: too much" "$(error_of "$id")"
	[ "$(attempts_of "$id")" -lt 20 ] || fail "answered at the last attempt only"
	id=$(ask /once/%2fstatus%2f200 '"follow":1,' -m 1)
	wait_row "$id" succeeded
	id=$(ask /once/%2fstatus%2f200 '"follow":1,"body":"x","expect":200,' -m 1)
	wait_row "$id" succeeded
	end
}

# The second attempt waits as the server has asked, not as the backoff (10 ms) would have it.
test_retry_after() {
	local id gap
	begin
	id=$(ask /retry/503/1 '' -m 2)
	wait_row "$id" dead
	gap=$(sql "SELECT max(started_ms) - min(started_ms) FROM attempt WHERE task = x'${id//-/}'")
	[ "$gap" -ge 950 ] || fail "tried again after $gap ms"
	stop_taskd
	HTTP="allow_private = yes retry_after = 20ms" configure
	start_taskd
	id=$(ask /retry/429/3600 '' -m 2)
	wait_row "$id" dead # capped
	end
}

# With the configuration as it is delivered nothing on this machine or beside it is reached.
test_refused_addresses() {
	local id url
	HTTP='' begin
	for url in 127.0.0.1 localhost '[::1]' 2130706433 127.1 '[::ffff:127.0.0.1]' 0.0.0.0; do
		id=$(push -H http -a "{\"url\":\"http://$url:$HTTP_PORT/status/200\"}" -B 10)
		wait_row "$id" dead
		expect "attempts at $url" 1 "$(attempts_of "$id")"
		expect_match "the error at $url" "must not be connected to" "$(error_of "$id")"
	done
	expect "requests that came through" 0 "$(wc -l <"$WORK/requests")"
	stop_taskd
	# One address is allowed; a redirect from there to another is not followed.
	HTTP='allow_networks = { "127.0.0.1" }' configure
	start_taskd
	id=$(ask /status/200)
	wait_row "$id" succeeded
	id=$(ask "/to/302/http:%2f%2f127.0.0.2:$HTTP_PORT%2fstatus%2f200" '"follow":1,')
	wait_row "$id" dead
	expect_match "the error" "127.0.0.2 must not be connected to: it is a loopback address" "$(error_of "$id")"
	id=$(ask "/to/302/http:%2f%2flocalhost:$HTTP_PORT%2fstatus%2f200" '"follow":1,')
	wait_row "$id" succeeded
	end
}

test_wrong_arguments() {
	local id
	begin
	id=$(push -H http -a '{"url":"http://h/","headers":{"X":"a\r\nHost: b"}}' -B 10)
	wait_row "$id" dead
	expect "attempts" 1 "$(attempts_of "$id")"
	expect "the error" 'http: "headers": the value of "X" must be printable ASCII without blanks around it' "$(error_of "$id")"
	end
}

make_certificate() {
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext 'subjectAltName=DNS:localhost' \
		-keyout "$WORK/key.pem" -out "$WORK/certificate.pem" 2>"$WORK/openssl.log"
}

test_tls() {
	local id
	make_certificate
	begin --tls "$WORK/certificate.pem" "$WORK/key.pem"
	id=$(push -H http -a "{\"url\":\"https://localhost:$HTTP_PORT/status/200\"}" -B 10 -m 2)
	wait_row "$id" dead
	expect_match "the error" "certificate" "$(error_of "$id")"
	stop_taskd
	HTTP="allow_private = yes ca_file = \"$WORK/certificate.pem\"" configure
	start_taskd
	id=$(push -H http -a "{\"url\":\"https://localhost:$HTTP_PORT/status/200\"}" -B 10)
	wait_row "$id" succeeded
	# The name must be the certificate's.
	id=$(push -H http -a "{\"url\":\"https://127.0.0.1:$HTTP_PORT/status/200\"}" -B 10 -m 1)
	wait_row "$id" dead
	# And what began with TLS does not go on without.
	id=$(push -H http -a "{\"follow\":1,\"url\":\"https://localhost:$HTTP_PORT/to/302/http:%2f%2flocalhost%2f\"}" -B 10)
	wait_row "$id" dead
	expect_match "the error" "from https to http" "$(error_of "$id")"
	end
}

# A cancelled one ends at once, and its worker stays.
test_cancelled() {
	local id before
	begin
	before=$(pids_of worker)
	id=$(ask /stall)
	wait_until 10 grep -qs /stall "$WORK/requests"
	push -C "$id"
	wait_row "$id" cancelled 5
	expect "the workers" "$before" "$(pids_of worker)"
	end
}

test_soft_timeout() {
	local id
	begin
	id=$(ask /stall '' -m 1 -T 200)
	wait_row "$id" dead
	expect_match "the error" "broken off before the server had answered, out of time" "$(error_of "$id")"
	end
}

# One worker of one thread carries a thousand slow calls at once, with less than 30 MB.
test_thousand_at_once() {
	local worker begun took memory
	[ -z "${SAN:-}" ] || skip "a sanitizer's memory is not the worker's"
	ulimit -n 4096 2>/dev/null || ulimit -n "$(ulimit -H -n)"
	start_server
	HTTP="allow_private = yes" configure '' 'pool default { processes = 1 threads = 1 }'
	start_taskd
	worker=$(pids_of worker)
	begun=${EPOCHREALTIME/./}
	push -H http -c 1000 -p -a "{\"url\":\"http://127.0.0.1:$HTTP_PORT/slow/1000\"}" >/dev/null
	await task_succeeded=1000
	took=$(((${EPOCHREALTIME/./} - begun) / 1000))
	expect "the worker" "$worker" "$(pids_of worker)"
	memory=$(awk '$1 == "VmHWM:" { print $2 }' "/proc/$worker/status")
	note "1000 calls of 1 s each, one worker with one thread: $took ms, $memory kB resident at most"
	[ "$memory" -lt 30000 ] || fail "$memory kB resident"
	[ "$took" -lt 10000 ] || fail "took $took ms"
	end
}

run_tests "$@"
