#!/bin/bash
# /docs, the dashboard and a page of one's own in a real browser: Debian's chromium, driven by the programs
# of tests/browser/ (Node.js, playwright-core), before a whole instance behind nginx.
#   SHOTS_DIR=DIRECTORY   keep the pictures of all pages there; otherwise they go with the test
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

MODULES=$CHECKOUT/build/npm/tests

# taskd with the demonstration's handlers and those for tests, a responder with the pages, nginx. Everybody may
# read and submit; ada may steer, with TOKEN.
start_instance() {
	local made
	[ -z "${SAN:-}" ] || skip "what the browser does is the same with a sanitizer"
	command -v node >/dev/null || fail "there is no node"
	command -v chromium >/dev/null || fail "there is no chromium"
	"$CHECKOUT/conf/npm-packages.sh" "$CHECKOUT/tests/browser" "$MODULES" 2>"$WORK/npm" || fail "$(cat "$WORK/npm")"
	[ -e "$BUILD/ui/dashboard/index.html" ] || fail "the pages were not built; what says 'make all'?"
	mkdir "$WORK/plugins"
	cp "$BUILD"/handlers/*.so "$TOOLS"/plugins/{say,outcomes}.so "$WORK/plugins"
	PLUGIN_DIR=$WORK/plugins configure '' 'pool default { processes = 2 threads = 2 }'
	start_taskd
	made=$("$BUILD/taskring-app" -N ada:operator)
	TOKEN=${made%%$'\n'*}
	(umask 077 && printf '%s\nanybody submitter\n' "${made#*$'\n'}" >"$RUN/tokens")
	start_app -p 1 -t 4 -J "$RUN/journal.db" -W "$BUILD/ui" -T "$RUN/tokens"
	start_nginx 1 2
	wait_until 15 reaches_responder
	BASE=http://127.0.0.1:$PORT
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
	id=$(push -H say -a '{"month":13,"error":"no such month"}')
	wait_row "$id" dead
	browse edit "$id"
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

test_keyboard() {
	start_instance
	fill_instance
	browse keyboard "$RUNNING" "$DEAD"
	stop_instance
}

run_tests "$@"
