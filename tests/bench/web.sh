#!/bin/bash
# POST /register through nginx, with 32 and with 256 connections, side by side: our responders, with taskd
# taking and running the tasks (handlers that do nothing, every task kept in the journal, as by default),
# durability memory and disk; (a) a bare libfcgi program that parses the JSON and answers; (b) FastAPI's
# BackgroundTasks under uvicorn; (c) nginx answering by itself. Each behind an nginx of its own, made from
# conf/nginx.conf.in; responders and (a) have 2 processes of 8 threads (with disk 32, the default there),
# uvicorn has 2 workers. nginx keeps 128 connections for each of its workers, as in `make run`, but only 6 to
# (a), where each holds a thread and more would lock the others out. Called by run.sh.
#   BUILD   where the programs are, default build
#   RUNS    rounds, default 3; each measures every row once, so that a disturbance meets all; medians
#   RUN_S   seconds of each measurement, default 2
set -u
build=$(readlink -f "${BUILD:-build}")
runs=${RUNS:-3} run_s=${RUN_S:-2}
here=$(cd "$(dirname "$0")" && pwd)
name=bench-web-$$
dir=$(mktemp -d) || exit 1
declare -A port
started=()
rows=(ours disk bare fastapi nginx)

stop() {
	for pid in "${started[@]}"; do
		kill "$pid" 2>/dev/null
	done
	for pid in "${started[@]}"; do
		wait "$pid" 2>/dev/null
	done
	rm -rf "$dir" /dev/shm/"$name".*
}
trap stop EXIT
trap 'exit 130' INT TERM

fail() {
	echo "web.sh: $*" >&2
	tail -n 5 "$dir"/*.log "$dir"/*/*.log 2>/dev/null >&2
	exit 1
}

start() { # LOG COMMAND...
	local log=$1
	shift
	"$@" </dev/null >>"$dir/$log" 2>&1 &
	started+=($!)
}

free_port() {
	/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# The template, filled in, in a directory of its own; $3 is a change of it for sed.
start_nginx() { # ROW KEEPALIVE SED_SCRIPT
	port[$1]=$(free_port)
	mkdir -p "$dir/$1/logs" "$dir/$1/tmp"
	sed -e "s|@LISTEN@|listen 127.0.0.1:${port[$1]};|; s|@NGINX_WORKERS@|2|; s|@KEEPALIVE@|$2|" \
		-e "s|unix:./responder.sock|unix:$dir/$1.sock|" -e "$3" "$here/../../conf/nginx.conf.in" >"$dir/$1/nginx.conf"
	# Its workers are nobody where it is started by root.
	chmod 777 "$dir" "$dir/$1/tmp"
	start "$1.log" nginx -p "$dir/$1" -c nginx.conf -e logs/error.log
}

start_taskd() {
	cat >"$dir/taskd.conf" <<-END
		instance = "$name"
		journal = "journal.db"
		spool_dir = "spool"
		lock_file = "lock"
		plugin_dir = "$build/bench/plugins"
		mail { maildir = "mail" }
		pool default { processes = 2 threads = 1 }
	END
	mkdir -p "$dir/spool"
	start taskd.log "$build/taskd" -c "$dir/taskd.conf"
	"$build/tests/await" -n "$name" -t 10 worker_alive=2 >/dev/null || fail "taskd does not start"
}

answers() { # ROW
	local i
	for ((i = 0; i < 200; i++)); do
		[ "$(curl -s -m 5 -o /dev/null -w '%{http_code}' --noproxy '*' -H 'Content-Type: application/json' \
			-d '{"email":"ada@example.org","name":"Ada"}' "http://127.0.0.1:${port[$1]}/register")" = 202 ] && return
		sleep 0.05
	done
	fail "$1 does not answer 202"
}

# What one round left to taskd is over before the next begins.
tasks_are_over() {
	"$build/tests/await" -n "$name" -t 60 task_waiting=0 task_running=0 >/dev/null || fail "taskd does not come after"
}

measure() { # ROW CONNECTIONS: "REQUESTS_PER_S P99_US REFUSED"
	wrk -t 1 -c "$2" -d "${run_s}s" -s "$here/register.lua" "http://127.0.0.1:${port[$1]}/register" |
		sed -n 's/^result //p'
}

report() { # CONNECTIONS
	awk -v connections="$1" '
		function median(key, which, list, n, i, j, t) {
			n = split(values[key, which], list)
			for (i = 2; i <= n; i++)
				for (j = i; j > 1 && list[j - 1] + 0 > list[j] + 0; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
			return list[int((n + 1) / 2)]
		}
		function line(label, key) {
			printf "  %-52s %7d/s   p99 %6.2f ms%s\n", label, median(key, "rate"), median(key, "p99") / 1000,
			    (refused[key] > 0 ? "   (" refused[key] " not 2xx)" : "")
		}
		$2 == connections {
			values[$1, "rate"] = values[$1, "rate"] " " $3; values[$1, "p99"] = values[$1, "p99"] " " $4; refused[$1] += $5
		}
		END {
			printf "POST /register through nginx, %d connections:\n", connections
			line("taskring, two tasks a request", "ours")
			line("taskring, durability=disk", "disk")
			line("(a) a bare libfcgi program, no tasks", "bare")
			line("(b) FastAPI BackgroundTasks, uvicorn", "fastapi")
			line("(c) nginx by itself", "nginx")
			printf "  ours: %.2f x (a), %.1f x (b), p99 %.2f x that of (a); with disk %.2f x (a)\n",
			    median("ours", "rate") / median("bare", "rate"), median("ours", "rate") / median("fastapi", "rate"),
			    median("ours", "p99") / median("bare", "p99"), median("disk", "rate") / median("bare", "rate")
		}' "$dir/results"
}

start_taskd
for row in ours disk; do
	durability=memory threads=8
	[ $row = ours ] || durability=disk threads=32
	start $row.log "$build/taskring-app" -s "$dir/$row.sock" -m 666 -n "$name" -S "$dir/spool" -J "$dir/journal.db" \
		-p 2 -t $threads -d $durability
	start_nginx $row 128 ''
done
start bare.log "$build/bench/bare_fcgi" "$dir/bare.sock" 2 8
start_nginx bare 6 ''
start uvicorn.log /usr/bin/python3 -m uvicorn --app-dir "$here" --workers 2 --no-access-log --log-level warning \
	--port "${port[uvicorn]:=$(free_port)}" fastapi_app:app
start_nginx fastapi 128 "s|server unix:.*|server 127.0.0.1:${port[uvicorn]} max_fails=0;|
	s|fastcgi_pass responders;|proxy_pass http://responders; proxy_http_version 1.1; proxy_set_header Connection '';|
	/fastcgi_[a-z_]* /d"
start_nginx nginx 128 "s|fastcgi_pass responders;|return 202 '{\"status\":\"accepted\"}';|"
for row in "${rows[@]}"; do
	answers "$row"
done
for ((run = 0; run < runs; run++)); do
	for connections in 32 256; do
		for row in "${rows[@]}"; do
			echo "$row $connections $(measure "$row" $connections)" >>"$dir/results"
			tasks_are_over
		done
	done
done
report 32
report 256
cp "$dir/results" "${RESULTS:-/dev/null}"
