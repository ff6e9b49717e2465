#!/bin/bash
# Whole tasks, from publishing to the end, through the real taskd with two workers of one thread:
# no-op tasks a second (history off, and with every task and attempt kept), the time from publishing
# to the handler's start on an idle system, and resident memory. Called by run.sh.
#   BUILD   where the programs are, default build
#   RUNS    runs of each throughput, default 5; the median is printed, least and most beside it
#   TASKS   tasks a run, default 1000000 with history off; a third of it with history kept
set -u
build=${BUILD:-build}
runs=${RUNS:-5} tasks=${TASKS:-1000000}
name=bench-$$
dir=$(mktemp -d) || exit 1
taskd=

stop_taskd() {
	[ -z "$taskd" ] || { kill "$taskd" && wait "$taskd"; }
	taskd=
}
trap 'stop_taskd; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

start_taskd() { # HISTORY
	rm -f "$dir"/journal.db*
	cat >"$dir/taskd.conf" <<-END
		instance = "$name"
		journal = "journal.db"
		spool_dir = "spool"
		lock_file = "lock"
		plugin_dir = "$(readlink -f "$build/tests/plugins")"
		history = $1
		mail { maildir = "mail" }
		pool default { queues = { "*" } processes = 2 threads = 1 }
	END
	mkdir -p "$dir/spool"
	"$build/taskd" -c "$dir/taskd.conf" 2>>"$dir/log" &
	taskd=$!
	"$build/tests/await" -n "$name" -t 10 worker_alive=2 >/dev/null || { cat "$dir/log"; exit 1; }
}

median() { # numbers on standard input: "median (least to most)"
	sort -n | awk '{ v[NR] = $1 } END { printf "%d/s (%d to %d)\n", v[int((NR + 1) / 2)], v[1], v[NR] }'
}

throughput() { # HISTORY TASKS
	local begun ended
	for ((i = 0; i < runs; i++)); do
		start_taskd "$1"
		begun=$(date +%s%N)
		"$build/tests/push" -n "$name" -c "$2" -p -s >/dev/null &&
			"$build/tests/await" -n "$name" -t 120 "task_succeeded=$2" >/dev/null || exit 1
		ended=$(date +%s%N)
		stop_taskd
		echo $(($2 * 1000000000 / (ended - begun)))
	done | median
}

echo "no-op tasks through two worker processes, history off: $(throughput none "$tasks")"
echo "the same, every task and attempt kept in the journal:  $(throughput all $((tasks / 3)))"

start_taskd none
"$build/tests/push" -n "$name" -c 3000 -i 3000 -s >/dev/null || exit 1
"$build/tests/await" -n "$name" -t 20 task_succeeded=3000 >/dev/null || exit 1
"$build/taskstat" -j -n "$name" | jq -r '.histograms |
	"publish to handler start, idle, 3000 tasks 3 ms apart: p50 \(.wait_ns.p50 / 1000) us, p99 \(.wait_ns.p99 / 1000) us",
	"  of which until the dispatcher has it: p50 \(.take_ns.p50 / 1000) us, p99 \(.take_ns.p99 / 1000) us"'

# Resident memory counts what processes share once for each; proportional shares it out.
rss=0 pss=0
for pid in $(pgrep -P "$taskd") "$taskd"; do
	rss=$((rss + $(sed -n 's/^Rss: *\([0-9]*\) kB/\1/p' "/proc/$pid/smaps_rollup")))
	pss=$((pss + $(sed -n 's/^Pss: *\([0-9]*\) kB/\1/p' "/proc/$pid/smaps_rollup")))
done
echo "memory of taskd after that, supervisor, dispatcher and 2 workers: $rss kB resident, $pss kB proportional"
