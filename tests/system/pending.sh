#!/bin/bash
# Asynchronous tasks: many at once on one thread, and what a death, a time-out, a cancelling and the
# end of taskd do to them.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

ROOMY='pool default { processes = 1 threads = 1 }'

# "attempt|outcome" of each attempt, in order.
attempts_of() { # ID
	sql "SELECT attempt, outcome FROM attempts WHERE task = '$1' ORDER BY attempt" | paste -sd' '
}

# A thousand calls of two seconds take two seconds and a bit, on one thread.
test_a_thousand_at_once() {
	local began
	configure '' "$ROOMY"
	start_taskd
	push -c 1000 -b 100 -p -H wait -a '{"ms":2000}' >/dev/null
	await task_running=1000
	# The thread is free: another handler's task runs meanwhile.
	push -H succeed >/dev/null
	await task_succeeded=1
	expect_stat task_running 1000
	await task_succeeded=1001 task_running=0
	stop_taskd
	expect "attempts" 1001 "$(sql "SELECT count(*) FROM attempt")"
	began=$(sql "SELECT max(a.started_ms) - min(a.started_ms) FROM attempt a JOIN task t ON t.id = a.task
		WHERE t.handler = 'wait'")
	note "1000 pending tasks on one thread: the last one started $began ms after the first"
	[ "$began" -lt $((1000 * SLOWNESS)) ] || fail "the last one started $began ms after the first"
	expect_nothing_left
}

test_concurrency() {
	configure '' 'pool default { processes = 1 threads = 1 concurrency = 3 }'
	start_taskd
	push -c 9 -p -H wait -a '{"ms":200}' >/dev/null
	await task_succeeded=9
	expect "more at once than allowed" 0 "$(sql "SELECT count(*) FROM attempt a WHERE 3 < (SELECT count(*)
		FROM attempt b WHERE b.started_ms <= a.started_ms AND b.ended_ms > a.started_ms)")"
	stop_taskd
}

# A crash costs all of them their attempt; a time-out only the one that is late.
test_ends_of_workers() {
	local id late
	configure '' "$ROOMY"
	start_taskd
	push -c 20 -p -H wait_deaf -a '{"ms":400}' -B 10 -m 2 >"$WORK/ids"
	await task_running=20
	push -H crash -m 1 >/dev/null
	await task_succeeded=20 task_dead=1
	while read -r id; do
		wait_row "$id" succeeded
		expect "attempts" "1|crashed 2|succeeded" "$(attempts_of "$id")"
	done <"$WORK/ids"
	push -c 20 -p -H wait_deaf -a '{"ms":1500}' -m 1 >"$WORK/ids"
	await task_running=20
	late=$(push -H wait_deaf -a '{"ms":60000}' -t 300 -m 1)
	wait_row "$late" dead
	await task_succeeded=40
	while read -r id; do
		wait_row "$id" succeeded
		expect "attempts" "1|interrupted 2|succeeded" "$(attempts_of "$id")"
	done <"$WORK/ids"
	expect "the late one" "1|timeout" "$(attempts_of "$late")"
	stop_taskd
}

test_cancel() {
	local listens deaf other
	configure 'cancel_term = 300ms
		cancel_kill = 300ms' "$ROOMY"
	start_taskd
	other=$(push -H wait_deaf -a '{"ms":1500}' -m 1)
	listens=$(push -H wait -a '{"ms":60000}')
	deaf=$(push -H wait_deaf -a '{"ms":60000}')
	await task_running=3
	push -C "$listens"
	wait_row "$listens" cancelled
	expect "told" "1|failed" "$(attempts_of "$listens")"
	expect "SIGTERM was not needed" 0 "$(times_logged worker-terminated)"
	push -C "$deaf"
	wait_row "$deaf" cancelled
	expect "by SIGTERM" "cancelled on demand: its worker was ended by SIGTERM" "$(sql "SELECT error FROM tasks WHERE id = '$deaf'")"
	wait_row "$other" succeeded
	expect "the other" "1|interrupted 2|succeeded" "$(attempts_of "$other")"
	expect "attempts of the deaf one" "1|cancelled" "$(attempts_of "$deaf")"
	stop_taskd
}

# What is pending is told when taskd ends, and runs again at the next start.
test_drain() {
	configure '' "$ROOMY"
	start_taskd
	push -c 300 -p -H wait -a '{"ms":60000}' >/dev/null
	await task_running=300
	stop_taskd
	expect "their states" "300|queued|0" "$(sql "SELECT count(*), s.name, max(failures)
		FROM task JOIN state s USING (state) GROUP BY s.name")"
	start_taskd
	await task_running=300
	stop_taskd
	expect_nothing_left
}

run_tests "$@"
