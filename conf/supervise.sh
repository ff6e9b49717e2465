#!/bin/bash
# Runs one instance in the foreground: taskd, the responders and nginx. Started by conf/run.sh, as
# the user that all of it is to run as, with these in the environment:
#   RUN_DIR     an absolute path, the run directory: exists, is ours, is locked by descriptor 9
#   PROGRAMS    where taskd, taskring-app, handlers/ and modules/ are, and ui/, if it was built
#   TEMPLATES   where nginx.conf.in and taskd.conf.in are
#   NAME HOST PORT PROCESSES THREADS URL_PREFIX
#   SHOWN_DIR   the run directory as the user knows it, for messages
# Ends when told to (SIGINT, SIGTERM, SIGHUP: status 0) or when one of the three ends (status 1).
# Each runs in a session of its own, so that a Ctrl-C reaches only this program, and gets a SIGTERM
# from the kernel when this program is killed.
set -u
shopt -u patsub_replacement 2>/dev/null
umask 077 # what people sign up with is nobody else's business

START_S=30  # until everything answers
QUIT_S=15   # nginx and the responders, each, after which they are killed
DRAIN_S=90  # taskd: its drain_timeout and the last commit

cd "$RUN_DIR" || exit 1

fail() {
	printf 'taskring: %s\n' "$*" >&2
}

# ---- processes ------------------------------------------------------------------------------

# A process is known by its id and its start time, which together are never used twice.
start_time() { # PID
	local stat
	# Of one that has just ended it can be opened, and is empty.
	{ stat=$(<"/proc/$1/stat"); } 2>/dev/null && [ -n "$stat" ] || return 1
	read -ra stat <<<"${stat##*) }"
	[ "${stat[0]}" != Z ] && printf '%s' "${stat[19]}"
}

is_alive() { # PID START_TIME
	[ -n "$2" ] && [ "$(start_time "$1")" = "$2" ]
}

# Told with SIGNAL, killed after SECONDS, or at once when asked to stop a second time.
stop_process() { # PID START_TIME SIGNAL SECONDS
	local deadline=$((SECONDS + $4))
	is_alive "$1" "$2" && kill -s "$3" "$1" 2>/dev/null
	while is_alive "$1" "$2"; do
		if [ $SECONDS -ge $deadline ] || [ "$stop_requests" -gt 1 ]; then
			kill -s KILL "$1" 2>/dev/null || break # another user's
		fi
		sleep 0.05
	done
	kill_session "$1"
}

# What a process left behind when it was killed, as nginx's master does its workers: whatever is
# in its session and works in our directory. Nobody else's session has both.
kill_session() { # PID
	local directory stat
	for directory in /proc/[0-9]*; do
		{ stat=$(<"$directory/stat"); } 2>/dev/null && [ -n "$stat" ] || continue
		read -ra stat <<<"${stat##*) }"
		if [ "${stat[3]}" = "$1" ] && [ "$directory/cwd" -ef . ]; then
			kill -s KILL "${directory#/proc/}" 2>/dev/null
		fi
	done
}

declare -A pids=() times=()

# One stop often comes as several signals: from the terminal, from make, to the whole group. So a
# second request counts as one when it comes later.
stop_requests=0
first_request_s=0
pause=
request_stop() {
	if [ "$stop_requests" -eq 0 ]; then
		stop_requests=1
		first_request_s=$SECONDS
		[ -z "$pause" ] || kill -s PIPE "$pause" 2>/dev/null
	elif [ $((SECONDS - first_request_s)) -ge 2 ]; then
		stop_requests=2
	fi
}
trap request_stop INT TERM HUP

start() { # NAME COMMAND...
	local name=$1
	shift
	setpriv --pdeathsig TERM setsid "$@" </dev/null 9>&- &
	pids[$name]=$!
	times[$name]=$(start_time $!)
	printf '%s %s %s\n' "$name" "${pids[$name]}" "${times[$name]}" >>processes
}

# Their clients come back half a second later, when nginx takes no more requests.
end_streams() {
	is_alive "${pids[nginx]}" "${times[nginx]}" && kill -s QUIT "${pids[nginx]}" 2>/dev/null
	[ -n "${pids[responders]:-}" ] && is_alive "${pids[responders]}" "${times[responders]}" || return 0
	kill -s USR2 "${pids[responders]}"
}

# In this order: no new requests, then none in hand, then the tasks.
stop_all() {
	local row name signal seconds
	for row in nginx:QUIT:$QUIT_S responders:TERM:$QUIT_S taskd:TERM:$DRAIN_S; do
		IFS=: read -r name signal seconds <<<"$row"
		[ -n "${pids[$name]:-}" ] || continue
		# Who listens to events would keep nginx for as long as he likes.
		[ "$name" != nginx ] || end_streams
		stop_process "${pids[$name]}" "${times[$name]}" "$signal" "$seconds"
	done
	rm -f processes responder.sock nginx.pid
}

# What a supervisor that was killed has left behind. The kernel has told it to stop already.
stop_left_over() {
	local name pid started
	[ -e processes ] || return 0
	while read -r name pid started; do
		if is_alive "$pid" "$started"; then
			fail "stops $name, left over from a run that was killed (process $pid)"
		fi
		stop_process "$pid" "$started" TERM "$DRAIN_S"
	done <processes
	rm -f processes
}

# ---- configuration --------------------------------------------------------------------------

fill_in() { # TEMPLATE KEY VALUE...
	local text
	text=$(<"$TEMPLATES/$1.in") || return 1
	local target=$1
	shift
	while [ $# -gt 0 ]; do
		text=${text//"@$1@"/"$2"}
		shift 2
	done
	printf '%s\n' "$text" >"$target.new" && mv -f "$target.new" "$target"
}

# The addresses that nginx listens on: the loopback ones, or HOST.
listen_lines() {
	if [ -n "$HOST" ]; then
		printf '\t\tlisten %s:%s;' "$HOST" "$PORT"
		return
	fi
	printf '\t\tlisten 127.0.0.1:%s;' "$PORT"
	if grep -q '^00000000000000000000000000000001 ' /proc/net/if_inet6 2>/dev/null; then
		printf '\n\t\tlisten [::1]:%s;' "$PORT"
	fi
}

write_configuration() {
	fill_in nginx.conf LISTEN "$(listen_lines)" NGINX_WORKERS "$(nproc)" KEEPALIVE 128 &&
		fill_in taskd.conf NAME "$NAME" RUN_DIR "$RUN_DIR" PLUGIN_DIR "$PROGRAMS/handlers" \
			MODULE_DIR "$PROGRAMS/modules"
}

# Who may what: everybody may read and submit, as in a demonstration, and "operator" may steer. The token itself
# is in `token`, for its owner; the responders read `tokens`, which has its hash. Made once; both may be
# replaced by your own. umask has seen to it that nobody else can read them.
make_tokens() {
	[ -s tokens ] && return
	"$PROGRAMS/taskring-app" -N operator:operator >tokens.made &&
		head -n 1 tokens.made >token.new &&
		{ echo "anybody submitter" && tail -n 1 tokens.made; } >tokens.new &&
		rm tokens.made && mv -f token.new token && mv -f tokens.new tokens
}

# ---- start ----------------------------------------------------------------------------------

# The first of the three that has ended, or nothing.
ended_process() {
	local name
	for name in taskd responders nginx; do
		[ -z "${pids[$name]:-}" ] || is_alive "${pids[$name]}" "${times[$name]}" || printf '%s' "$name"
	done
}

show_log() { # NAME
	local log=logs/$1.log
	[ "$1" != nginx ] || log=logs/nginx-error.log
	if [ -s "$log" ]; then
		printf -- '--- the end of %s:\n' "$SHOWN_DIR/$log"
		tail -n 15 "$log"
	fi >&2
}

# Waits until a condition holds: 0; ended by a request to stop: 0; it never came to be: 1.
wait_until() { # WHAT CONDITION...
	local what=$1 deadline=$((SECONDS + START_S)) ended
	shift
	while [ "$stop_requests" -eq 0 ]; do
		! "$@" || return 0
		ended=$(ended_process)
		if [ -n "$ended" ]; then
			fail "$ended ended while starting"
			show_log "$ended"
			return 1
		fi
		if [ $SECONDS -ge $deadline ]; then
			fail "$what did not happen within $START_S s"
			show_log taskd
			show_log responders
			return 1
		fi
		sleep 0.05
	done
	return 0
}

taskd_serves() {
	grep -qs '^<5>taskd\[supervisor [0-9]*\] ready ' logs/taskd.log
}

everything_answers() {
	[ "$(curl -s -o /dev/null -m 2 -w '%{http_code}' --noproxy '*' "http://$address/healthz")" = 200 ]
}

# taskd first: where another one serves this NAME, ours says so and nothing else is started.
start_all() {
	local log pages=()
	for log in logs/*.log; do
		[ ! -e "$log" ] || mv -f "$log" "$log.old"
	done
	: >processes
	start taskd "$PROGRAMS/taskd" -c "$RUN_DIR/taskd.conf" >>logs/taskd.log 2>&1
	wait_until "the start of taskd" taskd_serves || return 1
	[ "$stop_requests" -eq 0 ] || return 0
	[ ! -d "$PROGRAMS/ui" ] || pages=(-W "$PROGRAMS/ui")
	start responders "$PROGRAMS/taskring-app" -s ./responder.sock -p "$PROCESSES" -t "$THREADS" \
		-n "$NAME" -S "$RUN_DIR/spool" -J "$RUN_DIR/journal.db" -T "$RUN_DIR/tokens" "${pages[@]}" \
		${URL_PREFIX:+-P "$URL_PREFIX"} >>logs/responders.log 2>&1
	start nginx "$nginx" -p ./ -c nginx.conf -e logs/nginx-error.log >>logs/nginx-error.log 2>&1
	wait_until "a 200 from http://$address/healthz" everything_answers
}

print_welcome() {
	local shown="none (they were not built)"
	[ ! -d "$PROGRAMS/ui" ] || shown="http://$address${URL_PREFIX:-}/docs/"
	cat <<-END
		taskring is running at http://$address
		  pages     $shown
		  try it    curl -i http://$address/register -H 'Content-Type: application/json' -d '{"email":"ada@example.org","name":"Ada"}'
		  steer     curl -i -X DELETE http://$address/tasks/ID -H "Authorization: Bearer \$(cat $SHOWN_DIR/token)"
		  mail      $SHOWN_DIR/mail/ (a maildir: what was sent lies in new/)
		  look      $PROGRAMS/taskstat -1 -n $NAME
		  tasks     $PROGRAMS/taskctl list -n $NAME -J $SHOWN_DIR/journal.db
		  logs      $SHOWN_DIR/logs/
		  stop      Ctrl-C, or kill $$
	END
}

# Until a signal asks for the end (0) or one of the three has ended (1).
watch_over() {
	local ended=
	# A signal that comes just before `wait` would not end it; the child that it kills does. By
	# SIGPIPE, since bash announces other deaths.
	setpriv --pdeathsig KILL setsid sleep infinity 9>&- &
	pause=$!
	while [ "$stop_requests" -eq 0 ]; do
		wait -n 2>/dev/null
		ended=$(ended_process)
		[ -z "$ended" ] || break
	done
	kill -s PIPE "$pause" 2>/dev/null
	[ "$stop_requests" -eq 0 ] || return 0
	fail "$ended has ended; stopping the others"
	show_log "$ended"
	return 1
}

nginx=$(command -v nginx || echo /usr/sbin/nginx)
address=${HOST:-127.0.0.1}:$PORT
[ "$HOST" != 0.0.0.0 ] && [ "$HOST" != '[::]' ] || address=127.0.0.1:$PORT

stop_left_over
if (: <"/dev/tcp/${address%:*}/$PORT") 2>/dev/null; then
	fail "port $PORT is taken by another program; choose one with PORT="
	exit 1
fi
mkdir -p logs tmp spool mail || exit 1
if ! write_configuration || ! make_tokens; then
	fail "cannot write the configuration into $SHOWN_DIR"
	exit 1
fi
status=0
start_all || status=1
if [ $status -eq 0 ] && [ "$stop_requests" -eq 0 ]; then
	print_welcome
	watch_over || status=1
fi
[ $status -ne 0 ] || echo "taskring: stopping"
stop_all
[ $status -ne 0 ] || echo "taskring: stopped"
exit $status
