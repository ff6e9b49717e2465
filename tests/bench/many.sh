#!/bin/bash
# Looking at a journal of a million tasks: they are published and run by the real taskd, kept, and then asked for through
# nginx as the dashboard does it, and by taskctl, while nothing else runs. Of the tasks one in fifty is dead, one in a
# hundred scheduled; the oldest is the only one of its handler, and the only one that mentions "needle". Called by run.sh.
#   BUILD   where the programs are, default build
#   TASKS   how many, default 1000000
#   RUNS    times each is asked, default 21; the median is printed, least and most beside it
set -u
build=$(readlink -f "${BUILD:-build}")
runs=${RUNS:-21} tasks=${TASKS:-1000000}
here=$(cd "$(dirname "$0")" && pwd)
name=bench-many-$$
# On the disk of the build: a million tasks are more than half a gigabyte.
dir=$(mktemp -d "$build/bench/many.XXXXXX") || exit 1
started=()
curl=(curl -s -m 60 --noproxy '*')

stop() {
	local i
	for ((i = ${#started[@]} - 1; i >= 0; i--)); do
		kill "${started[i]}" 2>/dev/null && wait "${started[i]}" 2>/dev/null
	done
	rm -rf "$dir" /dev/shm/"$name".*
}
trap stop EXIT
trap 'exit 130' INT TERM

fail() {
	echo "many.sh: $*" >&2
	tail -n 5 "$dir"/*.log >&2
	exit 1
}

start() { # LOG COMMAND...
	local log=$1
	shift
	"$@" </dev/null >>"$dir/$log" 2>&1 &
	started+=($!)
}

start_all() {
	local port made i
	mkdir -p "$dir"/{spool,logs,tmp}
	cat >"$dir/taskd.conf" <<-END
		instance = "$name"
		journal = "journal.db"
		spool_dir = "spool"
		lock_file = "lock"
		plugin_dir = "$build/tests/plugins"
		retention { count = 0 age = 0 }
		mail { maildir = "mail" }
		pool default { processes = 2 threads = 1 }
	END
	start taskd.log "$build/taskd" -c "$dir/taskd.conf"
	"$build/tests/await" -n "$name" -t 10 worker_alive=2 >/dev/null || fail "taskd does not start"
	made=$("$build/taskring-app" -N bench:operator) || fail "no token"
	token=${made%%$'\n'*}
	(umask 077 && printf '%s\nanybody submitter\n' "${made#*$'\n'}" >"$dir/tokens")
	start app.log "$build/taskring-app" -s "$dir/app.sock" -m 666 -n "$name" -S "$dir/spool" -J "$dir/journal.db" -T "$dir/tokens" -p 2 -t 4
	port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	sed -e "s|@LISTEN@|listen 127.0.0.1:$port;|; s|@NGINX_WORKERS@|1|; s|@KEEPALIVE@|4|; s|unix:./responder.sock|unix:$dir/app.sock|" \
		"$here/../../conf/nginx.conf.in" >"$dir/nginx.conf"
	chmod 777 "$dir" "$dir/tmp" # nginx's workers are nobody where it is started by root
	start nginx.log nginx -p "$dir" -c nginx.conf -e logs/error.log
	base=http://127.0.0.1:$port
	for ((i = 0; i < 200; i++)); do
		[ "$("${curl[@]}" -o /dev/null -w '%{http_code}' "$base/tasks")" = 200 ] && return
		sleep 0.05
	done
	fail "GET /tasks is not answered"
}

push() { # COUNT OPTION...
	"$build/tests/push" -n "$name" -S "$dir/spool" -s -p -b 20 -c "$@" >/dev/null || fail "push ends with status $?"
}

# From the oldest to the newest.
fill() {
	local begun=$SECONDS dead=$((tasks / 50)) scheduled=$((tasks / 100)) i
	push 1 -b 1 -H result -a '{"email":"needle@example.org"}'
	for ((i = 0; i < 10; i++)); do
		push $((dead / 10)) -H fail_permanently -m 1 -q mail -a '{"email":"grace@example.org","name":"Grace Hopper"}'
		push $(((tasks - dead - scheduled) / 10)) -H noop -a '{"email":"ada@example.org","name":"Ada Lovelace","note":"one hundred bytes, more or less"}'
	done
	push $scheduled -H noop -q later -D 86400000
	"$build/tests/await" -n "$name" -t 600 task_waiting=0 task_running=0 "task_dead=$dead" "task_scheduled=$scheduled" >/dev/null || fail "not all are done"
	echo "$tasks tasks published, run and kept in $((SECONDS - begun)) s; the journal has $(du -cm "$dir"/journal.db* | tail -n 1 | cut -f 1) MB"
}

report() { # WHAT, seconds on standard input
	sort -n | awk -v what="$1" '{ v[NR] = 1000 * $1 } END { printf "  %-58s %8.2f ms (%.2f to %.2f)\n", what, v[int((NR + 1) / 2)], v[1], v[NR] }'
}

asked() { # WHAT PATH [CURL_OPTION...]
	local what=$1 path=$2 i status time
	shift 2
	for ((i = 0; i < runs; i++)); do
		read -r status time < <("${curl[@]}" -o "$dir/body" -w '%{http_code} %{time_total}\n' "$@" "$base$path")
		[ "$status" = 200 ] || fail "$path: $status $(cat "$dir/body")"
		echo "$time"
	done | report "$what"
}

run() { # WHAT COMMAND...
	local what=$1 i begun
	shift
	for ((i = 0; i < runs; i++)); do
		begun=${EPOCHREALTIME/./}
		"$@" >"$dir/body" 2>&1 || fail "$*: $(head -n 3 "$dir/body")"
		awk -v us=$((${EPOCHREALTIME/./} - begun)) 'BEGIN { print us / 1e6 }'
	done | report "$what"
}

# Every page of what matches, as the dashboard joins them: how often it has to ask, and how long that takes.
to_the_end() { # WHAT QUERY
	local path="/tasks?$2" calls=0 found=0 begun=${EPOCHREALTIME/./} next
	while [ -n "$path" ]; do
		"${curl[@]}" "$base$path" >"$dir/body"
		found=$((found + $(jq '.tasks | length' "$dir/body")))
		next=$(jq -r '.next // empty' "$dir/body")
		path=$next
		calls=$((calls + 1))
	done
	printf '  %-58s %8d ms, %d requests, %d found\n' "$1" $(((${EPOCHREALTIME/./} - begun) / 1000)) "$calls" "$found"
}

middle() { # the cursor of a page in the middle of them all, made of an id there
	sqlite3 "file:$dir/journal.db?mode=ro" "SELECT lower(substr(hex(id),1,8)||'-'||substr(hex(id),9,4)||'-'||substr(hex(id),13,4)||'-'||substr(hex(id),17,4)||'-'||substr(hex(id),21))
		FROM task ORDER BY id LIMIT 1 OFFSET $((tasks / 2))"
}

start_all
fill
id=$(middle)
created=$("${curl[@]}" "$base/tasks/$id" | jq -r .created)
one=$("${curl[@]}" "$base/tasks?state=dead&limit=1" | jq -r '.tasks[0].id')
auth=(-X POST -H "Authorization: Bearer $token")
ctl=("$build/taskctl")
export TASKRING_NAME=$name TASKRING_JOURNAL=$dir/journal.db TASKRING_SPOOL=$dir/spool
echo "of GET /tasks?limit=50:"
asked "the first page" '/tasks?limit=50'
asked "a page in the middle, by its cursor" "/tasks?limit=50&cursor=$id"
asked "state=dead, first page" '/tasks?limit=50&state=dead'
asked "state=dead, in the middle" "/tasks?limit=50&state=dead&cursor=$id"
asked "state=scheduled" '/tasks?limit=50&state=scheduled'
asked "state=succeeded" '/tasks?limit=50&state=succeeded'
asked "state=running, none is" '/tasks?limit=50&state=running'
asked "queue=later" '/tasks?limit=50&queue=later'
asked "queue=mail" '/tasks?limit=50&queue=mail'
asked "handler=noop" '/tasks?limit=50&handler=noop'
asked "until a time in the middle" "/tasks?limit=50&to=$created"
asked "text=grace, dead ones" '/tasks?limit=50&state=dead&text=grace'
asked "arg=email=grace@example.org" '/tasks?limit=50&arg=email%3Dgrace@example.org'
asked "handler=result, one step that finds nothing" '/tasks?limit=50&handler=result'
asked "text=needle, one step that finds nothing" '/tasks?limit=50&text=needle'
asked "arg=email=needle@…, one step that finds nothing" '/tasks?limit=50&arg=email%3Dneedle@example.org'
to_the_end "handler=result, down to the oldest" 'limit=50&handler=result'
to_the_end "text=needle, down to the oldest" 'limit=50&text=needle'
to_the_end "arg=email=needle@…, down to the oldest" 'limit=50&arg=email%3Dneedle@example.org'
echo "of the dashboard's pages:"
asked "overview: GET /stats" /stats
asked "overview: GET /stats/history?span=minute" '/stats/history?span=minute'
asked "queues: GET /queues" /queues
asked "handlers: GET /handlers" /handlers
asked "workers: GET /workers" /workers
asked "ring: GET /ring" /ring
asked "task: GET /tasks/{id} of a dead one" "/tasks/$one"
asked "GET /metrics" /metrics
echo "steering all that match, dry run, one step:"
asked "POST /tasks/retry?state=dead" '/tasks/retry?state=dead&dry_run=true' "${auth[@]}"
asked "POST /tasks/cancel?queue=later" '/tasks/cancel?queue=later&dry_run=true' "${auth[@]}"
asked "POST /tasks/cancel?text=nothing-has-it" '/tasks/cancel?text=nothing-has-it&dry_run=true' "${auth[@]}"
echo "of taskctl, the whole command:"
run "list" "${ctl[@]}" list
run "list -s dead" "${ctl[@]}" list -s dead
run "show of one" "${ctl[@]}" show "$one"
