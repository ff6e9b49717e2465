#!/bin/bash
# kill -9 in the middle of 10,000 tasks, or the files in /dev/shm removed by hand: every task whose
# publication was confirmed ends as succeeded, with one row in the journal. What ran more than once is
# counted and shown.
#   KILL_SEED   of the random moments (printed)   KILL_TASKS   how many tasks (10000)
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

: "${KILL_TASKS:=10000}" "${KILL_SEED:=$RANDOM}"

# Publishes them, for as long as it lives; the ids of those that were confirmed go to $WORK/ids.
launch_producer() { # [INTERVAL_US]
	# A line reaches the file before the next batch is published, so that none is missed.
	stdbuf -oL "$TOOLS/push" -n "$NAME" -c "$KILL_TASKS" -i "${1:-100}" -p -H append_id -a "{\"file\":\"$WORK/ran\"}" -m 1000 -B 1 \
		</dev/null >>"$WORK/ids" 2>>"$WORK/push.log" &
	PRODUCER=$!
}

ran_at_least() { # LINES
	[ -e "$WORK/ran" ] && [ "$(wc -l <"$WORK/ran")" -ge "$1" ]
}

all_over() {
	local live
	live=$(sql "SELECT count(*) FROM task WHERE state < 4")
	[ "$live" -eq 0 ] && [ "$(sql "SELECT count(*) FROM task")" -ge "$(sort -u "$WORK/ids" | wc -l)" ]
}

# The promise, checked from three sides: the producer's list, the journal, and what the handler did.
check_promise() { # TITLE
	local confirmed ran unique
	wait_until 90 all_over
	sort "$WORK/ids" >"$WORK/ids.sorted"
	confirmed=$(wc -l <"$WORK/ids.sorted")
	sql "SELECT id FROM tasks ORDER BY id" >"$WORK/rows"
	sql "SELECT id FROM tasks WHERE state = 'succeeded' ORDER BY id" >"$WORK/succeeded"
	expect "ids given out twice" 0 "$(uniq -d "$WORK/ids.sorted" | wc -l)"
	expect "rows that stand twice" 0 "$(uniq -d "$WORK/rows" | wc -l)"
	expect "confirmed, but not succeeded" 0 "$(comm -23 "$WORK/ids.sorted" "$WORK/succeeded" | wc -l)"
	sort -u "$WORK/ran" >"$WORK/ran.sorted"
	expect "succeeded, but never ran" 0 "$(comm -23 "$WORK/succeeded" "$WORK/ran.sorted" | wc -l)"
	# What was published and never confirmed, since its producer was killed, is allowed to be there.
	ran=$(wc -l <"$WORK/ran")
	unique=$(wc -l <"$WORK/ran.sorted")
	note "$1: $confirmed confirmed, $(wc -l <"$WORK/rows") rows, $((ran - unique)) reruns"
}

finish_producer() {
	local status=0
	wait "$PRODUCER" || status=$?
	expect "the producer's exit status" 0 $status
	expect "confirmed" "$KILL_TASKS" "$(wc -l <"$WORK/ids")"
}

test_worker() {
	local victim
	configure
	start_taskd
	launch_producer
	for share in 1 2 3 4; do
		wait_until 60 ran_at_least $((KILL_TASKS * share / 6))
		victim=$(pids_of worker | head -n 1)
		kill -KILL "$victim"
		wait_until 10 is_gone "$victim"
	done
	finish_producer
	check_promise "4 workers killed"
	expect "the dispatcher died" 0 "$(times_logged dispatcher-died)"
	stop_taskd
	expect_nothing_left
}

test_dispatcher() {
	local victim
	configure
	start_taskd
	launch_producer
	for share in 1 2 3; do
		wait_until 60 ran_at_least $((KILL_TASKS * share / 5))
		victim=$(pids_of dispatcher)
		kill -KILL "$victim"
		wait_until 10 has_logged '] ready ' $((share + 1))
	done
	finish_producer
	check_promise "3 dispatchers killed"
	stop_taskd
	expect_nothing_left
}

test_supervisor() {
	configure
	start_taskd
	launch_producer
	wait_until 60 ran_at_least $((KILL_TASKS / 3))
	kill_taskd
	start_taskd
	finish_producer
	check_promise "supervisor killed"
	stop_taskd
	expect_nothing_left
}

# All of it at once, the producer, too, at random moments.
test_everything() {
	local round pause
	RANDOM=$KILL_SEED
	configure
	: >"$WORK/ran"
	for round in 1 2 3 4 5; do
		start_taskd
		launch_producer
		pause=$((RANDOM % 400 + 20))
		sleep "$(printf '0.%03d' $pause)" # the moment of the kill; nothing is waited for
		# shellcheck disable=SC2046
		kill -KILL "$PRODUCER" "$TASKD" $(pgrep -f "$RUN/taskd.conf") 2>/dev/null || :
		wait_until 5 no_taskd_left
		wait_until 5 is_gone "$PRODUCER"
		note "round $round: killed after $pause ms, $(wc -l <"$WORK/ids") confirmed so far"
	done
	start_taskd
	check_promise "everything killed 5 times (KILL_SEED=$KILL_SEED)"
	expect_stat ring_damaged 0
	stop_taskd
	expect_nothing_left
}

# In order, too: the tasks of a batch run one after the other whatever dies between them.
test_batches_in_order() {
	local round
	RANDOM=$KILL_SEED
	configure
	: >"$WORK/ran"
	start_taskd
	"$TOOLS/push" -n "$NAME" -c $((KILL_TASKS / 2)) -b 50 -H append_id -a "{\"file\":\"$WORK/ran\"}" -m 1000 -B 1 >"$WORK/ids"
	for round in 1 2 3; do
		wait_until 60 ran_at_least $((KILL_TASKS / 2 * round / 6))
		if [ $((RANDOM % 2)) -eq 0 ]; then
			kill -KILL "$(pids_of dispatcher)"
			wait_until 10 has_logged '] ready ' $(($(times_logged '] ready ') + 1))
		else
			kill_taskd
			start_taskd
		fi
	done
	check_promise "batches in order, taskd killed 3 times (KILL_SEED=$KILL_SEED)"
	# A first run of a task never precedes the first run of the one before it in its batch.
	awk '!seen[$1]++' "$WORK/ran" >"$WORK/first"
	expect "batches out of order" 0 "$(awk 'NR == FNR { at[$1] = NR; next }
		(FNR - 1) % 50 && at[$1] < before { bad++ } { before = at[$1] } END { print bad + 0 }' "$WORK/first" "$WORK/ids")"
	stop_taskd
	expect_nothing_left
}

# ---- files of /dev/shm that somebody removes under a running taskd ---------------------------

in_shm() { # SUFFIX...
	printf '/dev/shm/%s\n' "${@/#/$NAME.}"
}

is_there() { # SUFFIX
	[ -e "/dev/shm/$NAME.$1" ]
}

push_one() {
	push -H append_id -a "{\"file\":\"$WORK/ran\"}" "$@"
}

# The producer owns a lane of the ring that is removed, and goes on; another one finds no ring, and makes one.
removed_under_a_producer() { # SUFFIX...
	local KILL_TASKS=1500
	configure
	start_taskd
	launch_producer 2000
	wait_until 60 ran_at_least $((KILL_TASKS / 10))
	# shellcheck disable=SC2046
	rm $(in_shm "$@")
	push_one >"$WORK/other"
	wait_until 10 has_logged ' file-gone '
	wait_until 10 has_logged '] ready ' 2
	finish_producer
	cat "$WORK/other" >>"$WORK/ids"
	check_promise "removed: $*"
	expect "dispatchers that ended" 1 "$(times_logged ' dispatcher-died ')"
	expect "said" 1 "$(times_logged ' file-gone ')"
	stop_taskd
	expect_nothing_left
}

test_ring_removed() {
	removed_under_a_producer ring
}

test_board_removed() {
	removed_under_a_producer board
}

test_all_files_removed() {
	removed_under_a_producer ring board wake
}

# Only the wake-up is gone: it is made anew, and nobody is disturbed.
test_wake_removed() {
	configure
	start_taskd
	push_one >"$WORK/ids"
	rm "$(in_shm wake)"
	wait_until 10 is_there wake
	wait_until 10 has_logged ' file-gone '
	wait_until 20 wakes_it
	check_promise "removed: wake"
	expect "dispatchers that ended" 0 "$(times_logged ' dispatcher-died ')"
	stop_taskd
	expect_nothing_left
}

wakes_it() {
	local before
	before=$(counter ring_wakeups)
	push_one >>"$WORK/ids"
	wait_until 10 all_over
	[ "$(counter ring_wakeups)" -gt "$before" ]
}

# What lay in the ring was accepted. Where another cannot be made it waits in the journal, and taskd tries again.
test_ring_replaced_by_something_else() {
	configure
	start_taskd
	push_one -D 1500 >"$WORK/ids"
	rm "$(in_shm ring)"
	echo "no ring" >"$(in_shm ring)"
	wait_until 10 has_logged ' file-gone '
	wait_until 10 has_logged ' cannot-start ' 2
	rm "$(in_shm ring)"
	wait_until 20 has_logged '] ready ' 2
	push_one >>"$WORK/ids"
	check_promise "the ring replaced by something else"
	stop_taskd
	expect_nothing_left
}

# The memory of the ring that was removed is all there is of them, so taskd keeps it until the journal has them.
test_ring_removed_while_the_journal_fails() {
	configure
	start_taskd
	push_one >"$WORK/ids"
	wait_until 10 all_over
	hold_journal
	push_one -c 100 -b 10 >>"$WORK/ids"
	rm "$(in_shm ring)"
	wait_until 10 has_logged ' file-gone '
	push_one >>"$WORK/ids"
	wait_until 20 has_logged ' journal-failing '
	expect "dispatchers that ended" 0 "$(times_logged ' dispatcher-died ')"
	release_journal
	wait_until 20 has_logged '] ready ' 2
	check_promise "the ring removed while the journal fails"
	stop_taskd
	expect_nothing_left
}

# A stop that has begun goes on: what was accepted meanwhile, by whoever still has the old ring, is taken along.
test_ring_removed_while_stopping() {
	local KILL_TASKS=1000000
	configure
	start_taskd
	push -H hang_deaf -t 4000 -m 1 >/dev/null
	await task_running=1
	kill -TERM "$TASKD"
	wait_until 5 has_logged '] draining '
	launch_producer 2000
	wait_until 10 test -s "$WORK/ids"
	rm "$(in_shm ring)"
	wait_until 5 has_logged ' file-gone '
	comes_back "the ring removed while taskd stopped"
}

# The stop comes before taskd has looked, and the producer is never told but by the ring itself.
test_ring_removed_and_stopped() {
	local KILL_TASKS=1000000
	configure
	start_taskd
	launch_producer 2000
	wait_until 10 test -s "$WORK/ids"
	rm "$(in_shm ring)"
	kill -TERM "$TASKD"
	comes_back "the ring removed, taskd stopped"
}

# taskd stops, in order; the producer has found or made another ring, and the next taskd takes what is in it.
comes_back() { # TITLE
	wait_until 15 is_gone "$TASKD"
	wait "$TASKD" || fail "taskd ended with status $?"
	wait_until 10 is_there ring
	kill -KILL "$PRODUCER"
	wait_until 5 is_gone "$PRODUCER"
	expect "dispatchers that ended unasked" 0 "$(times_logged ' dispatcher-died ')"
	start_taskd
	check_promise "$1"
	stop_taskd
	expect_nothing_left
}

run_tests "$@"
