#!/bin/bash
# Cancelling: a task that waits never runs; one that runs is told, then its worker gets SIGTERM, then
# SIGKILL; and a cancelled task never starts again, wherever taskd was killed in between.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# "outcome|message" of each attempt, in order, and the task's error.
attempts_of() { # ID
	sql "SELECT outcome, message FROM attempts WHERE task = '$1' ORDER BY attempt" | paste -sd' '
}

error_of() { # ID
	sql "SELECT error FROM tasks WHERE id = '$1'"
}

starts_of() { # ID: how often its handler was begun
	cat "$WORK/ran" 2>/dev/null | grep -c "$1" || :
}

marking() { # HANDLER [PUSH_OPTION...]: pushes it, and waits until it has begun; ID
	ID=$(push -H "$1" -a "{\"file\":\"$WORK/ran\"}" "${@:2}")
	wait_until 15 has_begun "$ID"
	wait_state "$ID" running
}

has_begun() { # ID
	[ "$(starts_of "$1")" -ge 1 ]
}

expect_once() { # ID
	expect "how often $1 was begun" 1 "$(starts_of "$1")"
}

hurry='cancel_term = 200ms
		cancel_kill = 200ms'

# From the cancelling to the end: told, no SIGTERM; SIGTERM at its time; SIGKILL at its time.
test_steps() {
	local neighbour
	configure "$hurry" 'pool default { processes = 1 threads = 2 }'
	start_taskd

	marking listen_and_end
	push -C "$ID"
	wait_row "$ID" cancelled
	expect "when told" "failed|told to" "$(attempts_of "$ID")"
	expect "its error" "cancelled on demand: it ended when it was told" "$(error_of "$ID")"
	expect "SIGTERM was not needed" 0 "$(times_logged worker-terminated)"

	neighbour=$(push -H sleep -a '{"ms":1500}' -m 1)
	wait_state "$neighbour" running
	marking deaf
	push -C "$ID"
	wait_row "$ID" cancelled
	expect "by SIGTERM" "cancelled|cancelled on demand: its worker was ended by SIGTERM" "$(attempts_of "$ID")"
	expect_once "$ID"
	wait_row "$neighbour" succeeded
	expect "the neighbour's attempts" "interrupted| succeeded|" "$(attempts_of "$neighbour")"

	marking stubborn
	push -C "$ID"
	wait_row "$ID" cancelled
	expect "by SIGKILL" "cancelled|cancelled on demand: its worker was ended by SIGKILL" "$(attempts_of "$ID")"
	expect_once "$ID"

	marking tidy
	push -C "$ID"
	wait_row "$ID" cancelled
	expect "by its own handler for SIGTERM" "cancelled|cancelled on demand: its worker was ended by SIGTERM" \
		"$(attempts_of "$ID")"
	expect_once "$ID"

	await worker_alive=1
	expect "SIGTERM was sent" 3 "$(times_logged worker-terminated)"
	expect_stat task_cancelled 4
	expect_stat attempt_rerun 1
	expect_stat attempt_crashed 0
	expect_stat attempt_killed 0
	expect_stat worker_died 0 # they were ended on purpose
	stop_taskd
	expect_nothing_left
}

# A signal to the whole group, as from a terminal or a service manager, ends no task.
test_signals_of_others() {
	configure "$hurry" 'pool default { processes = 1 }'
	start_taskd
	marking deaf
	kill -TERM "$(pids_of worker)"
	push -H succeed -q other >/dev/null # nothing runs it yet: the one worker is busy
	expect_stat attempt_killed 0
	push -C "$ID"
	wait_row "$ID" cancelled
	expect "by ours" "cancelled|cancelled on demand: its worker was ended by SIGTERM" "$(attempts_of "$ID")"
	await task_succeeded=1
	expect_stat worker_died 0
	stop_taskd
}

# Wherever a task waits, its cancelling finds it there.
test_what_waits() {
	local running scheduled retrying blocked queued resting args
	configure "queue_window = 64" 'pool default { processes = 1 threads = 1 }'
	args="{\"file\":\"$WORK/ran\"}"
	start_taskd
	push -H succeed >/dev/null
	await task_succeeded=1
	retrying=$(push -H fail -m 5 -B 3600000)
	wait_row "$retrying" retrying
	scheduled=$(push -H append_id -a "$args" -D 3600000)
	wait_row "$scheduled" scheduled
	running=$(push -H sleep -a '{"ms":60000}')
	wait_state "$running" running
	queued=$(push -H append_id -a "$args")
	wait_state "$queued" queued
	mapfile -t blocked < <(push -c 3 -b 3 -H append_id -a "$args")
	push -c 400 -p -H append_id -a "$args" >"$WORK/resting"
	resting=$(tail -n 1 "$WORK/resting")
	wait_row "$resting" queued
	for ID in "$retrying" "$scheduled" "$queued" "${blocked[1]}" "$resting"; do
		push -C "$ID"
		wait_row "$ID" cancelled
		expect "why" "cancelled on demand" "$(error_of "$ID")"
	done
	wait_row "${blocked[2]}" cancelled # it came after it in its batch
	# Nobody reads the ring: the cancelling waits in it, behind its task.
	stop_reading
	ID=$(push -H append_id -a "$args")
	push -C "$ID"
	kill_taskd
	start_taskd
	wait_row "$ID" cancelled
	push -C "$running"
	wait_row "$running" cancelled
	await task_waiting=0 task_running=0
	for id in "$retrying" "$scheduled" "$queued" "${blocked[1]}" "${blocked[2]}" "$resting" "$ID"; do
		expect "starts of $id" 0 "$(starts_of "$id")"
	done
	expect "the others ran" 400 "$(wc -l <"$WORK/ran")"
	stop_taskd
}

stop_reading() {
	kill -STOP "$(pids_of dispatcher)"
}

# All of taskd, from one moment to the next; stopped processes, too.
# Between the cancelling and the worker's end, wherever that is: it does not start again.
test_taskd_is_killed() {
	configure 'cancel_term = 400ms
		cancel_kill = 60s' 'pool default { processes = 1 threads = 1 }'
	start_taskd

	marking stubborn # nobody has read the cancelling yet
	stop_reading
	push -C "$ID"
	kill_taskd
	start_taskd
	expect_cancelled

	marking stubborn # it was read perhaps
	push -C "$ID"
	kill_taskd
	start_taskd
	expect_cancelled

	marking stubborn # it is known, and its handler told
	push -C "$ID"
	wait_until 15 is_wanted
	kill_taskd
	start_taskd
	expect_cancelled

	marking stubborn # SIGTERM was sent
	push -C "$ID"
	wait_until 15 has_logged worker-terminated
	kill_taskd
	start_taskd
	expect_cancelled
	stop_taskd
	expect_nothing_left
}

is_wanted() {
	[ "$(sql "SELECT count(*) FROM task WHERE cancel_wanted = 1 AND state = 2")" = 1 ]
}

# One that comes later has run, so this one would have, too.
expect_cancelled() {
	local later
	wait_row "$ID" cancelled
	later=$(push -H succeed)
	wait_row "$later" succeeded
	expect_once "$ID"
	expect "its state" cancelled "$(state_of "$ID")"
}

# It was dead when it was cancelled, which so had no effect; and was retried. After a kill both are taken once more, but
# in the journal it is alive: nothing could be written since.
test_taken_twice() {
	configure
	start_taskd
	push -P default
	await queues_paused=1
	ID=$(push -H fail_permanently)
	wait_row "$ID" queued
	hold_journal
	push -U default
	wait_state "$ID" dead
	push -C "$ID"
	push -R "$ID"
	await task_dead=2
	kill_taskd
	expect "its row" queued "$(sql "SELECT state FROM tasks")"
	release_journal
	start_taskd
	wait_row "$ID" dead
	expect_stat task_cancelled 0
	stop_taskd
	expect_nothing_left
}

run_tests "$@"
