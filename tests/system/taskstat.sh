#!/bin/bash
# taskstat on a real terminal (tmux), and its metrics as real programs read them.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

screen() { # COMMAND...: tmux of this test's own
	tmux -S "$WORK/tmux" -f /dev/null "$@"
}

# What stands on the screen now.
shown() {
	screen capture-pane -p -t "$NAME" 2>/dev/null
}

shows() { # PATTERN: an extended regular expression
	shown | grep -qE -- "$1"
}

open_screen() { # [COLUMNS LINES]
	screen new-session -d -s "$NAME" -x "${1:-110}" -y "${2:-30}" "$BUILD/taskstat -n $NAME -i 0.1; echo left with \$?; exec cat"
	wait_until 10 shows 'taskd '
}

press() { # KEY...
	screen send-keys -t "$NAME" "$@"
}

close_screen() {
	screen kill-server
	wait_until 5 eval '! screen list-sessions 2>/dev/null'
}

test_counters_on_the_screen() {
	configure
	start_taskd
	open_screen
	wait_until 5 shows '^task_succeeded +0 '
	push -c 1234 -p -s >/dev/null
	await task_succeeded=1234
	wait_until 5 shows '^task_succeeded +1\.234 k '
	press s
	wait_until 5 shows '^task_succeeded +1234 '
	wait_until 5 shows '^ring_batches: Batches taken out of the ring \(counter, batches\)'
	press Down
	wait_until 5 shows '^ring_records: Records taken out of the ring'
	press "]"
	wait_until 5 shows '^lanes_owned: '
	press "]" "]"
	wait_until 5 shows '^task_accepted: '
	press Down [
	wait_until 5 shows '^task_accepted: '
	press [
	wait_until 5 shows '^records_invalid: '
	press g v
	wait_until 5 eval "! shows '^task_dead '"
	press / t a s k _ s Enter
	wait_until 5 eval "! shows '^ring_batches'"
	wait_until 5 shows '^task_succeeded: Tasks that ended as succeeded'
	press q
	wait_until 5 shows '^left with 0'
	close_screen
	stop_taskd
	expect_nothing_left
}

# Of a row on the screen: value, change, averages over 10, 100 and 1,000 looks.
row_is() { # NAME CONDITION: of awk, about now, change, ten, hundred, thousand
	shown | awk -v name="$1" '$1 == name { now = $2; change = $3; ten = $4; hundred = $5; thousand = $6; found = 1; failed = !('"$2"') } END { exit !found || failed }'
}

test_averages_and_interval() {
	configure
	start_taskd
	open_screen
	press s
	# Many looks at nothing scheduled: the one change is nearly forgotten over 10 of them.
	push -H noop >/dev/null
	wait_until 20 row_is task_accepted 'now == 1 && change == 0 && ten > 0 && ten < 0.3 && hundred > ten'
	push -H noop -D 3600000 -c 1000 >/dev/null
	# The shorter the memory, the nearer: what was nothing before is 1,000 now.
	wait_until 20 row_is task_scheduled 'now == 1000 && change == 0 && ten > 900 && ten < 1000 && ten > hundred && hundred >= thousand && thousand > 0'
	# Of a counter what is averaged is its change.
	wait_until 20 row_is task_accepted 'now == 1001 && change == 0 && ten > 0 && ten < hundred && hundred > 0 && thousand > 0'
	press +
	wait_until 5 shows 'every 0.2 s'
	press + -
	wait_until 5 shows 'every 0.2 s'
	press - -
	wait_until 5 shows 'every 0.1 s'
	press q
	wait_until 5 shows '^left with 0'
	close_screen
	stop_taskd
}

test_pages_of_the_screen() {
	configure '' 'pool default { processes = 1 }'
	start_taskd
	open_screen
	push -H hang >/dev/null
	await task_running=1
	press 2
	wait_until 5 shows ' busy .* hang for '
	press 3
	wait_until 5 shows '^wait_ns: p50 .* From being due'
	wait_until 5 shows 'up to +[0-9.]+ (us|ms) +1 #'
	press 2
	wait_until 5 shows ' [0-9.]+ M +hang for ' # its memory
	press 4
	wait_until 5 shows '^default +0 +- +1 +0 +0 +1 +0'
	"$TOOLS/push" -n "$NAME" -P default
	push -H noop >/dev/null
	wait_until 5 shows '^default +paused +1 +[0-9.]+ (ms|s) +1 +0 +0 +2 +0'
	press q
	wait_until 5 shows '^left with 0'
	close_screen
	stop_taskd
}

# All of it fits the usual terminal; on a smaller one columns are left out, whole.
test_small_terminals() {
	local bars
	configure '' 'pool default { processes = 1 threads = 2 }'
	start_taskd
	open_screen 80 24
	wait_until 5 shows '^NAME +CURRENT +CHANGE/s +AVG_10 +AVG_100 +AVG_1000$'
	wait_until 5 shows 't total  \+/- interval$' # the keys
	press / l o g _ d Enter # its help is longer than a line
	wait_until 5 shows 'waited for the journal \(counter, lines\)$'
	push -H hang -c 2 -p >/dev/null
	await task_running=2
	press 2
	wait_until 5 shows ' busy .* 2 tasks: hang for [0-9.]+ '
	press 3
	wait_until 5 shows '^wait_ns: p50 .*, p99 .*, p99\.9 [0-9.]+ [a-z]+\.'
	wait_until 5 shows ' #+$'
	bars=$(shown | grep -cE '^ .{79}' || :)
	expect "bars that are cut" 0 "$bars"
	press 4
	wait_until 5 shows '^QUEUE +WAITING +OLDEST +RUNNING +SCHEDULED +RETRYING$'
	screen resize-window -t "$NAME" -x 40 -y 12
	wait_until 5 shows '^QUEUE +WAITING$'
	press 1 /
	press -N 5 BSpace
	press Enter
	wait_until 5 shows '^NAME +CURRENT$'
	wait_until 5 shows '^ring_batches +2$'
	press q
	wait_until 5 shows '^left with 0'
	close_screen
	stop_taskd
}

# The screen stays over a restart, a kill, and a board made anew.
test_screen_over_a_restart() {
	local old
	configure
	start_taskd
	open_screen
	push -c 10 >/dev/null
	wait_until 5 shows '^task_succeeded +10 '
	stop_taskd
	wait_until 5 shows 'taskd stopped'
	start_taskd
	wait_until 5 shows 'taskd running'
	push -c 10 >/dev/null
	wait_until 5 shows '^task_succeeded +[12]0 ' # a board made anew counts from 0
	old=$(pids_of dispatcher)
	kill -9 "$old"
	wait_until 10 eval "shows 'taskd running' && ! shows 'pid $old,'"
	press q
	wait_until 5 shows '^left with 0'
	close_screen
	stop_taskd
}

test_openmetrics_as_a_parser_reads_it() {
	configure
	start_taskd
	push -c 500 -p >/dev/null
	await task_succeeded=500
	"$BUILD/taskstat" -p -n "$NAME" >"$WORK/metrics"
	wait_until 5 eval '"$BUILD/taskstat" -p -n "$NAME" >"$WORK/metrics"; grep -q "queue_ended_total.* 500$" "$WORK/metrics"'
	expect "as the reference parser counts" "500 500 1 500 500" "$(/usr/bin/python3 - "$WORK/metrics" <<-'END'
		import sys
		from prometheus_client.openmetrics.parser import text_string_to_metric_families
		samples = {(s.name, s.labels.get('le'), s.labels.get('queue'), s.labels.get('handler')): s.value
		    for family in text_string_to_metric_families(open(sys.argv[1]).read()) for s in family.samples}
		print(*(int(samples[name]) for name in (('taskring_task_succeeded_total', None, None, None),
		    ('taskring_run_seconds_bucket', '+Inf', None, None), ('taskring_up', None, None, None),
		    ('taskring_queue_ended_total', None, 'default', None),
		    ('taskring_handler_run_seconds_bucket', '+Inf', None, 'noop'))))
	END
	)"
	stop_taskd
}

run_tests "$@"
