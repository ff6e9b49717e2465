#!/bin/bash
# What fails, and what becomes of it: attempts, verdicts, crashes, time-outs, cancelling, order.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# "attempt|outcome|verdict" of each attempt, in order.
attempts_of() { # ID
	sql "SELECT attempt, outcome, verdict FROM attempts WHERE task = '$1' ORDER BY attempt" | paste -sd' '
}

test_every_attempt_to_dead() {
	local id
	configure
	start_taskd
	id=$(push -H fail -m 4 -B 20)
	wait_row "$id" dead
	expect attempts "1|failed|retry 2|failed|retry 3|failed|retry 4|failed|bury" "$(attempts_of "$id")"
	expect "attempts with the message" 4 \
		"$(sql "SELECT count(*) FROM attempts WHERE task = '$id' AND message = 'failed as asked'")"
	# Each begins after the one before it has ended, and each ends after it has begun.
	expect "times that do not increase" 0 "$(sql "SELECT count(*) FROM attempt a LEFT JOIN attempt b
		ON b.task = a.task AND b.attempt = a.attempt + 1
		WHERE a.ended_ms < a.started_ms OR a.started_ms = 0 OR b.started_ms < a.ended_ms")"
	expect "what the board says" "dead fail default attempt=4/4 error=failed as asked result=" "$(push -G "$id")"
	expect_stat attempt_failed 4
	expect_stat verdict_retry 3
	expect_stat verdict_bury 1
	expect_stat task_dead 1
	expect_stat worker_died 0
	stop_taskd
	expect_nothing_left
}

test_default_backoff_is_bounded() {
	local id
	configure
	start_taskd
	# Full jitter: the k-th pause is between 0 and base * 2^(k-1).
	id=$(push -H fail -m 6 -B 40)
	wait_row "$id" dead
	expect "pauses above their bound" 0 "$(sql "SELECT count(*) FROM attempt a JOIN attempt b
		ON b.task = a.task AND b.attempt = a.attempt + 1
		WHERE b.started_ms - a.ended_ms > 40 * (1 << (a.attempt - 1)) + 500")"
	stop_taskd
}

verdict() { # HANDLER CALLBACK MAX_ATTEMPTS END ATTEMPTS
	local id
	id=$(push -H "$1" ${2:+-f "$2"} -m "$3" -B 10 -a '{"times":2}')
	wait_row "$id" "$4"
	expect "attempts of $1 with ${2:-no callback}" "$5" "$(attempts_of "$id")"
}

test_verdicts() {
	configure
	start_taskd
	verdict fail bury_it 5 dead "1|failed|bury"
	verdict fail bury 5 dead "1|failed|bury"
	verdict fail discard_it 5 cancelled "1|failed|discard"
	verdict fail discard 5 cancelled "1|failed|discard"
	verdict fail retry_twice 1 dead "1|failed|retry 2|failed|retry 3|failed|bury"
	verdict fail_times retry_soon 1 succeeded "1|failed|retry 2|failed|retry 3|succeeded|"
	verdict fail_then_discard "" 5 cancelled "1|failed|discard"
	verdict fail_then_discard bury_it 5 dead "1|failed|bury"
	verdict fail default 2 dead "1|failed|retry 2|failed|bury"
	verdict fail_permanently "" 5 dead "1|failed|bury"
	verdict fail_silently "" 1 dead "1|failed|bury"
	verdict no_outcome "" 5 dead "1|failed|bury"
	verdict fail describe_failure 1 dead "1|failed|bury"
	wait_until 5 has_logged 'kind=returned permanent=0 attempt=1/1'
	expect_stat verdict_bury 9
	expect_stat verdict_discard 3
	expect_stat verdict_retry 5
	expect_stat callback_failed 0
	stop_taskd
}

test_verdict_enqueue() {
	local id other
	configure
	start_taskd
	id=$(push -H fail -f enqueue_other -q errands)
	await task_succeeded=1 task_dead=1
	wait_row "$id" dead
	expect attempts "1|failed|enqueue" "$(attempts_of "$id")"
	other=$(sql "SELECT handler, queue, state, args FROM tasks WHERE id <> '$id'")
	expect "the other task" "succeed|errands|succeeded|{\"failed\":\"$id\",\"attempt\":1}" "$other"
	expect_stat verdict_enqueue 1
	stop_taskd
}

# The default decides in the place of a callback that cannot.
test_callbacks_that_fail() {
	configure
	start_taskd
	verdict fail callback_crash 2 dead "1|failed|retry (default) 2|failed|bury (default)"
	expect_stat callback_failed 2
	verdict fail callback_hang 1 dead "1|failed|bury (default)"
	expect_stat callback_failed 3
	verdict fail nobody 2 dead "1|failed|retry (default) 2|failed|bury (default)"
	expect_stat callback_failed 5
	verdict fail no_verdict 1 dead "1|failed|bury (default)"
	expect_stat callback_failed 6
	verdict fail enqueue_wrong 1 dead "1|failed|bury (default)"
	expect_stat callback_failed 7
	verdict fail_then_crash "" 1 dead "1|failed|bury (default)"
	expect_stat callback_failed 8
	expect_stat verdict_enqueue 0
	expect "failures logged" 8 "$(times_logged ' callback-failed ')"
	await worker_alive=2
	stop_taskd
}

crashed() { # HANDLER SIGNAL EXIT_CODE
	local id
	id=$(push -H "$1" -m 1)
	wait_row "$id" dead
	expect "the attempt of $1" "crashed|$2|$3|1" "$(sql "SELECT outcome, signal, exit_code, peak_memory_kb > 1000
		FROM attempts WHERE task = '$id'")"
}

test_crashes() {
	configure '' 'pool default { processes = 1 }'
	start_taskd
	crashed crash 11 0
	crashed exit 0 3
	crashed abort 6 0
	crashed exit_thread 0 70
	expect_stat attempt_crashed 4
	expect_stat worker_died 4
	push -H succeed >/dev/null
	await task_succeeded=1 worker_alive=1
	stop_taskd
}

# A crash costs what the process was running, and nothing of what it was only given.
test_crash_costs_only_what_ran() {
	configure '' 'pool default { processes = 1 threads = 1 }'
	start_taskd
	push -c 200 -p >/dev/null # so that noop is known to be quick and is pushed ahead
	await task_succeeded=200
	push -H crash -m 1 >/dev/null
	push -c 100 -b 100 -p >/dev/null
	await task_succeeded=300 task_dead=1
	expect "attempts of noop that did not succeed" 0 \
		"$(sql "SELECT count(*) FROM attempt a JOIN task t ON t.id = a.task WHERE t.handler = 'noop' AND a.outcome <> 'succeeded'")"
	stop_taskd
}

test_worker_killed_by_somebody() {
	local id
	configure '' 'pool default { processes = 1 }'
	start_taskd
	id=$(push -H sleep -a '{"ms":60000}' -m 1)
	wait_state "$id" running
	kill -KILL "$(pids_of worker)"
	wait_row "$id" dead
	expect "the attempt" "killed|9|bury" "$(sql "SELECT outcome, signal, verdict FROM attempts WHERE task = '$id'")"
	expect_stat attempt_killed 1
	stop_taskd
}

test_timeouts() {
	local id
	configure
	start_taskd
	id=$(push -H hang_deaf -t 300 -m 2 -B 10)
	wait_row "$id" dead
	expect "attempts" "1|timeout|retry 2|timeout|bury" "$(attempts_of "$id")"
	expect "attempts of another length" 0 "$(sql "SELECT count(*) FROM attempt
		WHERE ended_ms - started_ms NOT BETWEEN 299 AND 300 + 1500 * $SLOWNESS")"
	expect_stat attempt_timeout 2
	expect_stat attempt_crashed 0
	expect_stat worker_died 0 # they were killed on purpose
	id=$(push -H hang -T 100 -t 20000 -m 1)
	wait_row "$id" dead
	expect "told softly" "failed|out of time" "$(sql "SELECT outcome, message FROM attempts WHERE task = '$id'")"
	id=$(push -H hang -t 1000 -m 1)
	wait_row "$id" dead
	expect "told before the hard one" "failed|out of time" \
		"$(sql "SELECT outcome, message FROM attempts WHERE task = '$id'")"
	stop_taskd
}

# The time-out of one task costs its neighbours in the process no attempt.
test_timeout_spares_neighbours() {
	local id
	configure '' 'pool default { processes = 1 threads = 2 }'
	start_taskd
	id=$(push -H sleep -a '{"ms":1200}' -m 1)
	wait_state "$id" running
	push -H hang_deaf -t 300 -m 1 >/dev/null
	wait_row "$id" succeeded
	expect attempts "1|interrupted| 2|succeeded|" "$(attempts_of "$id")"
	expect_stat attempt_rerun 1
	stop_taskd
}

test_bad_arguments() {
	local id
	configure
	start_taskd
	id=$(push -H succeed -a '{"never":' -m 5)
	wait_row "$id" dead
	expect_match "not JSON" "^1\|bad arguments\|the arguments are .*\|bury$" \
		"$(sql "SELECT attempt, outcome, message, verdict FROM attempts WHERE task = '$id'")"
	id=$(push -H nobody -m 2 -B 10)
	wait_row "$id" dead
	expect "no such handler" "1|bad arguments|retry 2|bad arguments|bury" "$(attempts_of "$id")"
	expect "its message" 'no handler named "nobody"' "$(sql "SELECT error FROM tasks WHERE id = '$id'")"
	expect_stat attempt_bad_arguments 3
	stop_taskd
}

test_snooze() {
	local id
	configure
	start_taskd
	id=$(push -H snooze -a '{"ms":30}' -m 1)
	await attempt_snoozed+4
	push -C "$id"
	wait_row "$id" cancelled
	expect "neither attempt nor failure" "0|0" "$(sql "SELECT attempt, failures FROM task")"
	expect_stat attempt_failed 0
	id=$(push -H snooze -a '{"ms":0}') # at once
	await attempt_snoozed+100
	push -C "$id"
	wait_row "$id" cancelled
	expect "the dispatcher died" 0 "$(times_logged dispatcher-died)"
	stop_taskd
}

test_expired() {
	local id
	configure '' 'pool default { processes = 1 threads = 1 }'
	start_taskd
	push -H sleep -a '{"ms":400}' >/dev/null
	await task_running=1
	id=$(push -H append_id -a "{\"file\":\"$WORK/ran\"}" -x 100)
	wait_row "$id" expired
	expect "it ran" no "$([ -e "$WORK/ran" ] && echo yes || echo no)"
	expect "attempts" "" "$(attempts_of "$id")"
	expect_stat task_expired 1
	stop_taskd
}

test_delayed() {
	local id
	configure
	start_taskd
	id=$(push -H succeed -D 400)
	wait_state "$id" scheduled
	expect_stat task_scheduled 1
	wait_row "$id" succeeded
	expect "it began too early or too late" 1 "$(sql "SELECT started_ms - created_ns / 1000000
		BETWEEN 400 AND 400 + 1000 * $SLOWNESS FROM task")"
	expect_stat task_scheduled 0
	stop_taskd
}

test_cancel_waiting() {
	local later queued
	configure '' 'pool default { processes = 1 threads = 1 }'
	start_taskd
	later=$(push -H append_id -a "{\"file\":\"$WORK/ran\"}" -D 600)
	push -H sleep -a '{"ms":500}' >/dev/null
	await task_running=1
	queued=$(push -H append_id -a "{\"file\":\"$WORK/ran\"}")
	wait_state "$queued" queued
	push -C "$later"
	push -C "$queued"
	wait_row "$later" cancelled
	wait_row "$queued" cancelled
	expect "why" "cancelled on demand" "$(sql "SELECT DISTINCT error FROM tasks WHERE state = 'cancelled'")"
	push -H succeed -D 300 >/dev/null
	await task_succeeded=2 # the sleeping one and the last one: by now both would have run
	expect "it ran" no "$([ -e "$WORK/ran" ] && echo yes || echo no)"
	stop_taskd
}

test_cancel_running() {
	local id
	configure
	start_taskd
	id=$(push -H sleep -a '{"ms":60000}')
	wait_state "$id" running
	push -C "$id"
	wait_row "$id" cancelled 5
	expect "how it ended" "failed|cancelled" "$(sql "SELECT outcome, message FROM attempts WHERE task = '$id'")"
	# One that does not listen is cancelled when it ends, however that is, and does not start again.
	id=$(push -H hang_deaf -t 600 -m 5)
	wait_state "$id" running
	push -C "$id"
	wait_row "$id" cancelled
	expect "attempts" 1 "$(sql "SELECT count(*) FROM attempts WHERE task = '$id'")"
	push -C 01890000-0000-7000-8000-000000000000 # nobody's; nothing happens
	push -H succeed >/dev/null
	await task_succeeded=1 task_cancelled=2
	stop_taskd
}

test_order_of_a_batch() {
	configure '' 'pool default { processes = 2 threads = 4 }'
	start_taskd
	push -c 40 -b 40 -H append_id -a "{\"file\":\"$WORK/ran\"}" >"$WORK/ids"
	await task_succeeded=40
	cmp -s "$WORK/ids" "$WORK/ran" || fail "they did not run in their order"
	# Another request's tasks do not wait for them.
	push -c 2 -b 2 -H sleep -a '{"ms":300}' >/dev/null
	push -c 3 -b 3 -p -H sleep -a '{"ms":100}' >/dev/null
	await task_running+4
	await task_succeeded=45
	stop_taskd
}

test_failure_cancels_the_rest_of_a_batch() {
	local ids
	configure
	start_taskd
	mapfile -t ids < <(push -c 4 -b 4 -H fail_permanently)
	wait_row "${ids[3]}" cancelled
	expect "their states" "dead cancelled cancelled cancelled" \
		"$(sql "SELECT state FROM tasks ORDER BY id" | paste -sd' ')"
	expect "why" "the task before it in its batch did not succeed" \
		"$(sql "SELECT DISTINCT error FROM tasks WHERE state = 'cancelled'")"
	expect "attempts" 1 "$(sql "SELECT count(*) FROM attempts")"
	# Retries keep the order.
	push -c 3 -b 3 -H fail_times -a '{"times":2}' -B 10 >"$WORK/ids"
	await task_succeeded=3
	expect "attempts that overlap" 0 "$(sql "SELECT count(*) FROM attempt a JOIN attempt b ON a.task < b.task
		WHERE b.started_ms < a.ended_ms AND a.task IN (SELECT id FROM task WHERE handler = 'fail_times')")"
	# Cancelling one cancels what follows.
	mapfile -t ids < <(push -c 3 -b 3 -H sleep -a '{"ms":60000}')
	wait_state "${ids[0]}" running
	push -C "${ids[1]}"
	wait_row "${ids[2]}" cancelled
	push -C "${ids[0]}"
	wait_row "${ids[0]}" cancelled
	stop_taskd
}

run_tests "$@"
