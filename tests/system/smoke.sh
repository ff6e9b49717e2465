#!/bin/bash
# A little of everything, for builds with a sanitizer (SAN=address): 1,000 tasks, one in three of
# them with failures, and requests through nginx. What a sanitizer has to say is a failure.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

no_reports() {
	local found
	found=$(grep -aE -m 20 'Sanitizer|runtime error:' "$RUN"/*.log "$RUN"/logs/*.log 2>/dev/null || :)
	[ -z "$found" ] || fail "$found"
}

test_tasks() {
	configure 'queue_window = 64' 'pool default { processes = 2 threads = 2 max_tasks = 300 }'
	start_taskd
	push -s -p -c 500 -b 10 -H succeed >/dev/null
	push -s -c 100 -b 10 -H log_lines >/dev/null
	push -s -p -c 200 -b 4 -H fail_times -a '{"times":2}' -B 5 >/dev/null
	push -s -p -c 100 -H fail -m 2 -B 5 -f describe_failure >/dev/null
	push -s -p -c 50 -H fail -f enqueue_other >/dev/null
	push -s -p -c 40 -H succeed -D 200 >/dev/null
	push -s -c 4 -b 4 -H fail_permanently >/dev/null
	await -t 60 task_succeeded=890 task_dead=151 task_cancelled=3
	push -s -p -c 6 -H crash -m 1 >/dev/null # alone, since a crash costs its neighbours an attempt
	await -t 60 task_dead=157
	expect "rows" 1050 "$(sql "SELECT count(*) FROM task")"
	expect "attempts" $((500 + 100 + 600 + 200 + 50 + 40 + 6 + 1 + 50)) "$(sql "SELECT count(*) FROM attempt")"
	kill -HUP "$TASKD"
	wait_until 10 has_logged ' reloaded ' 2
	"$BUILD/taskstat" -1 -n "$NAME" >"$WORK/stats" 2>&1
	stop_taskd
	no_reports
	expect_nothing_left
}

test_requests() {
	start_run SAN="${SAN:-}"
	"$CHECKOUT/tests/system/register.py" "http://127.0.0.1:$PORT" 100 "$WORK/ids" >"$WORK/answers" || fail "$(cat "$WORK/answers")"
	await -t 60 task_succeeded=200
	request "/tasks/$(head -n 1 "$WORK/ids")"
	expect "status" 200 "$STATUS"
	post /register '{"email":1}'
	expect "status" 422 "$STATUS"
	request /healthz
	expect "status" 200 "$STATUS"
	stop_run kill -TERM "$SUPERVISOR"
	no_reports
	expect_nothing_left
}

run_tests "$@"
