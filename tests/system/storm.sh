#!/bin/bash
# Everything at once, by a seed: responders publish batches, files and pending tasks, cancel, retry, discard, hurry,
# pause and resume, while workers, the dispatcher, the supervisor and they themselves are killed at random moments.
# Afterwards, from what the responders were promised and what the handlers wrote down:
#   nothing accepted is lost          a cancelled task has not started again       a paused queue has stood still
#   what was retried has run again    no file is left whose task has ended         the board shows what the journal holds
#   STORM_SEED   of the moments and of what is done (printed)   STORM_ROUNDS   how many kills (10)
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

: "${STORM_ROUNDS:=10}" "${STORM_SEED:=$RANDOM}"

responders=(a b)
declare -A RESPONDER

launch_responder() { # a|b
	"$TOOLS/storm" -n "$NAME" -S "$RUN/spool" -J "$RUN/journal.db" -s "$RANDOM" -f "$WORK/facts" -r "$WORK/ran" -q "$1" \
		</dev/null 2>>"$WORK/storm.log" &
	RESPONDER[$1]=$!
}

kill_responder() { # a|b
	kill -KILL "${RESPONDER[$1]}"
	wait "${RESPONDER[$1]}" 2>/dev/null || :
}

expect_responders() {
	local each
	for each in "${responders[@]}"; do
		! is_gone "${RESPONDER[$each]}" || fail "the responder $each ended by itself: $(tail -n 1 "$WORK/storm.log")"
	done
}

# From here on what was cancelled before must not start: all that could start it is dead.
launch_again() {
	wait_until 10 no_taskd_left
	wait "$TASKD" 2>/dev/null || :
	printf 'launch - %s\n' "$(date +%s%N)" >>"$WORK/facts"
	start_taskd
}

strike() {
	local victim
	case $((RANDOM % 8)) in
	0 | 1)
		STRUCK=worker
		victim=$(pids_of worker | head -n 1)
		[ -z "$victim" ] || kill -KILL "$victim"
		;;
	2 | 3)
		STRUCK=dispatcher
		victim=$(times_logged '] ready ')
		kill -KILL "$(pids_of dispatcher)"
		wait_until 10 has_logged '] ready ' $((victim + 1))
		;;
	4)
		STRUCK=responder
		victim=${responders[RANDOM % 2]}
		kill_responder "$victim"
		launch_responder "$victim"
		;;
	5 | 6)
		STRUCK=taskd
		kill -KILL "$TASKD"
		sleep "$(printf '0.%03d' $((RANDOM % 400)))" # the responders go on, until the ring is full
		launch_again
		;;
	7)
		STRUCK=everything
		# shellcheck disable=SC2046
		kill -KILL "${RESPONDER[@]}" "$TASKD" $(pgrep -f "$RUN/taskd.conf") 2>/dev/null || :
		wait "${RESPONDER[@]}" 2>/dev/null || :
		launch_again
		for victim in "${responders[@]}"; do
			launch_responder "$victim"
		done
		;;
	esac
}

# ---- what must hold -------------------------------------------------------------------------

# Facts, starts and rows in one place: $WORK/checks.db, made anew.
gather() {
	rm -f "$WORK/checks.db"
	grep '^accepted ' "$WORK/facts" >"$WORK/accepted" || :
	grep -v '^accepted ' "$WORK/facts" >"$WORK/wishes" || :
	sqlite3 "$WORK/checks.db" <<-END
		CREATE TABLE accepted(verb, id TEXT PRIMARY KEY, class, batch, place INTEGER);
		CREATE TABLE wish(verb, about, ns INTEGER);
		CREATE TABLE ran(id, attempt INTEGER, ns INTEGER);
		.separator ' '
		.import $WORK/accepted accepted
		.import $WORK/wishes wish
		.import $WORK/ran ran
		ATTACH 'file:$RUN/journal.db?mode=ro' AS journal;
		CREATE TABLE row AS SELECT t.id, t.state, t.error, k.ended_ms, k.attempt FROM journal.tasks t JOIN journal.task k ON k.id = t.key;
		CREATE TABLE attempt AS SELECT a.task AS id, a.outcome, k.started_ms FROM journal.attempts a
			JOIN journal.attempt k ON k.task = a.key AND k.attempt = a.attempt;
		CREATE UNIQUE INDEX row_id ON row(id);
		CREATE INDEX attempt_id ON attempt(id);
		CREATE INDEX wish_about ON wish(about);
		CREATE INDEX accepted_batch ON accepted(batch, place);
	END
}

none() { # TITLE QUERY: it finds nothing
	local found
	found=$(sqlite3 "$WORK/checks.db" "$2 LIMIT 5") || fail "sqlite: $2"
	[ -z "$found" ] || fail "$1 (STORM_SEED=$STORM_SEED): $found"$'\n'"$(story "${found:0:36}")"
}

# All that is known of a task.
story() { # ID
	grep -h -- "$1" "$WORK/facts" "$WORK/ran" "$RUN/taskd.log"
	sql "SELECT * FROM attempts WHERE task = '$1'"
	grep -h '^launch' "$WORK/facts"
}

given_up="SELECT about FROM wish WHERE verb IN ('wants-cancel', 'wants-discard')"

check_promises() {
	none "lost" "SELECT id FROM accepted WHERE id NOT IN (SELECT id FROM row)"
	none "not ended" "SELECT id, state FROM row WHERE state NOT IN ('succeeded', 'dead', 'cancelled')"
	none "cancelled without a reason" "SELECT r.id, r.error FROM row r LEFT JOIN accepted a USING (id)
		LEFT JOIN accepted b ON b.batch = a.batch AND b.place = a.place - 1 LEFT JOIN row p ON p.id = b.id
		WHERE r.state = 'cancelled' AND a.id IS NOT NULL AND r.id NOT IN ($given_up) AND (p.id IS NULL OR p.state = 'succeeded')"
	none "dead, but it would have succeeded" "SELECT r.id, r.error FROM row r JOIN accepted a USING (id)
		WHERE r.state = 'dead' AND a.class = 'sure'"
	none "succeeded, but never ran" "SELECT id FROM row JOIN accepted USING (id) WHERE state = 'succeeded' AND id NOT IN (SELECT id FROM ran)"
	none "started after it was cancelled" "SELECT r.id, r.ended_ms, s.ns FROM row r JOIN ran s USING (id)
		WHERE r.state = 'cancelled' AND s.ns / 1000000 > r.ended_ms + 100"
	none "cancelled, and started by a later taskd" "SELECT w.about, w.ns, s.ns FROM wish w JOIN ran s ON s.id = w.about
		WHERE w.verb = 'cancel' AND s.ns > (SELECT min(l.ns) FROM wish l WHERE l.verb = 'launch' AND l.ns > w.ns)"
	# Its death may not have been in the journal when taskd was killed: then it runs again, as for the first time. And a
	# worker may be killed before its handler has written anything.
	none "retried, and not run again" "SELECT r.id, r.state, r.attempt FROM row r JOIN wish w ON w.about = r.id
		WHERE w.verb = 'retry' AND (SELECT max(i.ns) FROM wish i WHERE i.verb = 'wants-retry' AND i.about = r.id AND i.ns <= w.ns) >
			max((SELECT coalesce(max(s.ns), 0) FROM ran s WHERE s.id = r.id),
			(SELECT coalesce(max(a.started_ms + 1), 0) * 1000000 FROM attempt a WHERE a.id = r.id))"
}

# Queues stand as the last command of their responder left them, unless it was killed before it knew.
check_pauses() {
	sql "SELECT name FROM queue WHERE paused ORDER BY name" >"$WORK/paused"
	sqlite3 "$WORK/checks.db" "SELECT about || ' ' || verb FROM (SELECT about, verb, max(ns), row_number() OVER () FROM wish
		WHERE about GLOB '[ab]-*' GROUP BY about)" | sort >"$WORK/last"
	local queue verb
	while read -r queue verb; do
		case $verb in
		pause) grep -qx "$queue" "$WORK/paused" || fail "$queue is not paused (STORM_SEED=$STORM_SEED)" ;;
		resume) ! grep -qx "$queue" "$WORK/paused" || fail "$queue is still paused (STORM_SEED=$STORM_SEED)" ;;
		esac
	done <"$WORK/last"
}

# Per queue with tasks "QUEUE waiting running scheduled retrying", and "all" of them.
journal_counts() {
	sql "SELECT queue, sum(state = 1), sum(state = 2), sum(state = 0), sum(state = 3) FROM task WHERE state < 4 GROUP BY queue
		UNION ALL SELECT 'all', total(state = 1), total(state = 2), total(state = 0), total(state = 3) FROM task WHERE state < 4" |
		tr '|' ' ' | sed 's/\.0//g' | sort
}

board_counts() {
	"$BUILD/taskstat" -p -n "$NAME" | awk '
		match($0, /^taskring_queue_(waiting|running|scheduled|retrying)\{/) {
			split($0, part, "\""); kind = $0; sub(/\{.*/, "", kind); sub(/.*_/, "", kind); count[part[2], kind] = $NF; queue[part[2]] }
		match($0, /^taskring_task_(waiting|running|scheduled|retrying)[ {]/) {
			kind = $1; sub(/\{.*/, "", kind); sub(/.*_/, "", kind); count["all", kind] = $NF; queue["all"] }
		END { for (q in queue) { line = q
			live = 0
			split("waiting running scheduled retrying", kinds, " ")
			for (i = 1; i <= 4; i++) { line = line " " count[q, kinds[i]] + 0; live += count[q, kinds[i]] }
			if (live || q == "all") print line } }' | sort
}

counts_agree() {
	[ "$(journal_counts)" = "$(board_counts)" ] && [ "$(sql "SELECT count(*) FROM task WHERE state = 5")" = "$(counter task_dead_now)" ]
}

is_quiet() {
	[ "$(sql "SELECT count(*) FROM task WHERE state = 2")" = 0 ] && counts_agree
}

set_queues() { # -P|-U: pause, resume
	local each number
	for each in "${responders[@]}"; do
		for number in 0 1 2; do
			push "$1" "$each-$number"
		done
	done
}

all_over() {
	[ "$(sql "SELECT count(*) FROM task WHERE state < 4")" = 0 ]
}

# The files of the dead are kept; a kill between a commit and the deletion leaves others, for an hour.
files_of_others() {
	comm -23 <(find "$RUN/spool" -type f -printf '%f\n' | sed 's/\.file$//' | sort -u) \
		<(sql "SELECT id FROM tasks WHERE state = 'dead' ORDER BY id")
}

no_files_of_others() {
	[ -z "$(files_of_others)" ]
}

# Of tasks that ended in the life of the last taskd, which nobody has killed.
no_files_of_late() {
	files_of_others >"$WORK/left"
	[ "$(sqlite3 "$WORK/checks.db" "CREATE TEMP TABLE left(id)" ".import $WORK/left left" "SELECT count(*) FROM left
		JOIN row USING (id) WHERE ended_ms > (SELECT max(ns) / 1000000 FROM wish WHERE verb = 'launch')")" = 0 ]
}

expect_quiet() {
	wait_until 20 is_quiet
}

test_storm() {
	local round pause stood before
	local -A struck=()
	RANDOM=$STORM_SEED
	configure 'queue_window = 64
		cancel_term = 150ms
		cancel_kill = 150ms' 'pool default { processes = 2 threads = 2 concurrency = 16 }'
	: >"$WORK/ran"
	start_taskd
	for round in "${responders[@]}"; do
		launch_responder "$round"
	done
	for ((round = 1; round <= STORM_ROUNDS; round++)); do
		pause=$((RANDOM % 500 + 50))
		sleep "$(printf '0.%03d' $pause)" # the moment of the kill; nothing is waited for
		expect_responders
		strike
		struck[$STRUCK]=$((${struck[$STRUCK]:-0} + 1))
	done
	expect_responders
	kill_responder a
	kill_responder b

	# Once more everything dies; then each queue is as it was left, and nothing of those that are paused starts.
	kill -KILL "$TASKD"
	launch_again
	push -H noop -q other >/dev/null # behind all that was in the ring
	await task_succeeded+1
	gather
	check_pauses
	set_queues -P
	expect_quiet
	stood=$(wc -l <"$WORK/ran")
	before=$(journal_counts)
	kill -KILL "$TASKD"
	launch_again
	expect_quiet
	expect "starts while all queues are paused" "$stood" "$(wc -l <"$WORK/ran")"
	note "paused (waiting, running, scheduled, retrying): ${before//$'\n'/, }"

	set_queues -U
	wait_until 90 all_over
	gather
	check_promises
	expect_quiet
	wait_until 5 no_files_of_late
	before=$(files_of_others | wc -l)
	expect "dispatchers that died, and how many were killed" "${struck[dispatcher]:-0}" "$(times_logged dispatcher-died)"
	expect_stat attempt_crashed 0
	expect_stat worker_bad_messages 0
	expect_stat ring_damaged 0
	expect_stat records_invalid 0
	stop_taskd
	LATER_S=7200 LD_PRELOAD=$TOOLS/preload/later.so start_taskd
	wait_until 20 no_files_of_others
	stop_taskd
	expect_nothing_left
	note "killed:$(for round in "${!struck[@]}"; do printf ' %s %d' "$round" "${struck[$round]}"; done)"
	note "$(wc -l <"$WORK/accepted") accepted, $(grep -c '^cancel ' "$WORK/facts") cancelled, $(grep -c '^retry ' "$WORK/facts") retried, $(wc -l <"$WORK/ran") starts; $before files for the sweep (STORM_SEED=$STORM_SEED)"
}

run_tests "$@"
