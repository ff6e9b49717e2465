#!/bin/bash
# kill -9 in the middle of 10,000 tasks: every task whose publication was confirmed ends as
# succeeded, with one row in the journal. What ran more than once is counted and shown.
#   KILL_SEED   of the random moments (printed)   KILL_TASKS   how many tasks (10000)
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

: "${KILL_TASKS:=10000}" "${KILL_SEED:=$RANDOM}"

# Publishes them, for as long as it lives; the ids of those that were confirmed go to $WORK/ids.
launch_producer() {
	# A line reaches the file before the next batch is published, so that none is missed.
	stdbuf -oL "$TOOLS/push" -n "$NAME" -c "$KILL_TASKS" -i 100 -p -H append_id -a "{\"file\":\"$WORK/ran\"}" -m 1000 -B 1 \
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
	kill -KILL "$TASKD"
	wait_until 5 no_taskd_left
	start_taskd
	finish_producer
	check_promise "supervisor killed"
	stop_taskd
	expect_nothing_left
}

# The producer is ours and is left; nothing of taskd is.
no_taskd_left() {
	[ -z "$(pgrep -f "$RUN/taskd.conf")" ]
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
			kill -KILL "$TASKD"
			wait_until 5 no_taskd_left
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

run_tests "$@"
