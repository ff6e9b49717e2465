#!/bin/bash
# What looking costs with a full journal: TASKS ended tasks of several handlers, queues and states, some with
# arguments and logs, and live ones, are put there by way of the ring, beside a journal with a hundredth of them; then
# the dashboard's questions are asked through nginx, and taskctl's, each many times (million.py). After that: taskd's
# throughput with and without readers, its restart, a purge, and retention taking half away. Called by run.sh;
# two minutes on two idle processors. All tasks are made within a minute, so a range of time, which is looked for a
# minute beyond both of its ends, passes over most of them.
#   BUILD   where the programs are, default build
#   TASKS   default 1000000
#   REPEAT  times that a question is asked, default 100; taskctl a tenth of that
#   RUNS    of each throughput, default 3
set -u
build=$(readlink -f "${BUILD:-build}")
tasks=${TASKS:-1000000} repeat=${REPEAT:-100} runs=${RUNS:-3}
here=$(cd "$(dirname "$0")" && pwd)
name=bench-million-$$
dir=$(mktemp -d) || exit 1
taskd='' app='' nginx='' reader=''

end() { # PID
	[ -z "$1" ] || { kill "$1" 2>/dev/null && wait "$1" 2>/dev/null; }
}
trap 'end "$reader"; end "$nginx"; end "$app"; end "$taskd"; rm -rf "$dir" /dev/shm/"$name".*' EXIT
trap 'exit 130' INT TERM

fail() {
	echo "million.sh: $*" >&2
	tail -n 5 "$dir"/*.log >&2
	exit 1
}

now_ms() {
	echo $((${EPOCHREALTIME/./} / 1000))
}

# ---- the instance ----------------------------------------------------------------------------

start_taskd() { # RETENTION_COUNT
	cat >"$dir/taskd.conf" <<-CONF
		instance = "$name"
		journal = "journal.db"
		spool_dir = "spool"
		lock_file = "lock"
		plugin_dir = "$build/tests/plugins"
		log_level = "error"
		ring { lanes = 256 }
		retention { count = $1 }
		mail { maildir = "mail" }
		pool default { queues = { "*" } processes = 2 threads = 1 }
	CONF
	mkdir -p "$dir/spool"
	"$build/taskd" -c "$dir/taskd.conf" 2>>"$dir/taskd.log" &
	taskd=$!
	"$build/tests/await" -n "$name" -t 60 worker_alive=2 >/dev/null || fail "taskd does not start"
}

stop_taskd() {
	end "$taskd"
	taskd=
}

start_web() {
	local both
	both=$("$build/taskring-app" -N bench:operator) || fail "no token"
	token=${both%%$'\n'*}
	(umask 077 && echo "${both##*$'\n'}" >"$dir/tokens")
	"$build/taskring-app" -s "$dir/responder.sock" -m 666 -n "$name" -S "$dir/spool" -J "$dir/journal.db" -p 2 -t 4 \
		-T "$dir/tokens" 2>>"$dir/app.log" &
	app=$!
	port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	mkdir -p "$dir/logs" "$dir/tmp"
	sed -e "s|@LISTEN@|listen 127.0.0.1:$port;|; s|@NGINX_WORKERS@|1|; s|@KEEPALIVE@|16|" \
		-e "s|unix:./responder.sock|unix:$dir/responder.sock|" "$here/../../conf/nginx.conf.in" >"$dir/nginx.conf"
	chmod 777 "$dir" "$dir/tmp" # nginx's workers are nobody where it is started by root
	nginx -p "$dir" -c nginx.conf -e logs/error.log 2>>"$dir/nginx.log" &
	nginx=$!
	for ((i = 0; i < 200; i++)); do
		curl -sf -m 5 -o /dev/null --noproxy '*' -H "Authorization: Bearer $token" "http://127.0.0.1:$port/stats" && return
		sleep 0.05
	done
	fail "nothing answers"
}

push() {
	"$build/tests/push" -n "$name" -p -s "$@" >/dev/null || fail "push $*"
}

# Twenty rounds, so that all kinds of tasks are everywhere but the rare ones, which are the oldest.
fill() { # TASKS
	local each=$(($1 / 20)) round
	few=$(($1 / 20000 > 0 ? $1 / 20000 : 1))
	old=$("$build/tests/push" -n "$name" -H say -q rare -a '{"result":{"the":"first"}}') || fail "push"
	for ((round = 0; round < 20; round++)); do
		[ $round -ne 10 ] || middle_ms=$(now_ms)
		[ $round -ne 11 ] || later_ms=$(now_ms)
		push -c $((each * 80 / 100)) -b 10
		push -c $((each * 10 / 100)) -b 10 -q bulk -H keep_secret -a "{\"user\":\"ada$round@example.org\",\"password\":\"hidden\",\"lines\":[1,2,3]}"
		push -c $((each * 8 / 100)) -b 10 -H result -a "{\"to\":\"bob$round@example.org\",\"subject\":\"The figures of last month, as you asked\"}"
		push -c $((each * 2 / 100)) -b 10 -q mail -H succeed
		push -c "$few" -H fail_permanently -a "{\"user\":\"eve$round@example.org\"}"
		push -c "$few" -H fail_times -B 1 -a '{"times":1}'
		push -c "$few" -q later -D 3600000
	done
	"$build/tests/await" -n "$name" -t 300 task_waiting=0 task_scheduled=$((20 * few)) task_retrying=0 task_running=0 >/dev/null || fail "the tasks do not end"
	"$build/taskctl" cancel -n "$name" -J "$dir/journal.db" --queue later --yes >/dev/null || fail "cancel"
	ended=$((20 * (each * 80 / 100 + each * 10 / 100 + each * 8 / 100 + each * 2 / 100 + 2 * few) + 1))
	push -c 500 -q waits -D 3600000
	"$build/taskctl" pause -n "$name" held >/dev/null || fail "pause"
	push -c 500 -q held
	"$build/tests/await" -n "$name" -t 300 task_waiting=500 task_scheduled=500 task_retrying=0 task_running=0 >/dev/null || fail "the tasks do not end"
}

# The id that a task of that moment has at least.
id_of() { # MS
	printf '%08x-%04x-7000-8000-000000000000\n' $(($1 >> 16)) $(($1 & 0xffff))
}

iso() { # MS
	date -u -d "@$(($1 / 1000)).$(printf %03d $(($1 % 1000)))" +%Y-%m-%dT%H:%M:%S.%3NZ
}

# ---- the questions ---------------------------------------------------------------------------

cases() {
	local ctl="RUN	$build/taskctl list -n $name -J $dir/journal.db"
	cat <<-CASES
		GET /tasks, the newest 50	GET	/tasks
		  250 of them	GET	/tasks?limit=250
		  from a cursor in the middle	GET	/tasks?cursor=$(id_of "$middle_ms")
		  state=succeeded	GET	/tasks?state=succeeded
		  state=dead	GET	/tasks?state=dead
		  state=cancelled, from the middle	GET	/tasks?state=cancelled&cursor=$(id_of "$middle_ms")
		  state=scheduled, queued	GET	/tasks?state=scheduled&state=queued
		  a common handler	GET	/tasks?handler=result
		  handler=fail_times	GET	/tasks?handler=fail_times
		  queue=bulk	GET	/tasks?queue=bulk
		  a rare handler, a page	GET	/tasks?handler=say
		  a rare handler, to the end	ALL	/tasks?handler=say
		  a rare queue, a page	GET	/tasks?queue=rare
		  text that is common	GET	/tasks?text=figures
		  text that nothing has, a page	GET	/tasks?text=nowhere
		  text that nothing has, to the end	ALL	/tasks?text=nowhere
		  dead and text that nothing has	GET	/tasks?state=dead&text=nowhere
		  arg=user=ada3@example.org, a page	GET	/tasks?arg=user%3Dada3@example.org
		  arg=user=ada3@example.org, to the end	ALL	/tasks?arg=user%3Dada3@example.org
		  a time range in the middle, a page	GET	/tasks?from=$(iso "$middle_ms")&to=$(iso "$later_ms")
		  that range and state=dead, to the end	ALL	/tasks?from=$(iso "$middle_ms")&to=$(iso "$later_ms")&state=dead
		GET /tasks/ID, the oldest	GET	/tasks/$old
		GET /stats	GET	/stats
		GET /stats/history, hours	GET	/stats/history?span=hour
		GET /queues	GET	/queues
		GET /handlers	GET	/handlers
		POST /tasks/retry?state=dead, dry	POST	/tasks/retry?state=dead&dry_run=true
		POST /tasks/cancel?queue=held, dry	POST	/tasks/cancel?queue=held&dry_run=true
		taskctl list	$ctl
		  --state dead	$ctl --state dead
		  --handler say	$ctl --handler say
		  --text nowhere	$ctl --text nowhere
		taskctl show, the oldest	RUN	$build/taskctl show -n $name -J $dir/journal.db $old
		taskctl retry --state dead --dry-run	RUN	$build/taskctl retry -n $name -J $dir/journal.db --state dead --dry-run
	CASES
}

ask() { # the cases
	"$here/million.py" "http://127.0.0.1:$port" "$token" "$repeat" || fail "a question was not answered"
}

report() {
	awk -F '\t' -v small=$((tasks / 100)) -v big="$tasks" '
		BEGIN {
			printf "%-40s %20s %31s\n", "ms: median, p99; times; found, pages", small " tasks", big " tasks"
		}
		NR == FNR { median[$1] = $2; p99[$1] = $3; next }
		{ printf "%-40s %9.2f %9.2f  %9.2f %9.2f %7.1f x %7d %4s\n", $1, median[$1], p99[$1], $2, $3, $2 / median[$1], $4, $5 }
	' "$dir/small" "$dir/big"
}

# ---- taskd beside its readers ------------------------------------------------------------------

# No-op tasks a second, all kept in the journal; the median of the runs.
throughput() {
	local begun count=$((tasks / 10)) at
	for ((i = 0; i < runs; i++)); do
		at=$("$build/taskstat" -j -n "$name" | jq .counters.task_succeeded)
		begun=${EPOCHREALTIME/./}
		push -c "$count"
		"$build/tests/await" -n "$name" -t 120 "task_succeeded+$((at + count))" >/dev/null || fail "the tasks do not end"
		echo $((count * 1000000 / (${EPOCHREALTIME/./} - begun)))
	done | sort -n | awk '{ v[NR] = $1 } END { printf "%d/s (%d to %d)", v[int((NR + 1) / 2)], v[1], v[NR] }'
}

# One client that asks for a page that finds nothing in many rows, without a pause or with one after each.
start_reader() { # PAUSE_S
	: >"$dir/read"
	"$here/million.py" "http://127.0.0.1:$port" "$token" 1 >"$dir/read" 2>>"$dir/read.log" < <(
		while printf 'page\tGET\t/tasks?handler=say\n' 2>/dev/null; do
			[ "$1" = 0 ] || sleep "$1"
		done) &
	reader=$!
	for ((i = 0; i < 200; i++)); do # its own start is over
		[ ! -s "$dir/read" ] || return
		sleep 0.05
	done
	fail "the reader gets no answer"
}

stop_reader() {
	end "$reader"
	reader=
}

seconds_since() { # MS
	local ms=$(($(now_ms) - $1))
	printf '%d.%03d s' $((ms / 1000)) $((ms % 1000))
}

journal_mb() {
	echo "$(($(stat -c %s "$dir/journal.db") / 1000000)) MB"
}

# ---- all of it ---------------------------------------------------------------------------------

for size in small big; do
	count=$((tasks / 100))
	[ $size = small ] || count=$tasks
	rm -rf "$dir"/journal.db* "$dir/spool" /dev/shm/"$name".*
	start_taskd $((10 * tasks))
	begun=$(now_ms)
	fill $count
	echo "$ended tasks ended, of them $((20 * few)) dead, and as many cancelled: $(seconds_since "$begun"), $(journal_mb)"
	start_web
	cases | ask >"$dir/$size" || exit 1
	[ $size = big ] || { end "$nginx"; end "$app"; stop_taskd; }
done
report

echo "no-op tasks through two workers with that journal:       $(throughput)"
start_reader 0.5
echo "  while a page of a rare handler is read twice a second: $(throughput)"
stop_reader
start_reader 0
echo "  while such pages are read without a pause:             $(throughput), $(wc -l <"$dir/read") pages"
stop_reader
# Its counters begin anew at each start.
over=$("$build/taskstat" -j -n "$name" | jq '.counters | .task_succeeded + .task_dead + .task_cancelled')
begun=$(now_ms)
stop_taskd
echo "stopping taskd:                    $(seconds_since "$begun")"
begun=$(now_ms)
start_taskd $((10 * tasks))
echo "starting it, until workers are up: $(seconds_since "$begun")"
begun=$(now_ms)
"$build/taskctl" purge -n "$name" -J "$dir/journal.db" --queue mail --yes >"$dir/purged" || fail "purge"
echo "taskctl purge --queue mail:        $(seconds_since "$begun"): $(cat "$dir/purged")"
over=$((over - $(grep -o "^[0-9]*" "$dir/purged") - tasks / 2))
stop_taskd
begun=$(now_ms)
start_taskd $((tasks / 2))
"$build/tests/await" -n "$name" -t 300 "journal_removed=$over" >/dev/null || fail "retention does not end"
echo "retention, of $over tasks:      $(seconds_since "$begun")"
