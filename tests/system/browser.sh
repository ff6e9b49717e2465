#!/bin/bash
# /docs, the dashboard and a page of one's own in a real browser: Debian's chromium, driven by the programs
# of tests/browser/ (Node.js, playwright-core), before a whole instance behind nginx.
#   SHOTS_DIR=DIRECTORY   keep the pictures of all pages there; otherwise they go with the test
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

MODULES=$CHECKOUT/build/npm/tests

# taskd with the demonstration's handlers and those for tests, a responder with the pages, nginx. Everybody may
# read and submit; ada may steer, with TOKEN.
start_instance() { # [OPTION of the responder...]
	local made
	[ -z "${SAN:-}" ] || skip "what the browser does is the same with a sanitizer"
	command -v node >/dev/null || fail "there is no node"
	command -v chromium >/dev/null || fail "there is no chromium"
	"$CHECKOUT/conf/npm-packages.sh" "$CHECKOUT/tests/browser" "$MODULES" 2>"$WORK/npm" || fail "$(cat "$WORK/npm")"
	[ -e "$BUILD/ui/dashboard/index.html" ] || fail "the pages were not built; what says 'make all'?"
	mkdir "$WORK/plugins"
	cp "$BUILD"/handlers/*.so "$TOOLS"/plugins/{say,outcomes,faults}.so "$WORK/plugins"
	PLUGIN_DIR=$WORK/plugins configure '' 'pool default { processes = 2 threads = 2 }'
	start_taskd
	made=$("$BUILD/taskring-app" -N ada:operator)
	TOKEN=${made%%$'\n'*}
	(umask 077 && printf '%s\nanybody submitter\n' "${made#*$'\n'}" >"$RUN/tokens")
	start_pages "$@"
	start_nginx 1 2
	wait_until 15 reaches_responder
	BASE=http://127.0.0.1:$PORT
}

start_pages() { # [OPTION...]
	start_app -p 1 -t 4 -J "$RUN/journal.db" -W "$BUILD/ui" -T "$RUN/tokens" "$@"
}

stop_instance() {
	stop_nginx
	stop_app
	stop_taskd
}

# One program of tests/browser/. What the browser writes stays in the test's directory.
browse() { # NAME [ARGUMENT...]
	local name=$1
	shift
	mkdir -p "$WORK/home"
	env HOME="$WORK/home" TMPDIR="$WORK/home" XDG_CACHE_HOME="$WORK/home" XDG_CONFIG_HOME="$WORK/home" \
		BASE="$BASE" TOKEN="$TOKEN" MODULES="$MODULES/node_modules" SLOWNESS="$SLOWNESS" \
		timeout -k 5 $((120 * SLOWNESS)) node "$CHECKOUT/tests/browser/$name.mjs" "$@" >"$WORK/said" || fail "$name: status $?"
	[ ! -s "$WORK/said" ] || while IFS= read -r line; do note "$line"; done <"$WORK/said"
}

test_docs_try_it_out() {
	start_instance
	browse docs
	stop_instance
}

test_calculation_moves_live() {
	start_instance
	browse calculation
	stop_instance
}

test_page_of_ones_own() {
	start_instance
	extract "$CHECKOUT/README.md" html
	browse follow "$WORK/blocks/1"
	stop_instance
}

# The program of a running task ends when it is told to, with a failure: it is cancelled all the same.
test_cancel_by_button() {
	local id
	start_instance
	id=$(push -H sleep -a '{"ms":600000}')
	browse cancel first "$id"
	wait_row "$id" cancelled
	stop_taskd
	start_taskd
	browse cancel again "$id"
	expect "its attempts" 1 "$(sql "SELECT attempt FROM tasks WHERE id = '$id'")"
	stop_instance
}

test_edit_and_retry() {
	local id
	start_instance
	id=$(push -H say -t 60000 -B 1234 -a '{"month":13,"error":"no such month"}')
	wait_row "$id" dead
	browse edit "$id"
	expect "the new one's options" "60000|1234" "$(sql 'SELECT hard_timeout_ms, backoff_base_ms FROM task ORDER BY id DESC LIMIT 1')"
	stop_instance
}

# What would run, if it were taken for HTML; what would reorder the text around it; what a terminal would obey.
test_hostile_text() {
	local running dead
	start_instance
	jq -n '["<script>ran=1</script>", "<img src=x onerror=ran=1>", "\u202eevil\u202c \u2066x", "\"><svg onload=ran=1>", "javascript:ran=1", "]]>&lt;b&gt;"]' >"$WORK/texts"
	running=$(push -H say -a "$(jq -c --arg hold "$WORK/go" '{logs: ., progress: .[0], hold: $hold}' "$WORK/texts")")
	dead=$(push -H say -a "$(jq -c '{logs: ., error: (join(" ") + "\u0007\u001b[31m"), (.[1]): .[3]}' "$WORK/texts")")
	wait_row "$dead" dead
	browse hostile "$running" "$dead" "$WORK/texts"
	touch "$WORK/go"
	wait_row "$running" succeeded
	stop_instance
}

# Something of everything to see: tasks in each state, two queues, logs, attempts.
fill_instance() {
	local i
	push -H succeed -c 12 -s >/dev/null
	push -H log_lines -a '{"lines":3}' -c 4 -q mail -s >/dev/null
	push -H fail_times -a '{"times":9}' -m 9 -B 600000 -c 2 -s >/dev/null
	push -H noop -D 3600000 -c 3 -q mail -s >/dev/null
	for i in 1 2; do
		push -H fail_permanently -m 1 -a "{\"email\":\"ada$i@example.org\"}" >"$WORK/id"
	done
	post /register '{"email":"ada@example.org","name":"Ada"}'
	expect "POST /register" 202 "$STATUS"
	DEAD=$(push -H say -a '{"month":13,"logs":["reading the month","it is not one"],"error":"no such month"}')
	RUNNING=$(push -H say -a "{\"month\":12,\"logs\":[\"reading the month\"],\"progress\":\"half of December\",\"hold\":\"$WORK/go\"}")
	wait_row "$DEAD" dead
	wait_state "$RUNNING" running
}

# SHOTS_DIR or WORK gets a picture of each page.
test_pages() {
	local shots=${SHOTS_DIR:-$WORK/shots}
	mkdir -p "$shots"
	start_instance
	fill_instance
	browse pages "$RUNNING" "$DEAD" "$shots"
	touch "$WORK/go"
	wait_row "$RUNNING" succeeded
	stop_instance
}

wait_rows() { # STATE ID...
	local id
	for id in "${@:2}"; do
		wait_row "$id" "$1"
	done
}

test_filters() {
	local -A id
	start_instance
	id[succeeded]=$(push -H noop -q alpha -a '{"email":"ada@example.org"}')
	wait_row "${id[succeeded]}" succeeded
	id[dead]=$(push -H fail_permanently -m 1 -q beta -a '{"email":"grace@example.org","list":[1,{"deep":7}]}')
	wait_row "${id[dead]}" dead
	id[scheduled]=$(push -H noop -D 3600000 -q alpha -a '{"name":"ada"}')
	wait_row "${id[scheduled]}" scheduled
	id[retrying]=$(push -H fail_times -m 9 -B 3600000 -q beta -a '{"times":9}')
	wait_row "${id[retrying]}" retrying
	jq -n '$ARGS.named' --arg succeeded "${id[succeeded]}" --arg dead "${id[dead]}" --arg scheduled "${id[scheduled]}" --arg retrying "${id[retrying]}" >"$WORK/ids"
	browse filters "$WORK/ids"
	stop_instance
}

test_many_by_button() {
	local name
	local -a all
	start_instance
	push -H fail_times -m 1 -c 3 -q retry -a '{"times":1}' >"$WORK/retry"
	push -H fail_permanently -m 1 -c 2 -q other >"$WORK/other"
	push -H noop -D 3600000 -c 2 -q run >"$WORK/run_now"
	push -H noop -D 3600000 -c 4 -q cancel >"$WORK/cancel"
	push -H noop -D 3600000 -c 3 -q some >"$WORK/some"
	push -H fail_permanently -m 1 -c 2 -q discard -a '{"text":"give-up"}' >"$WORK/discard"
	push -H noop -q mail >/dev/null
	for name in retry other discard; do
		mapfile -t all <"$WORK/$name"
		wait_rows dead "${all[@]}"
	done
	for name in run_now cancel some; do
		mapfile -t all <"$WORK/$name"
		wait_rows scheduled "${all[@]}"
	done
	jq -n '$ARGS.named | map_values(split("\n") | map(select(. != "")))' --rawfile retry "$WORK/retry" --rawfile other "$WORK/other" --rawfile run "$WORK/run_now" \
		--rawfile cancel "$WORK/cancel" --rawfile some "$WORK/some" --rawfile discard "$WORK/discard" >"$WORK/ids"
	browse steer "$WORK/ids"
	stop_instance
}

test_task_page() {
	local crashed retried given_up i
	local -a together
	start_instance
	crashed=$(push -H crash -m 2 -B 1000) # full jitter: with a short one there may be no pause at all
	retried=$(push -H say -m 3 -B 20 -a '{"times":1,"logs":["begun"],"one":{"two":{"three":"below"}}}')
	given_up=$(push -H fail_times -m 99 -B 600000 -a '{"times":99}')
	for i in 1 2 3 4 5 6 7 8; do
		wait_until 10 has_failed "$given_up" "$i"
		[ "$i" -eq 8 ] || push -N "$given_up"
	done
	push -C "$given_up"
	wait_row "$given_up" cancelled
	post /register '{"email":"ada@example.org","name":"Ada"}'
	expect "POST /register" 202 "$STATUS"
	wait_row "$crashed" dead
	wait_row "$retried" succeeded
	mapfile -t together < <(jq -r '.tasks[].id' "$WORK/body")
	wait_rows succeeded "${together[@]}"
	browse task "$crashed" "$retried" "$given_up" "${together[@]:0:2}"
	stop_instance
}

has_failed() { # ID TIMES
	[ "$(sql "SELECT state, attempt FROM tasks WHERE id = '$1'")" = "retrying|$2" ]
}

# A worker dies of a crash and is another one; a queue is paused with two that wait and one that is not due; names are
# as long as they may be.
test_tables() {
	local running pid name
	start_instance
	name=$(printf 'x%.0s' {1..63})
	wait_row "$(push -H "$name" -m 1 -q "$name")" dead
	wait_row "$(push -H crash -m 1 -q alpha)" dead
	wait_row "$(push -H fail_permanently -m 1 -q alpha)" dead
	push -H noop -c 2 -q alpha -s >/dev/null
	wait_row "$(push -H fail_times -m 9 -B 3600000 -q alpha -a '{"times":9}')" retrying
	"$TOOLS/push" -n "$NAME" -P beta
	await queues_paused=1
	push -H noop -c 2 -q beta >/dev/null
	push -H noop -D 3600000 -q beta >/dev/null
	push -H noop >/dev/null
	await task_succeeded=3
	post /register '{"email":"ada@example.org","name":"Ada"}'
	expect "POST /register" 202 "$STATUS"
	await task_succeeded=5
	running=$(push -H say -a "{\"hold\":\"$WORK/go\"}")
	wait_state "$running" running
	request /workers
	pid=$(jq -r --arg id "$running" '.workers[] | select(any(.running[]; .id == $id)) | .pid' "$WORK/body")
	browse tables "$running" "$pid"
	touch "$WORK/go"
	wait_row "$running" succeeded
	stop_instance
}

test_hidden() {
	local running
	start_instance
	running=$(push -H say -a "{\"progress\":\"half\",\"hold\":\"$WORK/go\"}")
	wait_state "$running" running
	browse hidden "$running" "$WORK/go"
	stop_instance
}

# taskd dies; its board is not there; the task runs again when taskd is back.
test_away() {
	local running
	start_instance
	running=$(push -H say -a "{\"hold\":\"$WORK/go\"}")
	wait_state "$running" running
	wait_row "$running" running
	browse away "$running" "$TASKD"
	wait_until 10 no_taskd_left
	stop_app # it has the board open
	rm "/dev/shm/$NAME.board"
	start_pages
	wait_until 15 reaches_responder
	browse away "$running"
	touch "$WORK/go"
	start_taskd
	wait_row "$running" succeeded
	stop_instance
}

test_many_tabs() {
	local running
	start_instance
	running=$(push -H say -a "{\"hold\":\"$WORK/go\"}")
	wait_state "$running" running
	browse tabs "$running"
	touch "$WORK/go"
	wait_row "$running" succeeded
	stop_instance
}

test_charts() {
	start_instance
	browse charts
	stop_instance
}

# The same under a path of the web server's: nothing is asked outside of it.
test_prefix() {
	local id
	start_instance -P /tools/x
	BASE=$BASE/tools/x
	browse docs
	browse calculation
	id=$(push -H sleep -a '{"ms":600000}')
	browse cancel first "$id"
	wait_row "$id" cancelled
	stop_instance
}

# The history is written at the end of each minute, and of taskd.
test_overview() {
	start_instance
	push -H succeed -c 12 -s >/dev/null
	push -H fail_permanently -m 1 -c 2 -s >/dev/null
	await task_succeeded=12 task_dead=2
	stop_taskd
	start_taskd
	push -H noop -D 3600000 -c 2 -s >/dev/null
	push -H say -a "{\"hold\":\"$WORK/go\"}" >"$WORK/id"
	await task_running=1 task_scheduled=2
	browse overview
	touch "$WORK/go"
	wait_row "$(cat "$WORK/id")" succeeded
	stop_instance
}

test_keyboard() {
	start_instance
	fill_instance
	browse keyboard "$RUNNING" "$DEAD"
	stop_instance
}

test_far_pages() {
	local id
	start_instance
	id=$(push -H fail_permanently -m 1)
	wait_row "$id" dead
	browse far "$id"
	stop_instance
}

run_tests "$@"
