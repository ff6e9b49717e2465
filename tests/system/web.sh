#!/bin/bash
# The web layer behind a real nginx: exact statuses, headers and bodies; what a client may ask for,
# what it gets when it asks for something else, and what is left when ring or taskd are not there.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

JSON=(-H 'Content-Type: application/json')
NO_TASK=01890000-0000-7000-8000-000000000000
TRACE=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01

# A request with its status and its whole body.
answers() { # WHAT STATUS BODY PATH CURL_OPTION...
	local what=$1 status=$2 body=$3
	shift 3
	request "$@"
	expect "$what: status" "$status" "$STATUS"
	expect "$what: body" "$body" "$(cat "$WORK/body")"
	[ "$STATUS" = 204 ] || expect "$what: type" application/json "$(header Content-Type)"
}

body() { # JQ_FILTER
	jq -r "$1" "$WORK/body"
}

with_token() { # PATH CURL_OPTION...
	request "$@" -H "Authorization: Bearer $(cat "$RUN/token")"
}

task_has_state() { # ID STATE
	request "/tasks/$1"
	[ "$STATUS" = 200 ] && [ "$(body .state)" = "$2" ]
}

fault() { # LOCATION MESSAGE TYPE
	printf '{"detail":[{"loc":%s,"msg":"%s","type":"%s"}]}' "$1" "$2" "$3"
}

test_answers() {
	start_run
	answers "a body that is no JSON" 400 "$(fault '["body",9]' 'Invalid JSON: it ends too early at line 1 column 9' json_invalid)" \
		/register "${JSON[@]}" -d '{"email":'
	answers "a body that is no object" 422 "$(fault '["body"]' 'Input should be an object' model_attributes_type)" \
		/register "${JSON[@]}" -d '[]'
	answers "all faults at once" 422 '{"detail":[{"loc":["body","email"],"msg":"Field required","type":"missing"},{"loc":["body","name"],"msg":"String should have at least 1 character","type":"string_too_short"},{"loc":["body","admin"],"msg":"Extra inputs are not permitted","type":"extra_forbidden"}]}' \
		/register "${JSON[@]}" -d '{"name":"","admin":true}'
	answers "a place inside" 422 "$(fault '["body","headers","X-A"]' 'Input should be a valid string' string_type)" \
		/callbacks "${JSON[@]}" -d '{"url":"http://example.org","headers":{"X-A":1}}'
	answers "a query" 422 '{"detail":[{"loc":["query","limit"],"msg":"Input should be a valid integer, unable to parse string as an integer","type":"int_parsing"},{"loc":["query","page"],"msg":"Extra inputs are not permitted","type":"extra_forbidden"}]}' \
		'/tasks?limit=x&page=2'
	answers "a path" 422 "$(fault '["path","id"]' 'Input should be a valid UUID of 36 characters' uuid_parsing)" /tasks/17
	answers "a bound" 422 "$(fault '["body","limit"]' 'Input should be less than or equal to 10000000000' less_than_equal)" \
		/calculations "${JSON[@]}" -d '{"limit":10000000001}'
	answers "another type" 415 '{"detail":"the Content-Type must be application/json"}' /register -H 'Content-Type: text/plain' -d x
	answers "an encoded body" 415 '{"detail":"the body must come without a Content-Encoding"}' \
		/register "${JSON[@]}" -H 'Content-Encoding: gzip' -d '{"email":"ada@example.org","name":"Ada"}'
	answers "an encoded file" 415 '{"detail":"the body must come without a Content-Encoding"}' /files -H 'Content-Encoding: gzip' -d x
	answers "no body" 422 "$(fault '["body"]' 'Field required' missing)" /register -X POST
	answers "an empty one" 422 "$(fault '["body"]' 'Field required' missing)" /register "${JSON[@]}" -X POST -d ''
	answers "no such path" 404 '{"detail":"there is nothing at this path"}' /nowhere
	answers "another method" 405 '{"detail":"this path does not know this method; see the Allow header"}' /register
	expect "Allow" "POST, OPTIONS" "$(header Allow)"
	answers "what is allowed" 204 "" /tasks/$NO_TASK -X OPTIONS
	expect "Allow" "GET, HEAD, DELETE, OPTIONS" "$(header Allow)"
	expect "length of nothing" "" "$(header Content-Length)"
	request /healthz -I
	expect "HEAD" 200 "$STATUS"
	expect_match "length of what GET would answer" '^[1-9][0-9]+$' "$(header Content-Length)"
	exec 3<>"/dev/tcp/127.0.0.1/$PORT"
	printf 'HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
	expect "the last line of HEAD" $'\r' "$(cat <&3 | tail -n 1)"
	exec 3>&-
	expect "tasks of all these" 0 "$(counter task_accepted)"
	stop_run kill -TERM "$SUPERVISOR"
	expect_nothing_left
}

test_traces() {
	local id
	start_run
	request /register "${JSON[@]}" -d '{"email":"ada@example.org","name":"Ada"}' -H 'X-Request-ID: order-66.b' -H "traceparent: $TRACE"
	expect "status" 202 "$STATUS"
	expect "X-Request-ID" order-66.b "$(header X-Request-ID)"
	expect "traceparent" $TRACE "$(header traceparent)"
	id=$(body '.tasks[0].id')
	wait_until 15 task_has_state "$id" succeeded
	expect "of the task" "$TRACE order-66.b" "$(body '[.trace, .request_id] | join(" ")')"
	request /register "${JSON[@]}" -d '{"email":"ada@example.org","name":"Ada"}' -H 'X-Request-ID: no good' -H 'traceparent: none'
	expect_match "one of our own" '^[0-9a-f]{32}$' "$(header X-Request-ID)"
	expect_match "one of our own" "^00-$(header X-Request-ID)-[0-9a-f]{16}-00\$" "$(header traceparent)"
	id="$(header traceparent) $(header X-Request-ID)"
	request "$(header Location)"
	expect "of the task" "$id" "$(body '[.trace, .request_id] | join(" ")')"
	stop_run kill -TERM "$SUPERVISOR"
}

test_token() {
	local refusal='{"detail":"the bearer token is missing or wrong"}'
	start_run
	expect "modes of the token and its hash" "600 600" "$(stat -c %a "$RUN/token" "$RUN/tokens" | paste -sd' ')"
	expect_match "the line to steer by" "curl -i -X DELETE .*$RUN/token" "$(cat "$WORK/run.log")"
	answers "no token" 401 "$refusal" /tasks/$NO_TASK -X DELETE
	expect "WWW-Authenticate" Bearer "$(header WWW-Authenticate)"
	answers "a wrong one" 401 "$refusal" /tasks/$NO_TASK/retry -X POST -H 'Authorization: Bearer 0123456789abcdef'
	answers "another scheme" 401 "$refusal" /signups -H "Authorization: Basic $(cat "$RUN/token")"
	with_token /tasks/$NO_TASK -X DELETE
	expect "the right one" 404 "$STATUS"
	with_token /tasks/$NO_TASK/retry -X POST
	expect "the right one" 404 "$STATUS"
	stop_run kill -TERM "$SUPERVISOR"
}

# What waits is cancelled, what is dead is queued again.
test_steering() {
	local later dead
	start_run
	later=$(push -H send_email_notification -a '{"email":"ada@example.org","name":"Ada"}' -D 600000)
	await task_scheduled=1
	with_token "/tasks/$later" -X DELETE
	expect "status" 202 "$STATUS"
	expect "body" "$later scheduled /tasks/$later" "$(body '[.id, .state, .href] | join(" ")')"
	expect "Location" "/tasks/$later" "$(header Location)"
	wait_until 15 task_has_state "$later" cancelled
	with_token "/tasks/$later" -X DELETE
	expect "it has ended" 409 "$STATUS"
	with_token "/tasks/$later/retry" -X POST
	expect "it is not dead" 409 "$STATUS"
	dead=$(push -H record_signup -a '{"email":1}' -m 1)
	wait_until 15 task_has_state "$dead" dead
	with_token "/tasks/$dead/retry" -X POST
	expect "status" 202 "$STATUS"
	wait_until 15 attempted_again "$dead"
	stop_run kill -TERM "$SUPERVISOR"
}

attempted_again() { # ID
	task_has_state "$1" dead && [ "$(body .attempt)" = 2 ]
}

# A calculation of minutes is cancelled while it runs.
test_cancel_running() {
	local id
	[ -e "$CHECKOUT/app/handlers/count_primes.c" ] || skip "there is no handler that runs long"
	start_run
	post /calculations '{"limit":1e10}'
	expect "status" 202 "$STATUS"
	id=$(body '.tasks[0].id')
	wait_until 15 task_has_state "$id" running
	with_token "/tasks/$id" -X DELETE
	expect "status" 202 "$STATUS"
	wait_until 30 task_has_state "$id" cancelled
	post /calculations '{"limit":1000}'
	id=$(body '.tasks[0].id')
	wait_until 15 task_has_state "$id" succeeded
	expect "primes below 1000" 168 "$(body .result.primes)"
	stop_run kill -TERM "$SUPERVISOR"
}

# Every task once, the newest first, however many a page.
test_pages() {
	local next pages=0
	start_run
	push -c 25 -H send_email_notification -a '{"email":"ada@example.org","name":"Ada"}' -D 600000 | sort -r >"$WORK/pushed"
	push -c 3 -H record_signup -a '{"email":"ada@example.org","name":"Ada"}' >/dev/null
	await task_scheduled=25 task_succeeded=3
	wait_until 10 rows_are 28
	next='/tasks?state=scheduled&handler=send_email_notification&queue=default&limit=10'
	while [ "$next" != null ]; do
		request "$next"
		expect "status" 200 "$STATUS"
		body '.tasks[].id' >>"$WORK/listed"
		expect "their states" "" "$(body '.tasks[].state' | grep -vx scheduled)"
		next=$(body .next)
		pages=$((pages + 1))
		[ $pages -lt 10 ] || fail "the pages have no end"
	done
	expect "the listed ones" "" "$(diff "$WORK/pushed" "$WORK/listed")"
	request '/tasks?state=succeeded&state=dead'
	expect "of two states" 3 "$(body '.tasks | length')"
	request '/tasks?handler=none'
	expect "of no handler" "0 null" "$(body '[(.tasks | length), .next] | map(tostring) | join(" ")')"
	stop_run kill -TERM "$SUPERVISOR"
}

rows_are() { # COUNT
	[ "$(sql 'SELECT count(*) FROM task')" = "$1" ]
}

# The application's database as the endpoint's resource.
test_signups() {
	local i
	start_run
	with_token /signups
	expect "nobody yet" '{"signups":[],"next":null}' "$(cat "$WORK/body")"
	for i in 1 2 3; do
		post /register "{\"email\":\"user$i@example.org\",\"name\":\"User $i\"}"
	done
	await task_succeeded=6
	with_token '/signups?limit=2'
	expect "the newest" "user3@example.org user2@example.org" "$(body '[.signups[].email] | join(" ")')"
	with_token "$(body .next)"
	expect "the rest" "user1@example.org null" "$(body '[.signups[0].email, .next] | map(tostring) | join(" ")')"
	echo "no database" >"$WORK/broken"
	rm "$RUN"/signups.db-* # else what they hold would be put into it
	mv "$WORK/broken" "$RUN/signups.db"
	with_token /signups
	expect "a broken one" 503 "$STATUS"
	expect "Retry-After" 1 "$(header Retry-After)"
	expect "what it says" '{"detail":"something that this needs is not there right now; try again later"}' "$(cat "$WORK/body")"
	stop_run kill -TERM "$SUPERVISOR"
}

# ---- responders without taskd ---------------------------------------------------------------

test_without_taskd() {
	start_responder
	request /register "${JSON[@]}" -d '{"email":"ada@example.org","name":"Ada"}'
	expect "a ring is enough" 202 "$STATUS"
	request "$(header Location)"
	expect "it waits" "200 queued" "$STATUS $(body .state)"
	answers "no token is configured" 403 '{"detail":"no tokens are configured here; tasks are steered on the machine itself, with taskctl"}' /tasks/$NO_TASK -X DELETE
	expect "no challenge" "" "$(header WWW-Authenticate)"
	request /healthz
	expect "health" "503 failing ok not alive" "$STATUS $(body '[.status, .ring, .taskd] | join(" ")')"
	stop_responder
}

# The name is taken by something that is no ring: there is none, and none can be made.
test_without_ring() {
	head -c 100 /dev/urandom >"/dev/shm/$NAME.ring"
	start_responder
	answers "no ring" 503 '{"detail":"background tasks cannot be taken right now; try again later"}' \
		/register "${JSON[@]}" -d '{"email":"ada@example.org","name":"Ada"}'
	expect "Retry-After" 1 "$(header Retry-After)"
	request /healthz
	expect "health" "503 failing missing not alive" "$STATUS $(body '[.status, .ring, .taskd] | join(" ")')"
	rm "/dev/shm/$NAME.ring"
	wait_until 10 takes_requests # it looks again, at most every 200 ms
	stop_responder
}

# It leaves while its tasks wait for the disk, which no taskd confirms: they were accepted, and run.
test_client_that_goes_away() {
	local body='{"email":"ada@example.org","name":"Ada"}'
	configure
	start_responder -d disk -w 60000 -a stderr
	exec 3<>"/dev/tcp/127.0.0.1/$PORT"
	printf 'POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' ${#body} "$body" >&3
	wait_until 10 ring_holds 1
	exec 3>&-
	wait_until 10 grep -q '"POST /register HTTP/1.1" 499 ' "$RUN/logs/access.log"
	start_taskd
	await task_accepted=2
	wait_until 10 grep -q 'path="/register" status=202' "$RUN/app.log"
	stop_taskd
	stop_responder
}

# It waits as long as it was told to, says what it knows, and that is what the logs have.
test_not_on_disk() {
	configure
	start_responder -d disk -w 300 -a stderr
	answers "no taskd" 503 '{"detail":"published, but not known to be on disk yet"}' \
		/register "${JSON[@]}" -d '{"email":"ada@example.org","name":"Ada"}'
	wait_until 10 grep -q 'path="/register" status=503' "$RUN/app.log"
	expect "milliseconds" 1 "$(sed -n 's/.*path="\/register" status=503 .* us=\([0-9]*\).*/\1/p' "$RUN/app.log" | awk '{ print ($1 >= 300000) }')"
	start_taskd
	await task_accepted=2
	takes_requests || fail "with taskd it answers $STATUS"
	await task_accepted=4
	stop_taskd
	stop_responder
}

ring_holds() { # BATCHES
	request /healthz
	[ "$(body .ring_cells_used)" = "$1" ]
}

# Removed under responders that own lanes of it: they notice, and what they accept then is in the ring that taskd finds.
test_removed_ring() {
	configure
	start_responder
	wait_until 5 takes_requests
	rm "/dev/shm/$NAME.ring"
	wait_until 10 has_made_a_ring
	takes_requests
	start_taskd
	await task_accepted=4
	stop_taskd
	stop_responder
}

# The request that made it is in it.
has_made_a_ring() {
	takes_requests && [ -e "/dev/shm/$NAME.ring" ]
}

takes_requests() {
	request /register "${JSON[@]}" -d '{"email":"ada@example.org","name":"Ada"}'
	[ "$STATUS" = 202 ]
}

run_tests "$@"
