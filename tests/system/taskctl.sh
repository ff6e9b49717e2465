#!/bin/bash
# taskctl beside a real taskd, pushing and looking: what each command prints, its exit status, and what it leaves behind.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
. "$CHECKOUT/tests/system/lib/taskctl.sh"

test_push() {
	local id
	configure
	start_taskd
	add succeed '{"a":1}' --queue mail --max-attempts 7 --trace 'trace text'
	expect_match "an id" "^$ID$" "$OUT"
	id=$OUT
	wait_row "$id" succeeded
	expect "as it was pushed" 'mail|7|trace text|{"a":1}' "$(sql "SELECT queue, max_attempts, trace, args FROM task")"
	ctl push nosuch --max-attempts 1
	expect "an unknown handler" 0 "$STATUS"
	expect_match "the warning" 'no worker has a handler "nosuch" now' "$(cat "$WORK/err")"
	echo '{"from":"a file"}' >"$WORK/args"
	add result "@$WORK/args" --wait --timeout 20s
	expect_match "what --wait prints" "^$ID succeeded \{\"from\":\"a file\"\}$" "$OUT"
	INPUT=$WORK/args
	add result - --wait --json --durable
	INPUT=
	expect "what --wait --json prints" 'succeeded {"from":"a file"}' "$(jq -rc '"\(.state) \(.result)"' <<<"$OUT")"
	add succeed --delay 1h
	expect "a delayed one" scheduled "$(state_of "$OUT")"
	add succeed --run-at 2035-01-01T00:00Z
	wait_row "$OUT" scheduled
	expect "run-at" 2051222400000 "$(sql "SELECT due_ms FROM task ORDER BY id DESC LIMIT 1")"
	expect_refusal 2 'the arguments are no JSON' push succeed '{"a":'
	expect_refusal 2 'handler' push 'no such/name'
	expect_refusal 2 'max-attempts' push succeed --max-attempts 0
	expect_refusal 2 'wanted: push' push
	expect_refusal 2 "$WORK/nothing: No such file" push succeed "@$WORK/nothing"
	stop_taskd
	expect_nothing_left
}

# The exit status tells how it ended.
test_push_and_wait() {
	local id
	configure
	start_taskd
	ctl push fail_permanently --wait
	expect "status of a dead one" 6 "$STATUS"
	expect_match "its line" "^$ID dead there is no such address$" "$OUT"
	ctl push sleep '{"ms":20000}' --wait --timeout 200ms
	expect "status of one that is late" 5 "$STATUS"
	expect_match "its line" "^$ID running$" "$OUT"
	id=${OUT%% *}
	expect_ctl 0 "1 of 1 task: asked taskd to cancel" cancel "$id"
	wait_state "$id" cancelled
	stop_taskd
}

test_push_lines() {
	local i line
	configure
	start_taskd
	for i in {1..600}; do
		echo "{\"handler\":\"result\",\"args\":{\"n\":$i},\"queue\":\"q$((i % 3))\"}"
	done >"$WORK/lines"
	ctl push -l "$WORK/lines" --max-attempts 2
	expect "status ($ERR)" 0 "$STATUS"
	expect "ids" 600 "$(sort -u "$WORK/out" | grep -cE "^$ID$")"
	await task_succeeded=600
	wait_until 5 eval '[ "$(sql "SELECT count(*) FROM tasks WHERE state = '"'succeeded'"'")" = 600 ]'
	expect "what they got" "180300|2|200" "$(sql "SELECT sum(json_extract(args, '$.n')), max(max_attempts),
		sum(queue = 'q1') FROM tasks")"
	ctl push -l "$WORK/lines" --durable --wait
	expect "status with --durable --wait" 0 "$STATUS"
	expect "in the order of the lines" "$(seq 600 | paste -sd' ')" \
		"$(sed -E 's/.*succeeded \{"n":([0-9]+)\}/\1/' "$WORK/out" | paste -sd' ')"
	# In sequence, and all or nothing.
	printf '%s\n' '{"handler":"fail_permanently"}' '' '{"handler":"succeed","delay_ms":1}' >"$WORK/two"
	INPUT=$WORK/two
	ctl push --lines --sequence --wait
	# shellcheck disable=SC2034 # read by lib/taskctl.sh
	INPUT=
	expect "status of a sequence of which the first dies" 6 "$STATUS"
	expect "its ends" "dead cancelled" "$(awk '{ print $2 }' "$WORK/out" | paste -sd' ')"
	printf '%s\n' '{"handler":"succeed"}' '{"handler":"succeed","quue":"x"}' >"$WORK/faulty"
	await task_waiting=0
	expect_refusal 2 "quue.*line 2 is where it stopped; nothing was pushed" push -l --sequence "$WORK/faulty"
	ctl push -l "$WORK/faulty"
	expect "status of a faulty line" 2 "$STATUS"
	expect "before it" 1 "$(grep -cE "^$ID$" "$WORK/out")"
	# All that is wrong with it, with the bounds of POST /tasks.
	echo '{"handler":7,"max_attempts":0,"backoff_cap_ms":"1","hard_timeout_ms":604800001,"delay_ms":-1,"run_at":"soon","bogus":1}' >"$WORK/faulty"
	ctl push -l "$WORK/faulty"
	expect "status of a line with many faults" 2 "$STATUS"
	expect "its faults" "handler: wanted: a text
max_attempts: wanted: a whole number from 1 to 1000
backoff_cap_ms: wanted: a whole number from 0 to 604800000
hard_timeout_ms: wanted: a whole number from 0 to 604800000
delay_ms: wanted: a whole number from 0 to 316224000000
run_at: wanted: e.g. \"2026-01-31T10:00Z\", \"+5m\"
bogus: a task has no such field
line 1 is where it stopped" "${ERR//taskctl: /}"
	for line in '[]' '{}' '{"args":{}}'; do
		echo "$line" >"$WORK/faulty"
		expect_refusal 2 "line 1 is where it stopped" push -l "$WORK/faulty"
	done
	echo '{"handler":"succeed","queue":"slow","max_attempts":3,"backoff_base_ms":1,"backoff_cap_ms":2,"soft_timeout_ms":3,"hard_timeout_ms":4000,"delay_ms":5,"run_at":"2035-01-01T00:00Z","expires_after_ms":315360000006,"trace":"t","on_failure":"bury"}' >"$WORK/full"
	ctl push -l "$WORK/full"
	wait_row "$OUT" scheduled
	expect "a full one" "slow|3|1|2|3|4000|2051222400000|t|bury" "$(sql "SELECT queue, max_attempts, backoff_base_ms, backoff_cap_ms,
		soft_timeout_ms, hard_timeout_ms, run_at_ms, trace, on_failure FROM task WHERE lower(hex(id)) = replace('$OUT', '-', '')")"
	stop_taskd
	expect "all in all" 1204 "$(sql "SELECT count(*) FROM tasks")"
	expect_nothing_left
}

test_file_of_its_own() {
	local id
	configure
	start_taskd
	head -c 300000 /dev/urandom >"$WORK/upload"
	add fail_times '{"times":1}' --max-attempts 1 --file "$WORK/upload"
	id=$OUT
	wait_row "$id" dead
	cmp "$WORK/upload" "$RUN/spool/$id.file" || fail "the file is not what was given"
	# Edit and retry: a new task with the rest as it was, and a file, too.
	expect_ctl 0 '{"matched":1,"asked":0,"dry_run":true}' retry "$id" --args '{"times":0}' --dry-run --json
	ctl retry "$id" --args '{"times":0}'
	expect "status ($ERR)" 0 "$STATUS"
	expect_match "the new id" "^$ID$" "$OUT"
	wait_row "$OUT" succeeded
	wait_row "$id" cancelled
	expect "as it was" '1|{"times":0}' "$(sql "SELECT max_attempts, args FROM tasks WHERE id = '$OUT'")"
	expect_refusal 4 "it is cancelled and cannot be retried" retry "$id" --args '{}'
	expect_refusal 2 "no JSON" retry "$id" --args '{'
	wait_until 5 eval '[ -z "$(ls "$RUN/spool")" ]'
	stop_taskd
	expect_nothing_left
}

test_list_and_show() {
	local first second
	configure
	start_taskd
	add succeed '{"email":"ada@example.org","n":1}'
	first=$OUT
	wait_row "$first" succeeded
	add dirty_text '{"email":"bob@example.org"}' --queue other --max-attempts 1
	second=$OUT
	wait_row "$second" dead
	ctl list
	expect_match "the head" "^ID +STATE +HANDLER +QUEUE +ATTEMPT +AGE  NOTE"$'\n' "$OUT"
	expect_match "the rows" "$second dead +dirty_text +other +1/1 +[0-9]+ms  tab.*"$'\n'"$first succeeded succeed +default +1/5 +[0-9]+ms$" "$OUT"
	expect "by state" "$second" "$(ctl list -j --state dead,expired && jq -r .id <<<"$OUT")"
	expect "by handler" "$first" "$(ctl list -j --handler succeed && jq -r .id <<<"$OUT")"
	expect "by queue" "$second" "$(ctl list -j --queue other && jq -r .id <<<"$OUT")"
	expect "the newest" "$second" "$(ctl list -j -L 1 && jq -r .id <<<"$OUT")"
	expect "by time" 2 "$(count_of --from -1h --to +1h)"
	expect "before" 0 "$(count_of --to -1h)"
	wait_until 5 eval 'ctl show "$first"; grep -q ada@example.org "$WORK/out"' # the board shows the handler
	expect "by text" "$second" "$(ctl list -j --text BOB@ && jq -r .id <<<"$OUT")"
	expect "by argument" "$first" "$(ctl list -j --arg email=ada@example.org -a n=1 && jq -r .id <<<"$OUT")"
	expect "by another value" "" "$(ctl list -j --arg email=ada@example.org -a n=2 && echo "$OUT")"
	expect_refusal 2 'wanted: .*dead' list --state died
	expect_refusal 2 'the filter names' list --handler 'no/name'
	ctl show "$first"
	expect "status of show ($ERR)" 0 "$STATUS"
	expect_match "show" "state        succeeded"$'\n' "$OUT"
	expect_match "show" 'arguments    \{"email":"ada@example.org","n":1\}' "$OUT"
	expect_match "show" 'result       \{"ok":true\}' "$OUT"
	expect_match "show" "attempt 1    $AT  succeeded" "$OUT"
	expect_match "show" "log 1        $AT  info: attempt 1 of 5 in queue default" "$OUT"
	ctl show "$first" --json
	expect "show --json" 'succeeded ada@example.org succeeded info 1' \
		"$(jq -r '"\(.state) \(.arguments.email) \(.attempts[0].outcome) \(.log[0].level) \(.siblings | length)"' <<<"$OUT")"
	expect_refusal 3 "$NOBODY: no such task" show $NOBODY
	expect_refusal 2 "an id has the form" show 1234
	expect_refusal 3 "no such task" explain $NOBODY
	expect_refusal 3 "no such task" cancel $NOBODY
	ctl explain "$second"
	expect "status of explain" 0 "$STATUS"
	expect_match "explain" "failed for good" "$OUT"
	stop_taskd
}

# What a handler declares secret is shown nowhere, and what is shown instead is not taken for it.
test_secrets() {
	local id
	configure
	start_taskd
	add keep_secret '{"user":"ada","password":"geheim"}' --wait
	id=${OUT%% *}
	for command in "show $id" "show $id -j" "list -j" "tail $id -j"; do
		# shellcheck disable=SC2086
		ctl $command
		expect "the secret in $command" 0 "$(grep -c geheim "$WORK/out" || :)"
	done
	# Before the board shows the handler, nothing of its arguments is known to be harmless.
	wait_until 5 eval 'ctl show "$id"; grep -qF "arguments    {\"user\":\"ada\",\"password\":\"***\"}" "$WORK/out"'
	expect "found by its secret" "" "$(ctl list -j --text geheim && echo "$OUT")"
	ctl pause default
	await queues_paused=1
	add keep_secret '{"user":"ada","password":"geheim"}'
	expect_refusal 2 '\*\*\* stands for a secret' retry "$OUT" --args '{"user":"eve","password":"***"}'
	stop_taskd
}

# Texts of others reach the terminal as text: of the handlers what taskd lets through, of callers everything.
test_hostile_text() {
	local id
	configure
	start_taskd
	add result '{"x":"\u001b]0;owned\u0007\u009b31m\u202egpj"}' --wait
	id=${OUT%% *}
	ctl push result "$(printf '{"x":"\xe2\x80\xae\xc2\x9b2J"}')" --trace "$(printf 'a\tb')"
	expect "a trace with a control character" 2 "$STATUS"
	ctl push result "$(printf '{"x":"\xe2\x80\xae\xc2\x9b2J"}')" --wait
	expect_match "what --wait prints" '"x":"\\u202e\\x9b2J"' "$OUT"
	ctl push dirty_text --max-attempts 1 --wait
	for id in "$id" "${OUT%% *}"; do
		for command in list "show $id" "show $id -j" "list -j" "tail $id" "tail $id -j" "explain $id"; do
			# shellcheck disable=SC2086
			ctl $command
			expect "control characters in the output of $command" "" \
				"$(LC_ALL=C tr -d '\n' <"$WORK/out" | LC_ALL=C grep -aoP '[\x00-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]' || :)"
		done
	done
	ctl show "$(printf 'x\033[31m')"
	expect_match "what it says of a bad id" 'x\\x1b\[31m: an id has' "$ERR"
	stop_taskd
}

test_tail() {
	local id pid
	configure
	start_taskd
	add log_lines '{"lines":5}' --wait
	id=${OUT%% *}
	ctl tail "$id" # it has ended: all that there is
	expect "status" 0 "$STATUS"
	expect "its lines" "$(printf 'log info: line %s\n' 1 2 3 4 5)"$'\n'succeeded "$(cut -c 27- "$WORK/out")"
	# From its beginning to its end, while it runs.
	add progress '{"steps":40,"ms":20}'
	ctl tail "$OUT" --timeout 20s
	expect "status" 0 "$STATUS"
	expect_match "progress" 'progress( 40/40)? step 40' "$OUT"
	expect "steps in order" "$(grep -o 'step [0-9]*$' "$WORK/out" | sort -t' ' -nk2)" "$(grep -o 'step [0-9]*$' "$WORK/out")"
	expect_match "its last line" "$AT  succeeded$" "$(tail -n 1 "$WORK/out")"
	# Followed over a failure and a retry, which comes when it is asked for.
	expect_ctl 0 "1 of 1 queue: asked taskd to pause" pause later
	await queues_paused=1
	add fail_times '{"times":1}' --backoff-base 10m --queue later
	id=$OUT
	"$BUILD/taskctl" tail "$id" -n "$NAME" -J "$RUN/journal.db" --json --timeout 20s >"$WORK/tail" &
	pid=$!
	wait_until 5 grep -q '"queued"' "$WORK/tail"
	expect_ctl 0 "1 of 1 queue: asked taskd to resume" resume later
	wait_until 5 grep -q '"retrying"' "$WORK/tail"
	expect_ctl 0 "1 of 1 task: asked taskd to run" run "$id"
	wait $pid || fail "tail ended with status $?"
	expect_match "its states" '^queued .*retrying .*succeeded $' "$(jq -r 'select(.event == "state") | .state' "$WORK/tail" | tr '\n' ' ')"
	expect "its error" "failure 1 of 1" "$(jq -r 'select(.state == "retrying") | .error' "$WORK/tail" | head -n 1)"
	add fail_permanently
	ctl tail "$OUT"
	expect "status of a dead one" 6 "$STATUS"
	# What the attempt before has said is not said of the one that runs.
	touch "$WORK/go"
	add say "{\"times\":1,\"hold\":\"$WORK/go\"}" --backoff-base 10m
	id=$OUT
	wait_row "$id" retrying
	rm "$WORK/go"
	expect_ctl 0 "1 of 1 task: asked taskd to run" run "$id"
	wait_state "$id" running
	ctl tail "$id" --timeout 100ms
	expect_match "one that runs again" "^$AT  running, attempt 2$" "$OUT"
	touch "$WORK/go"
	wait_row "$id" succeeded
	add succeed --delay 1h
	ctl tail "$OUT" --timeout 100ms
	expect "status of one that waits" 5 "$STATUS"
	expect_refusal 3 "no such task" tail $NOBODY
	stop_taskd
}

# All tasks, filtered; and nothing is lost while it keeps up.
test_tail_all() {
	local pid
	configure
	start_taskd
	"$BUILD/taskctl" tail -n "$NAME" -J "$RUN/journal.db" --handler log_lines --timeout 30s >"$WORK/tail" 2>&1 &
	pid=$!
	wait_until 5 eval 'push -H log_lines -a "{\"lines\":1}" >/dev/null; grep -q "line 1" "$WORK/tail"'
	: >"$WORK/tail"
	push -H succeed >/dev/null
	add log_lines '{"lines":100,"dots":100}' --wait
	wait_until 5 grep -q "${OUT%% *}  succeeded" "$WORK/tail"
	expect "lines in order, each of them whole" "$(seq -f "%g$(printf '.%.0s' {1..100})" 100)" \
		"$(grep -a "${OUT%% *}  log info" "$WORK/tail" | sed 's/.*line //')"
	expect "of other handlers" 0 "$(grep -ac 'in queue default' "$WORK/tail")"
	kill $pid
	stop_taskd
}

# Who reads too slowly is told so, and goes on with what is there.
test_tail_overrun() {
	local pid
	configure 'board { events = 1024 }'
	start_taskd
	"$BUILD/taskctl" tail -n "$NAME" -J "$RUN/journal.db" --timeout 60s >"$WORK/tail" 2>&1 &
	pid=$!
	wait_until 5 eval 'push -H noop >/dev/null; grep -q succeeded "$WORK/tail"'
	kill -STOP $pid
	push -c 5000 -b 100 -p -s >/dev/null
	await task_waiting=0 task_running=0 task_succeeded+5000
	kill -CONT $pid
	wait_until 10 grep -qE '^missed [0-9]{4,} events$' "$WORK/tail"
	add log_lines --wait
	wait_until 10 grep -q "${OUT%% *}  succeeded" "$WORK/tail"
	kill $pid
	stop_taskd
}

# Root does not leave files in the spool that taskd's user cannot read.
test_as_root() {
	local id
	[ "$(id -u)" = 0 ] || skip "needs root"
	# The checkout may lie where www-data cannot reach it.
	mkdir "$WORK/plugins"
	cp "$TOOLS"/plugins/*.so "$WORK/plugins"
	PLUGIN_DIR=$WORK/plugins configure 'user = "www-data"'
	chown -R www-data "$RUN"
	chmod 711 "$WORK"
	start_taskd
	head -c 100000 /dev/zero | tr '\0' x | jq -Rc '{much: ., times: 1}' >"$WORK/args"
	chmod 600 "$WORK/args" # it is read before
	add fail_times "@$WORK/args" --file "$WORK/args" --max-attempts 1
	id=$OUT
	wait_row "$id" dead
	expect "files and their owner" "$id www-data $id.file www-data" "$(cd "$RUN/spool" && stat -c '%n %U' -- * | paste -sd' ')"
	ctl list
	expect "status of list" 0 "$STATUS"
	ctl retry "$id" --args '{"times":0}'
	wait_row "$OUT" succeeded
	expect "others' files" "" "$(find "$RUN" /dev/shm -name '*'"$NAME"'*' ! -user www-data)$(find "$RUN" ! -user www-data ! -name taskd.log)"
	expect_ctl 0 "taskd has stopped" drain
	wait "$TASKD"
	expect_nothing_left
}

# Looking works on; what is asked for waits in the ring; and nothing is made where nothing is.
test_dead_taskd() {
	local old dead
	configure
	start_taskd
	add log_lines --wait
	old=${OUT%% *}
	add fail_times '{"times":1}' --max-attempts 1
	dead=$OUT
	wait_row "$dead" dead
	pkill -KILL -f "$RUN/taskd.conf"
	wait_until 5 eval '! pgrep -f "$RUN/taskd.conf" >/dev/null'
	expect "tasks" 2 "$(count_of)"
	ctl show "$old" --json
	expect "show" "succeeded 3" "$(jq -r '"\(.state) \(.log | length)"' <<<"$OUT")"
	ctl tail "$old"
	expect "tail" 0 "$STATUS"
	ctl explain "$dead"
	expect "explain" 0 "$STATUS"
	ctl retry "$dead"
	expect "retry" 0 "$STATUS"
	expect "what it says" "taskctl: taskd does not run now; it will obey when it is back" "$ERR"
	expect_refusal 4 "taskd does not run" drain
	start_taskd
	wait_row "$dead" succeeded
	expect_ctl 0 "taskd has stopped" drain --timeout 20s
	wait_until 5 is_gone "$TASKD"
	expect "left in /dev/shm" "" "$(shared_memory_left)"
	# Stopped in order there is neither ring nor board; the journal is read all the same.
	expect "tasks" 2 "$(count_of)"
	expect_refusal 3 "has no ring" retry "$dead"
	expect_refusal 3 "has no ring" push succeed
	STATUS=0
	"$BUILD/taskctl" list -n "$NAME" -J "$WORK/nothing" 2>"$WORK/err" || STATUS=$?
	expect "no such instance" "3 taskctl: there is no instance \"$NAME\": neither in /dev/shm nor $WORK/nothing" "$STATUS $(cat "$WORK/err")"
	expect "left in /dev/shm" "" "$(shared_memory_left)"
}

# The one lane is the last one's until taskd has taken over what that one published.
test_lane_of_one_that_ended() {
	local i
	configure 'ring { lanes = 1 }'
	start_taskd
	for ((i = 0; i < 10; i++)); do
		add succeed
	done
	await task_succeeded=10
	stop_taskd
}

# A full disk or a closed pipe is no success. Who closes the pipe, as head does, wants to hear no more.
test_output_fails() {
	local status=0
	configure
	start_taskd
	add succeed --wait
	"$BUILD/taskctl" list -n "$NAME" -J "$RUN/journal.db" >/dev/full 2>"$WORK/err" || status=$?
	expect "status" 1 $status
	expect_match "what it says" "No space left on device" "$(cat "$WORK/err")"
	exec 7> >(:)
	wait $!
	status=0
	"$BUILD/taskctl" list -n "$NAME" -J "$RUN/journal.db" >&7 2>"$WORK/err" || status=$?
	expect "a closed pipe" "1 " "$status $(cat "$WORK/err")"
	"$BUILD/taskctl" --help | grep -q '^  explain '
	status=0
	"$BUILD/taskctl" nonsense 2>"$WORK/err" || status=$?
	expect "no command" "2 taskctl: \"nonsense\" is no command" "$status $(head -n 1 "$WORK/err")"
	stop_taskd
}

run_tests "$@"
