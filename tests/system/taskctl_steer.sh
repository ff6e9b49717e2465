#!/bin/bash
# taskctl beside a real taskd, steering: one task, many, queues, all of it.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
. "$CHECKOUT/tests/system/lib/taskctl.sh"

test_steering() {
	local id later
	configure '' 'pool default { processes = 1 }'
	start_taskd
	add hang
	id=$OUT
	await task_running=1
	add succeed
	later=$OUT
	expect_ctl 4 "0 of 1 task: asked taskd to retry" retry "$id"
	expect_match "what it says" "$id: it is running and cannot be retried" "$ERR"
	expect_ctl 0 "1 of 1 task: asked taskd to discard" discard "$later"
	wait_row "$later" cancelled
	add succeed --delay 1h
	later=$OUT
	wait_row "$later" scheduled
	expect_ctl 0 "1 of 1 task: asked taskd to run" run "$later"
	wait_row "$later" queued
	ctl cancel "$later" "$id" $NOBODY # in this order: the worker is not free before
	expect "status where one of three is not there" 3 "$STATUS"
	expect "the counts" "2 of 2 tasks: asked taskd to cancel" "$OUT"
	wait_row "$later" cancelled
	wait_row "$id" cancelled 20
	for command in cancel retry discard run; do
		ctl $command "$id"
		expect "status of $command of what has ended" 4 "$STATUS"
		expect_match "what it says" "$id: it is cancelled and cannot be" "$ERR"
		expect_ctl 4 '{"matched":1,"asked":0,"dry_run":false}' $command --json "$id"
	done
	expect_refusal 2 "which" cancel
	expect_refusal 2 "either" cancel --all "$id"
	expect_ctl 4 "0 of 0 tasks: asked taskd to retry" retry --state running
	expect_match "what it says" "a task in such a state cannot be retried" "$ERR"
	stop_taskd
}

# All that match, a page at a time; trying it changes nothing.
test_many_dead() {
	local before
	configure
	start_taskd
	"$TOOLS/push" -n "$NAME" -c 1200 -b 100 -p -s -H fail_times -m 1 >/dev/null
	"$TOOLS/push" -n "$NAME" -c 7 -b 7 -p -s -H fail_permanently -m 1 >/dev/null
	await task_dead=1207
	wait_until 5 counts 1200 --state dead --handler fail_times
	before=$(journal_now)
	for command in retry cancel discard run purge; do
		ctl $command --all --dry-run
		expect "status of $command --dry-run" 0 "$STATUS"
		expect_match "what it prints" "^(1207|0) tasks would be " "$OUT"
	done
	expect_ctl 0 "1200 tasks would be retried" retry --state dead --handler fail_times --dry-run
	expect_ctl 0 '{"matched":10,"asked":0,"dry_run":true}' retry --handler fail_times --dry-run --limit 10 --json
	expect "after trying" "$before" "$(journal_now)"
	expect_stat task_retried 0
	expect_ctl 0 "1200 of 1200 tasks: asked taskd to retry" retry --state dead --handler fail_times
	await task_succeeded=1200
	expect_stat task_retried 1200
	ctl list --handler fail_times --limit 1
	expect_match "a second attempt, where one was allowed at first" " fail_times +default +2 " "$OUT"
	expect_ctl 0 "3 of 3 tasks: asked taskd to purge" purge --handler fail_permanently -L 3
	wait_until 5 counts 4 --handler fail_permanently
	# Ids from another command.
	ctl list --json --state dead
	jq -r .id <"$WORK/out" >"$WORK/ids"
	INPUT=$WORK/ids
	expect_ctl 0 "4 of 4 tasks: asked taskd to discard" discard -
	# shellcheck disable=SC2034 # read by lib/taskctl.sh
	INPUT=
	wait_until 5 counts 4 --state cancelled
	expect_ctl 0 "0 of 0 tasks: asked taskd to purge" purge --older-than 1h
	expect_ctl 0 "1204 of 1204 tasks: asked taskd to purge" purge --all
	wait_until 10 counts 0
	expect "rows" "0|0" "$(sql "SELECT (SELECT count(*) FROM task), (SELECT count(*) FROM attempt)")"
	stop_taskd
	expect_nothing_left
}

# On a terminal it asks first.
test_confirmation() {
	configure
	start_taskd
	push -c 3 -p -H fail_permanently -m 1 >/dev/null
	await task_dead=3
	wait_until 5 counts 3 --state dead
	cat >"$WORK/answer.py" <<-'END'
		import os, pty, sys
		pid, terminal = pty.fork()
		if pid == 0:
		    os.execv(sys.argv[2], sys.argv[2:])
		said = b''
		while b'[y/N]' not in said:
		    said += os.read(terminal, 1000)
		os.write(terminal, sys.argv[1].encode() + b'\n')
		try:
		    while more := os.read(terminal, 1000):
		        said += more
		except OSError:
		    pass
		print(said.decode().replace('\r', ''))
		sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
	END
	answer() { # YES_OR_NO
		STATUS=0
		OUT=$(/usr/bin/python3 "$WORK/answer.py" "$1" "$BUILD/taskctl" discard -n "$NAME" -J "$RUN/journal.db" --state dead) || STATUS=$?
	}
	answer n
	expect "status after no" 1 "$STATUS"
	expect_match "what it asks" "discard 3 tasks\? \[y/N\]" "$OUT"
	expect_stat task_discarded 0
	answer y
	expect "status after yes" 0 "$STATUS"
	expect_match "its counts" "3 of 3 tasks: asked" "$OUT"
	await task_discarded=3
	stop_taskd
}

would_pause() { # PATTERN
	ctl pause mail --dry-run
	[[ $OUT =~ $1 ]]
}

test_queues() {
	configure
	start_taskd
	expect_ctl 0 "2 of 2 queues: asked taskd to pause" pause mail reports
	await queues_paused=2
	add succeed --queue mail
	await task_waiting=1
	ctl explain "$OUT"
	expect_match "why" "paused" "$OUT"
	expect_ctl 0 '{"asked":1}' resume mail --json
	await task_succeeded=1
	expect_ctl 2 "0 of 1 queue: asked taskd to pause" pause 'no/name'
	# What would be done.
	add succeed --queue reports
	add succeed --queue mail --delay 1h
	await task_waiting=1 task_scheduled=1
	wait_until 5 would_pause "mail would be paused: .* 1 scheduled" # the board shows it after the others
	expect_ctl 0 "mail would be paused: 0 waiting, 0 running, 1 scheduled, 0 retrying
reports is paused already: 1 waiting, 0 running, 0 scheduled, 0 retrying
unheard.of would be paused: 0 waiting, 0 running, 0 scheduled, 0 retrying" pause mail reports unheard.of --dry-run
	expect_ctl 0 "reports would be resumed: 1 waiting, 0 running, 0 scheduled, 0 retrying
unheard.of is not paused: 0 waiting, 0 running, 0 scheduled, 0 retrying" resume reports unheard.of --dry-run
	expect_ctl 0 '{"queue":"mail","paused":false,"waiting":0,"running":0,"scheduled":1,"retrying":0,"dry_run":true}' pause mail --dry-run --json
	expect_refusal 2 "no queue can have that name" pause 'no/name' --dry-run
	expect_stat queues_paused 1
	expect "rows of paused queues" reports "$(sql "SELECT name FROM queue")"
	stop_taskd
	expect_refusal 3 "the board does not exist" pause reports --dry-run
}

has_waited() { # PID: it has slept so often that it looks again and again
	[ "$(awk '/^voluntary_ctxt_switches/ { print $2 }' "/proc/$1/status")" -gt 20 ]
}

# While taskd is dead its ring has no lane for whoever comes: that is waited for, and said.
test_no_room() {
	local id asking
	configure 'ring { lanes = 2 }'
	start_taskd
	add noop --delay 1h
	id=$OUT
	wait_row "$id" scheduled
	kill -KILL "$TASKD"
	wait_until 5 is_gone "$TASKD"
	while "$TOOLS/push" -n "$NAME" -F -H noop >/dev/null 2>&1; do :; done
	for command in "pause mail" "run $id" "cancel --state scheduled" "push noop"; do
		# shellcheck disable=SC2086
		ctl $command --timeout 50ms
		expect "status of $command without room" 5 "$STATUS"
		expect_match "what it says" "every lane of the ring belongs to another producer" "$ERR"
	done
	"$BUILD/taskctl" pause mail -n "$NAME" --timeout 60s >"$WORK/said" 2>&1 &
	asking=$!
	wait_until 10 has_waited $asking
	start_taskd
	wait $asking || fail "it was not waited for: $(cat "$WORK/said")"
	await queues_paused=1
	stop_taskd
}

# It waits for what runs, and says when that takes too long.
test_drain() {
	local id
	configure
	start_taskd
	add append_id "{\"file\":\"$WORK/ran\",\"ms\":1000}" # it heeds nobody
	id=$OUT
	wait_state "$id" running
	expect_refusal 5 "still draining" drain --timeout 50ms
	expect_ctl 0 '{"stopped":true}' drain --json
	expect "what ran" succeeded "$(state_of "$id")"
	wait "$TASKD"
}

run_tests "$@"
