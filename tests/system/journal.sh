#!/bin/bash
# The journal: what is durable, what a full disk does, and how little of it is in memory.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# When a durable publication returns, its row is there; and it was synced, not only written.
test_durability_disk() {
	local id i
	configure
	start_taskd
	for i in 1 2 3 4 5 6 7 8 9 10; do
		id=$(push -d -H succeed)
		expect "rows after durable publication $i" 1 "$(sql "SELECT count(*) FROM tasks WHERE id = '$id'")"
	done
	[ "$(counter journal_fsyncs)" -ge 10 ] || fail "only $(counter journal_fsyncs) commits were synced"
	# Nobody is told that it is on disk while nobody can know.
	kill -STOP "$(pids_of dispatcher)"
	"$TOOLS/push" -n "$NAME" -d -H succeed >"$WORK/out" 2>"$WORK/waiting.log" &
	wait_until 5 is_published
	! is_gone $! || fail "it came back while the dispatcher was stopped"
	kill -CONT "$(pids_of dispatcher)"
	wait_until 10 is_gone $!
	wait $! || fail "it failed: $(cat "$WORK/waiting.log")"
	expect "rows" 11 "$(sql "SELECT count(*) FROM task")"
	stop_taskd
	expect_nothing_left
}

# The stopped dispatcher does not take it, so the ring's tail is one ahead of what is retired.
is_published() {
	[ "$(od -An -tu8 -j64 -N8 "/dev/shm/$NAME.ring")" -gt "$(od -An -tu8 -j128 -N8 "/dev/shm/$NAME.ring")" ]
}

# ---- the window -----------------------------------------------------------------------------

: "${WINDOW_TASKS:=50000}"
WINDOW=500

all_wait() {
	[ $(($(counter task_waiting) + $(counter task_scheduled))) -eq "$WINDOW_TASKS" ]
}

in_memory_at_most() { # TASKS
	[ "$(counter task_in_memory)" -le "$1" ]
}

ran_at_least() { # LINES
	[ -e "$WORK/ran" ] && [ "$(wc -l <"$WORK/ran")" -ge "$1" ]
}

test_memory_window() {
	local blocker half=$((WINDOW_TASKS / 2))
	configure "queue_window = $WINDOW" 'pool default { processes = 1 threads = 1 }'
	start_taskd
	blocker=$(push -H sleep -a '{"ms":600000}')
	await task_running=1
	# The second half is due before the first.
	push -s -p -b 50 -c $half -D 3000 -H append_id -a "{\"file\":\"$WORK/ran\"}" >/dev/null
	push -s -p -b 50 -c $half -H append_id -a "{\"file\":\"$WORK/ran\"}" >/dev/null
	# Of those that rest in the journal nobody moves what comes due from scheduled to queued.
	wait_until 60 all_wait
	wait_until 10 in_memory_at_most $((2 * WINDOW + 64))
	note "$WINDOW_TASKS waiting, $(counter task_in_memory) in memory, dispatcher $(rss_kb) kB"
	expect "rows" $((WINDOW_TASKS + 1)) "$(sql "SELECT count(*) FROM task")"
	push -C "$blocker"
	wait_until 60 ran_at_least $((WINDOW_TASKS / 4))
	stop_taskd
	start_taskd
	wait_until 60 ran_at_least $((WINDOW_TASKS * 3 / 5))
	kill -KILL "$(pids_of dispatcher)"
	wait_until 10 has_logged '] ready ' 3
	wait_until 90 everything_ended
	expect "not succeeded" "$blocker" "$(sql "SELECT id FROM tasks WHERE state <> 'succeeded'")"
	# One worker: they began in the order of (due, id), but for what ran again after the kill.
	awk '!seen[$1]++' "$WORK/ran" >"$WORK/first"
	sql "SELECT lower(hex(id)) FROM task WHERE handler = 'append_id'
		ORDER BY max(run_at_ms, created_ns / 1000000), id" |
		sed 's/^\(.\{8\}\)\(.\{4\}\)\(.\{4\}\)\(.\{4\}\)/\1-\2-\3-\4-/' >"$WORK/order"
	expect "out of order" 0 "$(awk 'NR == FNR { at[$1] = NR; next } at[$1] < last { bad++ } { last = at[$1] }
		END { print bad + 0 }' "$WORK/order" "$WORK/first")"
	note "$(($(wc -l <"$WORK/ran") - WINDOW_TASKS)) reruns after the kill"
	stop_taskd
	expect_nothing_left
}

everything_ended() {
	[ "$(sql "SELECT count(*) FROM task WHERE state < 4")" -eq 0 ]
}

rss_kb() {
	awk '/^VmRSS/ { print $2 }' "/proc/$(pids_of dispatcher)/status"
}

# ---- a full disk ----------------------------------------------------------------------------

mount_small() { # SIZE
	[ "$(id -u)" -eq 0 ] || skip "only root can mount a small file system"
	mkdir "$WORK/small"
	mount -t tmpfs -o "size=$1" taskring-test "$WORK/small" 2>"$WORK/mount.err" || skip "mount: $(cat "$WORK/mount.err")"
}

# Until the ring is full: whoever publishes then is told so, and nothing that was confirmed is lost.
test_disk_full() {
	local args confirmed
	mount_small 1m
	configure
	sed -i "s|^journal = .*|journal = \"$WORK/small/journal.db\"|" "$RUN/taskd.conf"
	ln -s "$WORK/small/journal.db" "$RUN/journal.db"
	start_taskd
	args="{\"file\":\"$WORK/ran\",\"much\":\"$(head -c 3000 /dev/zero | tr '\0' x)\"}"
	await journal_failing=0
	# Publishes until it is refused, one after the other.
	while "$TOOLS/push" -n "$NAME" -F -p -c 10 -H append_id -a "$args" >>"$WORK/ids" 2>"$WORK/refused"; do
		[ "$(wc -l <"$WORK/ids")" -lt 100000 ] || fail "the ring is never full"
	done
	expect_match "it says why" "RING_FULL|LANE_FULL|NO_LANE" "$(cat "$WORK/refused")"
	confirmed=$(wc -l <"$WORK/ids")
	await journal_failing=1 journal_errors+1
	expect_match "it is logged" ' journal-failing .*reason=' "$(cat "$RUN/taskd.log")"
	note "$confirmed published until the ring was full ($(cat "$WORK/refused"))"
	# Also over a kill of everything.
	kill_taskd
	mount -o remount,size=64m "$WORK/small"
	start_taskd
	await -t 30 journal_failing=0
	wait_until 30 has_rows "$confirmed"
	wait_until 30 everything_ended
	expect "rows" "$confirmed" "$(sql "SELECT count(*) FROM tasks WHERE state = 'succeeded'")"
	sort "$WORK/ids" >"$WORK/ids.sorted"
	expect "lost" 0 "$(sql "SELECT id FROM tasks ORDER BY id" | comm -23 "$WORK/ids.sorted" - | wc -l)"
	stop_taskd
	expect_nothing_left
}

has_rows() { # ROWS
	[ "$(sql "SELECT count(*) FROM task")" -ge "$1" ]
}

test_disk_full_and_room_again() {
	local confirmed
	mount_small 1m
	configure
	sed -i "s|^journal = .*|journal = \"$WORK/small/journal.db\"|" "$RUN/taskd.conf"
	ln -s "$WORK/small/journal.db" "$RUN/journal.db"
	start_taskd
	head -c 500k /dev/zero >"$WORK/small/ballast"
	"$TOOLS/push" -n "$NAME" -p -c 800 -a "{\"much\":\"$(head -c 3000 /dev/zero | tr '\0' x)\"}" >"$WORK/ids" 2>"$WORK/push.log" &
	await journal_failing=1
	mount -o remount,size=64m "$WORK/small"
	await journal_failing=0 task_succeeded=800
	wait $! || fail "the producer: $(cat "$WORK/push.log")"
	wait_until 10 has_rows 800 # a task that has just ended gets its row with the next commit
	wait_until 10 everything_ended
	expect "rows" 800 "$(sql "SELECT count(*) FROM tasks WHERE state = 'succeeded'")"
	expect_match "it is logged" ' journal-recovered ' "$(cat "$RUN/taskd.log")"
	stop_taskd
	expect_nothing_left
}

# ---- producers and taskd come and go --------------------------------------------------------

test_producer_before_taskd() {
	configure
	push -c 100 -b 10 -H append_id -a "{\"file\":\"$WORK/ran\"}" >"$WORK/ids"
	start_taskd
	await task_succeeded=100
	expect "ran" 100 "$(sort -u "$WORK/ran" | wc -l)"
	expect "found by its id" succeeded "$(state_of "$(head -n 1 "$WORK/ids")")"
	stop_taskd
	expect_nothing_left
}

# What comes due while there is no taskd runs when there is one again.
test_due_while_taskd_is_away() {
	local id
	configure
	start_taskd
	id=$(push -H succeed -D 500)
	push -H fail -m 2 -B 1 -f retry_twice >/dev/null
	await task_scheduled=1 task_dead=1
	stop_taskd
	wait_until 5 is_due "$id"
	start_taskd
	wait_row "$id" succeeded
	expect "the dispatcher died" 0 "$(times_logged dispatcher-died)"
	stop_taskd
}

is_due() { # ID
	[ "$(sql "SELECT due < strftime('%Y-%m-%dT%H:%M:%fZ', 'now') FROM tasks WHERE id = '$1'")" -eq 1 ]
}

test_retention() {
	local i
	configure 'retention { count = 100 }'
	start_taskd
	for i in 1 2 3; do
		push -p -c 200 >/dev/null
		await "task_succeeded=$((200 * i))"
	done
	wait_until 30 at_most_rows 200
	expect "attempts without a task" 0 "$(sql "SELECT count(*) FROM attempt WHERE task NOT IN (SELECT id FROM task)")"
	stop_taskd
}

at_most_rows() { # ROWS
	[ "$(sql "SELECT count(*) FROM task")" -le "$1" ]
}

test_history_none() {
	local id
	configure 'history = none'
	start_taskd
	push -p -c 500 >/dev/null
	push -c 20 -b 20 >/dev/null
	id=$(push -H fail -m 2 -B 10)
	await task_succeeded=520 task_dead=1
	wait_until 5 at_most_rows 0
	expect "the board still knows" dead "$(state_of "$id")"
	push -D 60000 >/dev/null
	await task_scheduled=1
	stop_taskd
	expect "what waits is kept" scheduled "$(sql "SELECT state FROM tasks")"
}

run_tests "$@"
