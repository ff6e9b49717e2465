#!/bin/bash
# make bench: every measurement once, each beside its reference in the same run, with date and
# machine. Redis and beanstalkd take part where they are installed; they are started on sockets in
# a directory of their own and stopped at the end.
#   BUILD   where the programs are, default build
#   RUNS    runs per line of the ring's table, default 5
set -u
build=${BUILD:-build}
bench=$build/bench
dir=$(mktemp -d) || exit 1
started=()
status=0

stop() {
	for pid in "${started[@]}"; do
		kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	done
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT TERM

wait_for_socket() { # PATH: at most 5 s
	local i
	for ((i = 0; i < 100; i++)); do
		[ -S "$1" ] && return 0
		sleep 0.05
	done
	echo "bench: $1 did not appear" >&2
	return 1
}

broker() { # NAME SOCKET COMMAND...
	local name=$1 socket=$2
	shift 2
	command -v "$1" >/dev/null || return 0
	"$@" >/dev/null 2>&1 &
	started+=($!)
	wait_for_socket "$socket" && "$bench/broker_bench" "$name" "$socket" 20000 || status=1
}

echo "date:    $(date -u '+%Y-%m-%d %H:%M UTC')"
echo "machine: $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r)"
echo "load:    $(cut -d ' ' -f 1-3 /proc/loadavg) before"
echo

"$bench/publish_bench" || status=1
broker redis "$dir/redis" redis-server --port 0 --unixsocket "$dir/redis" --save '' --appendonly no --dir "$dir"
broker beanstalkd "$dir/beanstalkd" beanstalkd -l "unix:$dir/beanstalkd"
[ ! -S "$dir/beanstalkd" ] || "$bench/beanstalkd_bench" "$dir/beanstalkd" 50000 || status=1
echo
"$bench/wake_bench" 1500 || status=1
echo
echo "the consumer on a processor for itself, the producers on the others:"
"$bench/ring_bench" -c -r "${RUNS:-5}" || status=1
echo
echo "placed as the scheduler likes:"
"$bench/ring_bench" -r "${RUNS:-5}" || status=1
echo
echo "the journal, on the disk of $build:"
mkdir -p "$build/bench/journal" && "$bench/journal_bench" "$build/bench/journal" || status=1
rm -rf "$build/bench/journal"
echo
"${0%/*}/tasks.sh" || status=1
echo
"${0%/*}/million.sh" || status=1
echo
"${0%/*}/http.sh" || status=1
echo
"${0%/*}/web.sh" || status=1
exit $status
