#!/bin/bash
# Slow HTTP calls: so many at once through one worker process with one thread, against a server on the
# loopback that answers each after DELAY ms. Prints how long all of them took and what memory the worker
# had at most. Called by run.sh.
#   BUILD   where the programs are, default build
#   CALLS   default 1000; DELAY default 1000
set -u
build=${BUILD:-build}
calls=${CALLS:-1000} delay=${DELAY:-1000}
name=bench-http-$$
dir=$(mktemp -d) || exit 1
pids=()

stop() {
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	done
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT TERM

wait_for() { # COMMAND...: at most 10 s
	local i
	for ((i = 0; i < 200; i++)); do
		"$@" && return 0
		sleep 0.05
	done
	echo "bench: waited for $*" >&2
	return 1
}

# The server needs a descriptor for each call.
ulimit -n 4096 2>/dev/null || ulimit -n "$(ulimit -H -n)"
"${0%/*}/../system/http_server.py" >"$dir/port" 2>"$dir/server.log" &
pids+=($!)
wait_for grep -q '^port ' "$dir/port" || exit 1
port=$(sed 's/^port //' "$dir/port")

cat >"$dir/taskd.conf" <<-END
	instance = "$name"
	journal = "journal.db"
	spool_dir = "spool"
	lock_file = "lock"
	plugin_dir = "$(readlink -f "$build/tests/plugins")"
	transfer_module = "$(readlink -f "$build/modules/transfer.so")"
	mail { maildir = "mail" }
	http { allow_private = yes }
	pool default { queues = { "*" } processes = 1 threads = 1 }
END
mkdir "$dir/spool"
"$build/taskd" -c "$dir/taskd.conf" 2>"$dir/log" &
taskd=$!
pids+=("$taskd")
"$build/tests/await" -n "$name" -t 10 worker_alive=1 >/dev/null || { cat "$dir/log"; exit 1; }
for pid in $(pgrep -P "$taskd"); do
	[ "$(cat "/proc/$pid/comm")" != taskd-worker ] || worker=$pid
done

run() { # CALLS: milliseconds until all of them have succeeded; $2 before
	local begun=${EPOCHREALTIME/./}
	"$build/tests/push" -n "$name" -c "$1" -p -s -H http -a "{\"url\":\"http://127.0.0.1:$port/slow/$delay\"}" >/dev/null &&
		"$build/tests/await" -n "$name" -t 60 "task_succeeded=$2" >/dev/null || { cat "$dir/log"; exit 1; }
	echo $(((${EPOCHREALTIME/./} - begun) / 1000))
}

peak_kb() {
	awk '$1 == "VmHWM:" { print $2 }' "/proc/$worker/status"
}

before=$(peak_kb)
run 1 1 >/dev/null || exit 1
one=$(peak_kb)
took=$(run "$calls" $((calls + 1))) || exit 1
echo "$calls calls of $delay ms each at once, one worker, one thread: $took ms"
echo "resident memory of that worker at most: $(peak_kb) kB; with one call $one kB, before the first $before kB"
