#!/bin/bash
# taskd as a service: workers come and go, configuration, what it refuses, what it shows.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# ---- workers --------------------------------------------------------------------------------

test_recycling_after_max_tasks() {
	configure '' 'pool default { processes = 1 threads = 2 max_tasks = 10 }'
	start_taskd
	push -c 45 -p >/dev/null
	await task_succeeded=45 worker_recycled+3 worker_alive=1
	expect_stat worker_died 0
	expect "attempts that did not succeed" 0 "$(sql "SELECT count(*) FROM attempt WHERE outcome <> 'succeeded'")"
	stop_taskd
	expect_nothing_left
}

test_recycling_above_max_memory() {
	[ "${SAN:-}" = "" ] || skip "a sanitizer's memory is not what is meant"
	configure '' 'pool default { processes = 1 max_memory = 64M }'
	start_taskd
	push -c 12 -i 30000 -H leak >/dev/null # 16 MiB each
	await task_succeeded=12 worker_recycled+1 worker_alive=1
	expect_stat worker_died 0
	stop_taskd
}

# A worker that dies again and again is replaced more and more slowly.
test_backing_off() {
	local pauses
	configure '' 'pool default { processes = 1 }'
	start_taskd
	push -c 4 -p -H crash -m 1 >/dev/null
	await task_dead=4
	pauses=$(grep -a ' worker-died ' "$RUN/taskd.log" | sed 's/.*restart_in_ms=//' | paste -sd' ')
	expect "pauses" "100 200 400 800" "$pauses"
	push >/dev/null
	await task_succeeded=1
	stop_taskd
}

# The same where its plug-in does not start; the tasks wait, and taskd goes on.
test_plugin_that_does_not_start() {
	configure '' 'pool default { processes = 1 }'
	TASKRING_TEST_START=1 start_taskd
	push -H succeed >/dev/null
	wait_until 10 has_logged 'restart_in_ms=400'
	expect_match "it says why" 'worker-refused what=plug-in' "$(cat "$RUN/taskd.log")"
	expect_match "exit status 78" 'worker-died row=0 pid=[0-9]* signal=0 code=78' "$(cat "$RUN/taskd.log")"
	expect_stat task_waiting 1
	stop_taskd
	start_taskd
	await task_succeeded=1
	stop_taskd
}

test_queues_have_their_pools() {
	configure '' 'pool default { processes = 1 }
		pool slow { queues = { reports, exports } processes = 1 }'
	start_taskd
	push -q reports -H sleep -a '{"ms":60000}' >/dev/null
	await task_running=1
	push -q exports >/dev/null
	push -q other -c 5 >/dev/null
	push -c 5 >/dev/null
	await task_succeeded=10
	expect_stat task_waiting 1
	kill -KILL "$(pids_of dispatcher)" # while it runs; it goes on with another
	wait_until 10 has_logged '] ready ' 2
	await task_running=1 task_waiting=1
	stop_taskd
	expect "what was running is kept" "queued|queued" \
		"$(sql "SELECT group_concat(state, '|') FROM tasks WHERE queue IN ('reports', 'exports')")"
}

# ---- configuration --------------------------------------------------------------------------

check_configuration() { # TEXT
	printf '%s\n' "$1" >"$WORK/check.conf"
	STATUS=0
	SAID=$("$BUILD/taskd" -t -c "$WORK/check.conf" 2>&1) || STATUS=$?
}

test_check() {
	mkdir "$WORK/none" "$WORK/plugins"
	check_configuration 'plugin_dir = none'
	expect "status" 0 $STATUS
	expect_match "it says so" "the configuration is well" "$SAID"
	check_configuration $'instance = "a/b"\nqueue_window = 3\nsync_interval = 5h\npool x {\n  queues = { "*" }\n  processes = 0\n}'
	expect "status" 1 $STATUS
	expect_match "instance" "check.conf:1: instance: got \"a/b\", allowed 1 to 63" "$SAID"
	expect_match "queue_window" "check.conf:2: queue_window: got \"3\", allowed .*from 64 to 1000000" "$SAID"
	expect_match "sync_interval" "check.conf:3: sync_interval: got \"5h\", allowed .*10ms.*1s" "$SAID"
	expect_match "processes" "check.conf:6: processes: got \"0\", allowed .*from 1 to 256" "$SAID"
	check_configuration $'instance = shop\nnonsense = 1'
	expect "status" 1 $STATUS
	expect_match "unknown" "check.conf:2: .*nonsense" "$SAID"
	check_configuration $'\n\npool x { processes = 1'
	expect "status" 1 $STATUS
	expect_match "not closed" "check.conf:[0-9]+: the file ends inside of a section" "$SAID"
	STATUS=0
	SAID=$("$BUILD/taskd" -t -c "$WORK/none.conf" 2>&1) || STATUS=$?
	expect "status" 1 $STATUS
	expect_match "the file is not there" "none.conf: No such file" "$SAID"
	check_plugins
	expect "the shipped one has faults" 0 "$(shipped_configuration_status)"
}

# Plug-ins are loaded as workers do, but not started: who looks is not always who runs them.
check_plugins() {
	local bad
	for bad in 1:duplicate:'check.conf: bad.so: the handler .*mail.* is also in taskd' 134:crashes: 0:start:'is well'; do
		cp "$TOOLS/bad_plugins/$(cut -d: -f2 <<<"$bad").so" "$WORK/plugins/bad.so"
		check_configuration 'plugin_dir = plugins'
		expect "$bad: status" "${bad%%:*}" $STATUS
		expect_match "$bad" "${bad#*:*:}" "$SAID"
	done
	check_configuration 'plugin_dir = nowhere'
	expect "status" 1 $STATUS
	expect_match "no directory" "check.conf: plug-in directory $WORK/nowhere: No such file" "$SAID"
}

shipped_configuration_status() {
	sed "s|@NAME@|shop|; s|@PLUGIN_DIR@|$BUILD/handlers|; s|@[A-Z_]*@|/tmp|" "$CHECKOUT/conf/taskd.conf.in" >"$WORK/check.conf"
	"$BUILD/taskd" -t -c "$WORK/check.conf" >"$WORK/said" 2>&1 || cat "$WORK/said"
	echo $?
}

test_reload() {
	local before
	configure
	start_taskd
	before=$(pids_of worker | paste -sd' ')
	push -H sleep -a '{"ms":300}' >/dev/null
	await task_running=1
	configure '' 'pool default { processes = 3 threads = 1 }'
	kill -HUP "$TASKD"
	await worker_alive=3 task_succeeded=1
	wait_until 10 none_of_these_is_a_worker "$before"
	expect_stat worker_died 0
	push -c 20 >/dev/null
	await task_succeeded=21
	# Fewer.
	configure '' 'pool default { processes = 1 }'
	kill -HUP "$TASKD"
	await worker_alive=1
	push -c 20 >/dev/null
	await task_succeeded=41
	expect "reloads" 2 "$(times_logged 'supervisor '"$TASKD"'] reloaded')"
	stop_taskd
	expect_nothing_left
}

none_of_these_is_a_worker() { # "PID..."
	! pids_of worker | grep -qxE "${1// /|}"
}

test_reload_of_what_is_faulty() {
	local before
	configure
	start_taskd
	before=$(pids_of worker | paste -sd' ')
	configure 'queue_window = 1'
	kill -HUP "$TASKD"
	wait_until 5 has_logged ' reload-refused '
	expect_match "where" "taskd.conf:[0-9]*: queue_window: got" "$(cat "$RUN/taskd.log")"
	configure 'board { entries = 64 }'
	kill -HUP "$TASKD"
	wait_until 5 has_logged ' reload-refused ' 2
	expect_match "what cannot change" "reload-refused .*option=board" "$(cat "$RUN/taskd.log")"
	expect "the same workers" "$before" "$(pids_of worker | paste -sd' ')"
	push >/dev/null
	await task_succeeded=1
	stop_taskd
}

# Nobody is replaced by workers that could not start.
test_reload_with_bad_plugins() {
	local before bad tasks=0 refusals=0
	configure_own_plugins
	start_taskd
	before=$(pids_of worker | paste -sd' ')
	for bad in 'duplicate:bad.so: the handler .*mail.* is also in taskd' 'start:bad.so: start.. answered 7' \
		'crashes:signal 6' 'exits:status 0'; do
		cp "$TOOLS/bad_plugins/${bad%%:*}.so" "$RUN/plugins/bad.so"
		kill -HUP "$TASKD"
		refusals=$((refusals + 1))
		wait_until 10 has_logged ' reload-refused ' $refusals
		expect_match "${bad%%:*}: the reason" "reason=.*${bad#*:}" "$(grep -a ' reload-refused ' "$RUN/taskd.log" | tail -n 1)"
		expect "${bad%%:*}: the same workers" "$before" "$(pids_of worker | paste -sd' ')"
		push >/dev/null
		tasks=$((tasks + 1))
		await task_succeeded=$tasks
		rm "$RUN/plugins/bad.so"
	done
	kill -HUP "$TASKD"
	wait_until 10 has_logged "supervisor $TASKD] reloaded "
	wait_until 10 none_of_these_is_a_worker "$before"
	push >/dev/null
	await task_succeeded=$((tasks + 1))
	expect_stat worker_died 0
	stop_taskd
	expect_nothing_left
}

# taskd goes on beside a trial that does not end: tasks run, a dispatcher that dies is replaced, the next
# SIGHUP and SIGTERM do not wait for it.
test_reload_with_a_plugin_that_hangs() {
	local before
	configure_own_plugins
	start_taskd
	before=$(pids_of worker | paste -sd' ')
	cp "$TOOLS/bad_plugins/hangs.so" "$RUN/plugins/bad.so"
	kill -HUP "$TASKD"
	wait_until 10 is_trying
	push -c 5 >/dev/null
	await task_succeeded=5
	expect "the same workers" "$before" "$(pids_of worker | paste -sd' ')"
	rm "$RUN/plugins/bad.so"
	kill -HUP "$TASKD"
	wait_until 10 has_logged "supervisor $TASKD] reloaded "
	wait_until 10 none_of_these_is_a_worker "$before"
	expect "trials left" "" "$(pids_of trial)"

	cp "$TOOLS/bad_plugins/hangs.so" "$RUN/plugins/late.so"
	kill -HUP "$TASKD"
	wait_until 10 is_trying
	rm "$RUN/plugins/late.so" # the new dispatcher's workers load what is there
	kill -KILL "$(pids_of dispatcher)"
	wait_until 10 has_logged '] ready ' 2
	push -c 5 >/dev/null
	await task_succeeded=10
	is_trying || fail "the trial is gone"
	stop_taskd
	expect_match "what became of it" "reload-refused .*reason=.taskd stops" "$(cat "$RUN/taskd.log")"
	expect_nothing_left
}

configure_own_plugins() {
	mkdir -p "$RUN/plugins"
	cp "$TOOLS"/plugins/*.so "$RUN/plugins"
	PLUGIN_DIR=$RUN/plugins configure
}

is_trying() {
	[ -n "$(pids_of trial)" ]
}

# ---- what it refuses ------------------------------------------------------------------------

refused() { # WHAT PATTERN: a start of another taskd on this configuration
	local status=0
	(cd "$RUN" && "$BUILD/taskd" -c "$RUN/taskd.conf") >"$WORK/refused.out" 2>&1 </dev/null || status=$?
	expect "$1: status" 1 $status
	expect_match "$1" "$2" "$(cat "$WORK/refused.out")"
}

test_second_taskd() {
	configure
	start_taskd
	refused "a second taskd" "refused .*taskd pid $TASKD already serves"
	push >/dev/null
	await task_succeeded=1
	stop_taskd
}

journal_refused() { # WHAT PATTERN
	local before
	before=$(sha256sum "$RUN/journal.db")
	refused "$@"
	expect "$1: the file" "$before" "$(sha256sum "$RUN/journal.db")"
	expect "$1: left in /dev/shm" "" "$(shared_memory_left)"
}

test_journal_that_is_not_ours() {
	configure
	printf 'Dear diary,\n' >"$RUN/journal.db"
	journal_refused "a text" 'cannot-start .*journal.db'
	rm "$RUN/journal.db"
	sqlite3 "$RUN/journal.db" 'CREATE TABLE bread (flour); INSERT INTO bread VALUES (500)'
	journal_refused "another application's" 'cannot-start .*journal.db'
	rm "$RUN/journal.db"
	start_taskd
	push -c 300 -a "{\"much\":\"$(head -c 2000 /dev/zero | tr '\0' x)\"}" >/dev/null
	await task_succeeded=300
	stop_taskd
	cp "$RUN/journal.db" "$WORK/good.db"
	sqlite3 "$RUN/journal.db" 'PRAGMA user_version = 99'
	journal_refused "a newer one" 'cannot-start .*99'
	cp "$WORK/good.db" "$RUN/journal.db"
	dd if=/dev/urandom of="$RUN/journal.db" bs=4096 seek=20 count=6 conv=notrunc status=none
	journal_refused "a damaged one" 'cannot-start .*journal.db'
	expect_match "the way out is named" 'move|recover|restore' "$(cat "$WORK/refused.out")"
	cp "$WORK/good.db" "$RUN/journal.db"
	start_taskd
	expect "the good one" 300 "$(sql "SELECT count(*) FROM tasks WHERE state = 'succeeded'")"
	stop_taskd
}

# ---- arguments, results, log lines ----------------------------------------------------------

test_large_arguments() {
	local id dead
	configure
	start_taskd
	printf '{"much":"%s"}' "$(head -c 1048576 /dev/zero | tr '\0' x)" >"$WORK/args"
	id=$(push -H sleep -A "$WORK/args" -D 300)
	wait_state "$id" scheduled
	expect "the file" "$(stat -c %s "$WORK/args")" "$(stat -c %s "$RUN/spool/$id")"
	wait_row "$id" succeeded
	wait_until 5 spool_holds ""
	id=$(push -H describe -A "$WORK/args" -m 2 -B 10)
	wait_row "$id" dead
	dead=$id # and its file stays, for it may be retried
	expect_match "the handler has them" "bytes=$(stat -c %s "$WORK/args") attempt=2/2" "$(sql "SELECT error FROM tasks WHERE id = '$id'")"
	# Cancelled, and after a restart.
	id=$(push -H describe -A "$WORK/args" -D 60000)
	wait_row "$id" scheduled
	stop_taskd
	start_taskd
	push -C "$id"
	wait_row "$id" cancelled
	wait_until 5 spool_holds "$dead"
	# Up to 16 MiB and no more.
	printf '{"much":"%s"}' "$(head -c $((16 * 1048576 - 11)) /dev/zero | tr '\0' x)" >"$WORK/args"
	id=$(push -H sleep -a '{}' -A "$WORK/args")
	wait_row "$id" succeeded
	printf ' ' >>"$WORK/args"
	expect_match "one byte more" "TOO_LARGE" "$("$TOOLS/push" -n "$NAME" -S "$RUN/spool" -A "$WORK/args" 2>&1 || :)"
	wait_until 5 spool_holds "$dead"
	stop_taskd
}

spool_holds() { # NAMES
	[ "$(ls "$RUN/spool")" = "$1" ]
}

test_results_and_progress() {
	local id
	configure
	start_taskd
	id=$(push -H result -a '{"answer":[42,"ä"]}')
	wait_row "$id" succeeded
	expect "the board" "succeeded result default attempt=1/5 error= result={\"answer\":[42,\"ä\"]}" "$(push -G "$id")"
	expect "the journal" '{"answer":[42,"ä"]}' "$(sql "SELECT result FROM tasks WHERE id = '$id'")"
	id=$(push -H big_result -a '{"bytes":65536}')
	wait_row "$id" succeeded
	expect "bytes" 65536 "$(sql "SELECT length(result) FROM tasks WHERE id = '$id'")"
	id=$(push -H big_result -a '{"bytes":65537}')
	wait_row "$id" dead
	id=$(push -H bad_result)
	wait_row "$id" succeeded
	stop_taskd
}

test_log_lines() {
	local id
	configure
	start_taskd
	id=$(push -H log_lines -a '{"lines":3}')
	await task_succeeded=1 log_lines=3
	expect "lines" 3 "$(grep -ac "<6>taskd\[dispatcher [0-9]*\] task-log id=$id handler=log_lines attempt=1 text=\"line [123]\"" "$RUN/taskd.log")"
	id=$(push -H dirty_text -m 1)
	wait_row "$id" dead
	expect "lines that are no lines" 0 "$(grep -acvE '^<[0-7]>taskd\[(supervisor|dispatcher|worker) [0-9]+\] [a-z-]+( |$)' "$RUN/taskd.log")"
	stop_taskd
}

# ---- taskstat -------------------------------------------------------------------------------

life() {
	"$BUILD/taskstat" -j -n "$NAME" | jq -r .taskd.state
}

life_is() {
	[ "$(life)" = "$1" ]
}

test_taskstat() {
	local dispatcher
	configure
	start_taskd
	push -c 100 >/dev/null
	await task_succeeded=100
	expect "state" running "$(life)"
	expect "JSON" "100 100 $NAME" "$("$BUILD/taskstat" -j -n "$NAME" |
		jq -r '"\(.counters.task_succeeded) \(.histograms.run_ns.count) \(.instance)"')"
	expect "one value" "task_succeeded 100" "$("$BUILD/taskstat" -1 -n "$NAME" -f task_succeeded 2>/dev/null | awk '{ print $1, $2 }')"
	expect "what -l and -1 name" "$("$BUILD/taskstat" -l | awk '{ print $1 }' | sort)" \
		"$("$BUILD/taskstat" -1 -n "$NAME" 2>/dev/null | awk '{ sub(/\..*/, "", $1); print $1 }' | sort -u)"
	dispatcher=$(pids_of dispatcher)
	kill -STOP "$dispatcher"
	wait_until 10 life_is hangs
	expect "it still tells" 100 "$(counter task_succeeded)"
	kill -CONT "$dispatcher"
	wait_until 5 life_is running
	kill -KILL "$TASKD"
	wait_until 5 is_gone "$dispatcher"
	expect "state" dead "$(life)"
	expect "it still tells" 100 "$(counter task_succeeded)"
	expect_match "and says so" "dead" "$("$BUILD/taskstat" -1 -n "$NAME" 2>&1 >/dev/null)"
	start_taskd
	expect "state" running "$(life)"
	push >/dev/null
	await task_succeeded=101 # the counters go on
	stop_taskd
	expect "there is no board" 1 "$("$BUILD/taskstat" -1 -n "$NAME" >/dev/null 2>&1 || echo $?)"
}

run_tests "$@"
