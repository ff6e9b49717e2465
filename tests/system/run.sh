#!/bin/bash
# `make run` as a user meets it: through nginx and the responders to a row and a mail; errors;
# stopping, starting again, two instances side by side, kill -9 of what answers.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

ADA='{"email":"ada@example.org","name":"Ada"}'

task_has_state() { # ID STATE
	request "/tasks/$1"
	[ "$STATUS" = 200 ] && [ "$(jq -r .state "$WORK/body")" = "$2" ]
}

test_request_to_mail() {
	local ids address mail
	start_run
	address=$(sed -n 's|^taskring is running at http://||p' "$WORK/run.log")
	expect "the address it prints" "127.0.0.1:$PORT" "$address"
	expect_match "the line to try" "curl -i http://$address/register" "$(cat "$WORK/run.log")"
	expect_match "where mail goes" "$RUN/mail" "$(cat "$WORK/run.log")"

	post /register "$ADA"
	expect "status" 202 "$STATUS"
	expect "type" application/json "$(header Content-Type)"
	mapfile -t ids < <(jq -r '.tasks[].id' "$WORK/body")
	expect "tasks" 2 "${#ids[@]}"
	expect "their handlers" "record_signup send_email_notification" "$(jq -r '.tasks[].handler' "$WORK/body" | paste -sd' ')"
	expect "Location" "/tasks/${ids[1]}" "$(header Location)"
	wait_until 15 task_has_state "${ids[1]}" succeeded
	expect "keys" "arguments arguments_bytes attempt attempts cancelling created due ended error explanation handler has_file id log log_dropped max_attempts on_failure progress queue redacted request_id result sequential siblings started state trace" \
		"$(jq -r 'keys | join(" ")' "$WORK/body")"
	expect "what it says" "send_email_notification default 1 5 null" \
		"$(jq -r '[.handler, .queue, .attempt, .max_attempts, .error] | map(tostring) | join(" ")' "$WORK/body")"
	task_has_state "${ids[0]}" succeeded || fail "the first task has not succeeded"

	expect "the signup's row" "${ids[0]}|ada@example.org|Ada" \
		"$(sqlite3 -readonly "$RUN/signups.db" 'SELECT task_id, email, name FROM signups')"
	expect "mails" 1 "$(find "$RUN/mail/new" -type f | wc -l)"
	mail=$(find "$RUN/mail/new" -type f)
	tr -d '\r' <"$mail" >"$WORK/mail"
	expect_mail_headers "$WORK/mail"
	# In their order.
	expect "began before the other ended" 1 "$(sql "SELECT a.ended_ms <= b.started_ms FROM task a, task b
		WHERE a.handler = 'record_signup' AND b.handler = 'send_email_notification'")"
	stop_run kill -TERM "$SUPERVISOR"
	expect_nothing_left
}

expect_mail_headers() { # FILE
	local headers
	headers=$(sed '/^$/q' "$1")
	expect_match "To" $'(^|\n)To: "?Ada"? <ada@example\\.org>(\n|$)' "$headers"
	expect_match "Subject" $'(^|\n)Subject: Welcome, Ada(\n|$)' "$headers"
	expect_match "From" $'(^|\n)From: .*@' "$headers"
	expect_match "Date" $'(^|\n)Date: (Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}' "$headers"
	expect_match "Message-ID" $'(^|\n)Message-ID: <[^@<> ]+@[^@<> ]+>(\n|$)' "$headers"
	expect_match "Content-Type" $'(^|\n)Content-Type: text/plain; charset="?(UTF|utf)-8"?' "$headers"
	expect "headers that stand twice" 0 "$(sed '/^$/q' "$1" | grep -oE '^[A-Za-z-]+:' | sort | uniq -d | wc -l)"
}

answers() { # WHAT STATUS PATH CURL_OPTION...
	local what=$1 status=$2
	shift 2
	request "$@"
	expect "$what" "$status" "$STATUS"
	[ "$STATUS" -lt 400 ] || jq -e .detail "$WORK/body" >/dev/null || fail "$what: no detail in $(cat "$WORK/body")"
}

JSON=(-H 'Content-Type: application/json')

test_errors() {
	start_run
	answers "no JSON" 400 /register "${JSON[@]}" -d '{"email":'
	answers "not an object" 422 /register "${JSON[@]}" -d '[1]'
	answers "nothing there" 404 /nowhere
	answers "nothing below" 404 /register/more
	answers "unknown task" 404 /tasks/01890000-0000-7000-8000-000000000000
	answers "no id" 422 /tasks/17
	answers "GET of what takes POST" 405 /register
	expect "Allow" "POST, OPTIONS" "$(header Allow)"
	answers "PUT of a task" 405 /tasks/01890000-0000-7000-8000-000000000000 -X PUT -d ''
	expect "Allow" "GET, HEAD, DELETE, OPTIONS" "$(header Allow)"
	answers "what nginx refuses by itself" 405 /register -X TRACE
	expect "Allow" "GET, HEAD, POST, DELETE, OPTIONS" "$(header Allow)"
	answers "another type" 415 /register -H 'Content-Type: text/plain' -d "$ADA"
	answers "no type" 415 /register -H 'Content-Type:' -d "$ADA"
	answers "two faults" 422 /register "${JSON[@]}" -d '{"email":"nobody","name":""}'
	expect "both are named" "email name" "$(jq -r '.detail[].loc[1]' "$WORK/body" | paste -sd' ')"
	answers "fields missing" 422 /register "${JSON[@]}" -d '{}'
	expect "both are named" "email name" "$(jq -r '.detail[].loc[1]' "$WORK/body" | paste -sd' ')"
	answers "wrong types" 422 /register "${JSON[@]}" -d '{"email":1,"name":null}'
	expect "both are named" "email name" "$(jq -r '.detail[].loc[1]' "$WORK/body" | paste -sd' ')"
	answers "a header in the name" 422 /register "${JSON[@]}" -d '{"email":"a@example.org","name":"A\r\nBcc: b@example.org"}'
	head -c 1100000 /dev/zero | tr '\0' ' ' >"$WORK/large"
	answers "too large for nginx" 413 /register "${JSON[@]}" --data-binary "@$WORK/large"
	expect "tasks of all these" 0 "$(counter task_accepted)"
	answers "health" 200 /healthz
	expect "health says" "ok ok alive" "$(jq -r '[.status, .ring, .taskd] | join(" ")' "$WORK/body")"
	stop_run kill -TERM "$SUPERVISOR"
	expect_nothing_left
}

health_is() { # STATUS
	request /healthz
	[ "$STATUS" = "$1" ]
}

# taskd stopped: it looks as if it hung. The ring fills, and then requests are refused, not lost.
test_full_ring() {
	local accepted=0 pid
	start_run
	for pid in $TASKD $(pids_of dispatcher); do
		kill -STOP "$pid"
	done
	wait_until 15 health_is 503
	expect "Retry-After" 1 "$(header Retry-After)"
	expect "health says" "failing ok not alive" "$(jq -r '[.status, .ring, .taskd] | join(" ")' "$WORK/body")"
	"$CHECKOUT/tests/system/fill.py" "http://127.0.0.1:$PORT/register" "$WORK/ids" >"$WORK/fill" || fail "$(cat "$WORK/fill")"
	accepted=$(($(wc -l <"$WORK/ids") / 2))
	note "the ring took $accepted requests before it answered 503"
	answers "a full ring" 503 /register "${JSON[@]}" -d "$ADA"
	expect "Retry-After" 1 "$(header Retry-After)"
	for pid in $TASKD $(pids_of dispatcher); do
		kill -CONT "$pid"
	done
	wait_until 15 health_is 200
	await -t 60 task_succeeded=$((2 * accepted))
	answers "room again" 202 /register "${JSON[@]}" -d "$ADA"
	stop_run kill -TERM "$SUPERVISOR"
	expect_nothing_left
}

# The ring is removed under the responders: they make do without it, and taskd makes a new one.
test_no_taskd() {
	start_run
	kill -KILL "$TASKD" # the rest stops, as this is not how taskd should end
	wait_until 30 is_gone "$MAKE"
	expect_match "it says why" "taskd has ended" "$(cat "$WORK/run.log")"
	expect "status" 2 "$(wait "$MAKE" || echo $?)" # make's, of 1
	wait_until 10 no_processes_left
}

test_stop_by_interrupt() {
	start_run
	post /register "$ADA"
	expect status 202 "$STATUS"
	# As a terminal does it: to the whole group. make says "Interrupt" by its status.
	kill -INT -- "-$MAKE"
	wait_until 30 is_gone "$MAKE"
	expect "its last line" "taskring: stopped" "$(grep ^taskring: "$WORK/run.log" | tail -n 1)"
	expect_nothing_left
}

# What waits when it is stopped is done when it is started again.
test_goes_on_where_it_stopped() {
	local later queued
	start_run
	later=$(push -H send_email_notification -a "$ADA" -D 4000)
	push -H record_signup -a "$ADA" >/dev/null
	await task_succeeded=1
	queued=$(push -H no_such_handler -B 600000 -m 9)
	await task_scheduled=1 attempt_bad_arguments=1
	stop_run kill -TERM "$SUPERVISOR"
	expect_nothing_left
	expect "in the journal" "retrying scheduled succeeded" "$(sql "SELECT state FROM tasks ORDER BY state" | paste -sd' ')"
	start_run
	task_has_state "$queued" retrying || fail "$queued is $(cat "$WORK/body")"
	wait_until 15 task_has_state "$later" succeeded
	expect "mails" 1 "$(find "$RUN/mail/new" -type f | wc -l)"
	expect "rows" 3 "$(sql "SELECT count(*) FROM task")"
	stop_run kill -TERM "$SUPERVISOR"
}

test_two_instances() {
	local first_port first_make first_supervisor first_run=$RUN first_name=$NAME
	start_run
	first_port=$PORT first_make=$MAKE first_supervisor=$SUPERVISOR
	mkdir "$WORK/second"
	mv "$WORK/run.log" "$WORK/first.log"
	PORT=$(free_port) NAME=$first_name-b RUN=$WORK/second
	start_run
	post /register "$ADA"
	expect "status of the second" 202 "$STATUS"
	await task_succeeded=2
	expect "tasks of the first" 0 "$(NAME=$first_name counter task_accepted)"
	stop_run kill -TERM "$SUPERVISOR"
	PORT=$first_port
	answers "the first is still there" 200 /healthz
	# The same again is refused, whichever of the three it shares.
	NAME=$first_name RUN=$first_run MAKE=$first_make
	expect_match "the run directory" "another instance runs in" \
		"$(make -s -C "$CHECKOUT" run PORT="$(free_port)" RUN_DIR="$RUN" NAME="$NAME-b" BUILD="$BUILD" 2>&1 </dev/null || :)"
	expect_match "the port" "port $PORT is taken" \
		"$(make -s -C "$CHECKOUT" run PORT="$PORT" RUN_DIR="$WORK/third" NAME="$NAME-b" BUILD="$BUILD" 2>&1 </dev/null || :)"
	mv "$WORK/first.log" "$WORK/run.log"
	kill -TERM "$first_supervisor"
	wait_until 30 is_gone "$first_make"
	expect_nothing_left
}

# ---- kill -9 of what answers ----------------------------------------------------------------

: "${KILL_SIGNUPS:=5000}" "${KILL_SEED:=$RANDOM}"

responder_pids() {
	pgrep -f "taskring-app.*-n $NAME" || :
}

confirmed_at_least() { # IDS
	[ -e "$WORK/ids" ] && [ "$(wc -l <"$WORK/ids")" -ge "$1" ]
}

signups_over() {
	[ "$(sql "SELECT count(*) FROM task WHERE state < 4")" -eq 0 ] &&
		[ "$(sql "SELECT count(*) FROM task")" -ge "$(wc -l <"$WORK/ids")" ]
}

check_signups() { # TITLE
	wait_until 90 signups_over
	sort "$WORK/ids" >"$WORK/ids.sorted"
	sql "SELECT id FROM tasks ORDER BY id" >"$WORK/rows"
	sql "SELECT id FROM tasks WHERE state = 'succeeded' ORDER BY id" >"$WORK/succeeded"
	expect "ids given out twice" 0 "$(uniq -d "$WORK/ids.sorted" | wc -l)"
	expect "rows that stand twice" 0 "$(uniq -d "$WORK/rows" | wc -l)"
	expect "202, but not succeeded" 0 "$(comm -23 "$WORK/ids.sorted" "$WORK/succeeded" | wc -l)"
	expect "signups without a row" 0 "$(sqlite3 -readonly "$RUN/signups.db" "SELECT task_id FROM signups ORDER BY 1" |
		comm -13 - <(sql "SELECT id FROM tasks WHERE handler = 'record_signup' ORDER BY id") | wc -l)"
	note "$1: $(wc -l <"$WORK/ids") ids with a 202, $(wc -l <"$WORK/rows") rows, $(sql "SELECT count(*) FROM attempt" |
		awk -v rows="$(wc -l <"$WORK/rows")" '{ print $1 - rows }') further attempts, $(find "$RUN/mail/new" -type f | wc -l) mails; $(cat "$WORK/answers")"
}

launch_registrations() {
	"$CHECKOUT/tests/system/register.py" "http://127.0.0.1:$PORT" "$KILL_SIGNUPS" "$WORK/ids" >"$WORK/answers" 2>&1 &
	CLIENT=$!
}

test_kill_responders() {
	local victim status=0
	start_run
	launch_registrations
	for share in 1 2 3 4 5; do
		wait_until 60 confirmed_at_least $((2 * KILL_SIGNUPS * share / 7))
		victim=$(pgrep -P "$(awk '$1 == "responders" { print $2 }' "$RUN/processes")" | head -n 1)
		kill -KILL "$victim"
		wait_until 5 is_gone "$victim"
	done
	wait "$CLIENT" || status=$?
	expect "the client's exit status" 0 $status
	check_signups "5 responders killed"
	stop_run kill -TERM "$SUPERVISOR"
	expect_nothing_left
}

# Every process of the instance at once, at random moments, and started again.
test_kill_everything() {
	local round status=0
	RANDOM=$KILL_SEED
	start_run
	launch_registrations
	for round in 1 2 3; do
		wait_until 60 confirmed_at_least $((2 * KILL_SIGNUPS * (4 * round - RANDOM % 4) / 15))
		for pid in $(processes_left); do
			[ "$pid" = "$CLIENT" ] || kill -KILL "$pid" 2>/dev/null || :
		done
		wait_until 10 is_gone "$MAKE"
		start_run
	done
	wait "$CLIENT" || status=$?
	expect "the client's exit status" 0 $status
	check_signups "everything killed 3 times (KILL_SEED=$KILL_SEED)"
	stop_run kill -TERM "$SUPERVISOR"
	expect_nothing_left
}

run_tests "$@"
