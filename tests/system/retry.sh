#!/bin/bash
# Dead tasks: their files, retrying them, and how long they stay.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
. "$CHECKOUT/tests/system/lib/taskctl.sh"

in_spool() {
	ls "$RUN/spool" | sort | paste -sd' '
}

spool_is_empty() {
	[ -z "$(in_spool)" ]
}

# A task with large arguments and a file of its own that dies at its first attempt, and not at its second.
push_one_that_dies() {
	printf '{"times":1,"much":"%s"}' "$(head -c 1048576 /dev/zero | tr '\0' x)" >"$WORK/args"
	head -c 3000000 /dev/urandom >"$WORK/upload"
	push -H fail_times -A "$WORK/args" -O "$WORK/upload" -m 1
}

test_retry_after_a_restart() {
	local id
	configure
	start_taskd
	id=$(push_one_that_dies)
	wait_row "$id" dead
	expect "files of a dead task" "$id $id.file" "$(in_spool)"
	stop_taskd
	start_taskd
	expect "files after a restart" "$id $id.file" "$(in_spool)"
	cmp "$WORK/upload" "$RUN/spool/$id.file" || fail "the file is not what was uploaded"
	push -R "$id"
	wait_row "$id" succeeded
	wait_until 5 spool_is_empty
	expect attempts "1|failed|bury 2|succeeded|" \
		"$(sql "SELECT attempt, outcome, verdict FROM attempts WHERE task = '$id' ORDER BY attempt" | paste -sd' ')"
	expect_stat task_retried 1
	expect_match "a second time" "INVALID" "$("$TOOLS/push" -n "$NAME" -J "$RUN/journal.db" -R "$id" 2>&1 || :)"
	expect_stat command_refused 0
	stop_taskd
	expect_nothing_left
}

# Asked for while taskd is dead: the command waits in the ring.
test_retry_while_taskd_is_dead() {
	local id
	configure
	start_taskd
	id=$(push_one_that_dies)
	wait_row "$id" dead
	kill_taskd
	push -R "$id"
	start_taskd
	wait_row "$id" succeeded
	wait_until 5 spool_is_empty
	stop_taskd
	expect_nothing_left
}

# When retention removes a dead task, its files go, too, and nobody is shown it any more.
test_retention_takes_the_files() {
	local id
	configure 'retention { age = 2s }'
	start_taskd
	id=$(push_one_that_dies)
	wait_row "$id" dead
	expect "files of a dead task" "$id $id.file" "$(in_spool)"
	wait_until 10 spool_is_empty
	expect "its row" 0 "$(sql "SELECT count(*) FROM task")"
	wait_until 5 counts 0 --state dead
	expect_stat task_dead 1
	expect_stat task_dead_now 0
	expect_match "retrying it" "NOT_FOUND" "$("$TOOLS/push" -n "$NAME" -J "$RUN/journal.db" -R "$id" 2>&1 || :)"
	stop_taskd
	expect_nothing_left
}

# What a handler logged is in the journal, and goes with the task.
test_log_lines_are_kept() {
	local id
	configure 'retention { age = 3s }'
	start_taskd
	id=$(push -H log_lines -a '{"lines":250}')
	wait_row "$id" succeeded
	expect "lines kept" "200|250" "$(sql "SELECT count(text), max(seq) FROM task_log")"
	expect_stat log_lines 250
	expect_stat log_dropped 50
	wait_until 10 no_lines
	stop_taskd
}

no_lines() {
	[ "$(sql 'SELECT count(*) FROM task_log')" = 0 ]
}

run_tests "$@"
