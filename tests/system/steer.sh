#!/bin/bash
# Steering a whole instance: pausing a queue over ends of taskd of all kinds, resuming, running now, discarding; what
# is said of a task, and what of its arguments.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

is_paused() { # QUEUE
	[ "$(sql "SELECT count(*) FROM queue WHERE paused AND name = '$1'")" = 1 ]
}

explains() { # ID PATTERN
	push -E "$1" | grep -qE -- "$2"
}

all_succeeded() {
	[ "$(sql 'SELECT count(*), min(state), max(state) FROM task')" = '20001|4|4' ]
}

# Nothing of it starts: after a stop in order, a kill of the dispatcher, and a kill of all.
test_pause_over_all_ends() {
	local id other
	configure
	start_taskd
	push -P mails
	await queues_paused=1
	id=$(push -q mails)
	wait_until 5 explains "$id" 'Its queue, mails, is paused'
	stop_taskd
	start_taskd
	expect_stat queues_paused 1
	kill -KILL "$(pids_of dispatcher)"
	other=$(push) # of another queue: it shows that the new dispatcher gives out
	wait_row "$other" succeeded
	expect_stat queues_paused 1
	kill_taskd
	start_taskd
	other=$(push)
	wait_row "$other" succeeded
	expect "the paused one" "queued|0" "$(sql "SELECT state, attempt FROM tasks WHERE id = '$id'")"
	expect "attempts of it" 0 "$(sql "SELECT count(*) FROM attempts WHERE task = '$id'")"
	push -U mails
	wait_row "$id" succeeded
	expect "paused queues" 0 "$(sql 'SELECT count(*) FROM queue')"
	stop_taskd
	expect_nothing_left
}

# Asked for while taskd is dead, before the task that it is about: the commands wait in the ring.
test_pause_while_taskd_is_dead() {
	local id
	configure
	start_taskd
	kill_taskd
	id=$(push -q mails)
	push -P mails
	start_taskd
	await queues_paused=1
	wait_until 5 is_paused mails
	wait_row "$id" queued
	expect "the paused one" "queued|0" "$(sql "SELECT state, attempt FROM tasks WHERE id = '$id'")"
	push -U mails
	wait_row "$id" succeeded
	stop_taskd
	expect_nothing_left
}

# A stream of tasks, paused and killed at any time: the journal and what has started agree.
test_pause_in_a_stream() {
	local started pusher
	configure
	start_taskd
	push -c 20000 -p -s -i 20 >/dev/null &
	pusher=$!
	await task_succeeded+1000
	push -P default
	await queues_paused=1
	await task_running=0
	wait "$pusher"
	started=$("$BUILD/taskstat" -1 -f attempt_started -n "$NAME" | awk '{print $2}')
	kill -KILL "$(pids_of dispatcher)"
	push -q other -H noop >/dev/null
	await -t 30 attempt_started=$((started + 1)) task_waiting+1
	push -U default
	await -t 60 task_waiting=0 task_running=0
	wait_until 10 all_succeeded
	stop_taskd
	expect_nothing_left
}

test_run_now_and_discard() {
	local later gone dead
	configure
	start_taskd
	later=$(push -D 3600000)
	gone=$(push -D 3600000)
	wait_row "$later" scheduled
	wait_row "$gone" scheduled
	expect_match "why it waits" 'It is not due until 20' "$(push -E "$later")"
	push -N "$later"
	wait_row "$later" succeeded
	push -X "$gone"
	wait_row "$gone" cancelled
	expect_match "a second time" INVALID "$("$TOOLS/push" -n "$NAME" -J "$RUN/journal.db" -X "$gone" 2>&1 || :)"
	dead=$(push -H fail_permanently)
	wait_row "$dead" dead
	expect_match "what became of it" '1=failed It has failed for good' "$(push -E "$dead")"
	push -X "$dead"
	wait_row "$dead" cancelled
	expect_stat task_hurried 1
	expect_stat task_discarded 2
	stop_taskd
	expect_nothing_left
}

# While taskd lives, and from the board that it leaves when it is killed.
test_secrets() {
	local id
	configure
	start_taskd
	id=$(push -H keep_secret -a '{"user":"ada","password":"hunter2","token":[1,2]}')
	wait_row "$id" succeeded
	expect "arguments" 'args={"user":"ada","password":"***","token":"***"} 1=succeeded It has succeeded.' "$(push -E "$id")"
	kill_taskd
	expect "arguments" 'args={"user":"ada","password":"***","token":"***"} 1=succeeded It has succeeded.' "$(push -E "$id")"
	start_taskd
	stop_taskd
	expect_nothing_left
}

# What happened is in the journal when taskd has ended, without waiting for the minute's end.
test_history() {
	configure
	start_taskd
	push -c 10 -p >/dev/null
	await task_succeeded=10
	stop_taskd
	expect "the hour" "10|10|10" "$(sql 'SELECT sum(accepted), sum(succeeded), sum(started) FROM history WHERE span = 1')"
	start_taskd
	push -c 5 -p >/dev/null
	await task_succeeded+5
	stop_taskd
	expect "the minutes" "15|15" "$(sql 'SELECT sum(accepted), sum(succeeded) FROM history WHERE span = 0')"
	expect_nothing_left
}

run_tests "$@"
