#!/bin/bash
# What the dashboard asks a running instance for: figures that have really happened, also over an end of taskd.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

body() { # JQ_FILTER
	jq -r "$1" "$WORK/body"
}

shows() { # PATH JQ_FILTER EXPECTED
	request "$1"
	[ "$STATUS" = 200 ] && [ "$(body "$2")" = "$3" ]
}

test_figures() {
	local id
	start_run
	for _ in 1 2 3; do
		post /register '{"email":"ada@example.org","name":"Ada"}'
	done
	id=$(body '.tasks[1].id')
	wait_until 10 shows /stats .counters.task_succeeded 6
	expect "taskd" running "$(body .taskd.state)"
	expect "values in the buckets" 6 "$(body '[.histograms.run_ns.buckets[].count] | add')"
	expect "threads" "$(body .workers.processes)" "$(body '.workers.threads / 4')"
	wait_until 5 shows /queues '.queues[] | select(.name == "default") | "\(.accepted) \(.ended) \(.paused)"' "6 6 false"
	wait_until 5 shows /handlers '.handlers[] | select(.name == "record_signup") | "\(.started) \(.failed) \(.run.count)"' "3 0 3"
	wait_until 5 shows /workers '[.workers[] | .memory_kb > 0 and .state == "idle"] | all' true
	wait_until 5 shows /ring '"\(.records) \(.cells_used) \(.refused) \([.lanes[].live] | all)"' "6 0 0 true"

	# One task in full.
	wait_row "$id" succeeded
	request "/tasks/$id"
	expect "arguments" ada@example.org "$(body .arguments.email)"
	expect "attempts" "1 succeeded" "$(body '.attempts[] | "\(.number) \(.outcome)"')"
	expect "the other task" "record_signup succeeded" "$(body '.siblings[] | "\(.handler) \(.state)"')"
	expect_match "explanation" . "$(body .explanation)"
}

# Looking needs no answer from taskd.
test_what_runs_while_it_hangs() {
	local id
	start_run
	post /calculations '{"limit":10000000000}'
	id=$(body '.tasks[0].id')
	wait_until 5 shows /workers '[.workers[].running[] | select(.done > 0) | "\(.id) \(.handler) \(.total)"] | join(" ")' "$id count_primes 10000000000"
	wait_until 5 shows /workers '.workers[] | select(.running_count == 1) | .state' busy
	wait_until 5 shows /queues '.queues[].running' 1
	kill -STOP "$(pids_of dispatcher)"
	wait_until 10 shows /stats .taskd.state hangs
	shows /workers '.workers[].running[].id' "$id" || fail "what runs is not shown while taskd hangs: $(<"$WORK/body")"
	kill -CONT "$(pids_of dispatcher)"
	wait_until 10 shows /stats .taskd.state running
}

# What happened is still there after a restart: the last minute's row is written when taskd stops.
test_history() {
	start_run
	post /register '{"email":"ada@example.org","name":"Ada"}'
	wait_until 10 shows /stats .counters.task_succeeded 2
	stop_run kill -TERM "$SUPERVISOR"
	start_run
	wait_until 5 shows /stats/history '[.rows[].succeeded] | add' 2
	shows '/stats/history?span=hour' '[.rows[].accepted] | add' 2 || fail "no hour: $(<"$WORK/body")"
	expect "a span without rows" 0 "$(request '/stats/history?to=2026-01-01T00:00:00Z' && body '.rows | length')"
}

run_tests "$@"
