# The web's side of the system tests: responders, web servers before them, and requests. Sourced by lib.sh.
# shellcheck shell=bash

# ---- responders behind nginx, with options of the test's own ---------------------------------

# nginx, configured as shipped, in front of $RUN/responder.sock; PORT is where it listens.
start_nginx() { # [WORKERS [KEEPALIVE]]
	: "${PORT:=$(free_port)}"
	mkdir -p "$RUN/logs" "$RUN/tmp"
	sed "s|@LISTEN@|listen 127.0.0.1:$PORT;|; s|@NGINX_WORKERS@|${1:-2}|; s|@KEEPALIVE@|${2:-8}|" \
		"$CHECKOUT/conf/nginx.conf.in" >"$RUN/nginx.conf"
	(cd "$RUN" && exec setsid "$(command -v nginx || echo /usr/sbin/nginx)" -p ./ -c nginx.conf -e logs/nginx-error.log) </dev/null >>"$RUN/logs/nginx.log" 2>&1 &
	NGINX=$!
	wait_until 10 test -s "$RUN/nginx.pid"
}

# taskring-app on $RUN/responder.sock. Mode 666, since nginx's workers are another user's when root runs the tests.
start_app() { # [OPTION...]
	mkdir -p "$RUN/spool"
	(cd "$RUN" && exec setsid "$BUILD/taskring-app" -s "$RUN/responder.sock" -m 666 -n "$NAME" -S "$RUN/spool" "$@") \
		</dev/null >>"$RUN/app.log" 2>&1 &
	APP=$!
	wait_until 10 test -S "$RUN/responder.sock"
}

stop_app() {
	local status=0
	kill -TERM "$APP"
	wait_until 20 is_gone "$APP"
	wait "$APP" || status=$?
	expect "the responder's exit status" 0 $status
}

stop_nginx() {
	kill -QUIT "$NGINX"
	wait_until 20 is_gone "$NGINX"
}

# Both: one responder process, and a request has gone through.
start_responder() { # OPTION...
	start_app -p 1 -t 4 "$@"
	start_nginx 1 2
	wait_until 15 reaches_responder
}

# What nginx answers by itself has no X-Request-ID.
reaches_responder() {
	request /nowhere
	[ "$STATUS" = 404 ] && [ -n "$(header X-Request-ID)" ]
}

stop_responder() {
	stop_nginx
	stop_app
}

# ---- web servers ----------------------------------------------------------------------------

# One from its template in conf/, in $RUN, before the FastCGI socket $RUN/responder.sock, on a free port: PORT.
# Started by root it runs as www-data, as it would in earnest; WEB_PID is the process to signal.
start_web() { # nginx|apache|fcgid|lighttpd
	WEB_SERVER=$1
	PORT=$(free_port)
	mkdir -p "$RUN"/logs "$RUN"/tmp "$RUN"/empty "$RUN"/fcgid
	[ "$(id -u)" -ne 0 ] || chown www-data: "$RUN" "$RUN"/logs "$RUN"/tmp "$RUN"/fcgid
	"start_web_$1"
	WEB_PID=$!
	wait_until 10 web_listens
}

web_listens() {
	! is_gone "$WEB_PID" || fail "$WEB_SERVER ended while starting"
	(: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null
}

# Replaced by the command, so that its process is the caller's child.
exec_web() { # COMMAND...
	cd "$RUN" || exit 1
	local as=()
	[ "$(id -u)" -ne 0 ] || as=(setpriv --reuid www-data --regid www-data --init-groups --inh-caps=-all)
	exec setsid "${as[@]}" "$@" </dev/null >>"$RUN/web.log" 2>&1
}

fill_in() { # TEMPLATE KEY VALUE...: into $RUN
	local text target=$RUN/$1
	text=$(<"$CHECKOUT/conf/$1.in")
	shift
	while [ $# -gt 0 ]; do
		text=${text//"@$1@"/"$2"}
		shift 2
	done
	printf '%s\n' "$text" >"$target"
}

start_web_nginx() {
	start_nginx
}

start_web_apache() {
	fill_in apache.conf LISTEN "127.0.0.1:$PORT" MODULES /usr/lib/apache2/modules SOCKET "$RUN/responder.sock" RUN_DIR "$RUN" \
		CHILDREN 2 WORKERS 128 KEEPALIVE "${WEB_KEEPALIVE:-4}"
	exec_web /usr/sbin/apache2 -d "$RUN" -f apache.conf -DFOREGROUND &
}

# A copy of the program: www-data may not be able to reach the checkout.
start_web_fcgid() {
	cp "$BUILD/taskring-app" "$RUN/taskring-app"
	fill_in apache-fcgid.conf LISTEN "127.0.0.1:$PORT" MODULES /usr/lib/apache2/modules RUN_DIR "$RUN" \
		APP "$RUN/taskring-app -n $NAME -S $RUN/spool -J $RUN/journal.db -T $RUN/tokens"
	exec_web /usr/sbin/apache2 -d "$RUN" -f apache-fcgid.conf -DFOREGROUND &
}

start_web_lighttpd() {
	cp -r "$CHECKOUT/conf/errors" "$RUN/errors"
	fill_in lighttpd.conf PORT "$PORT" SOCKET "$RUN/responder.sock" RUN_DIR "$RUN" ERRORS "$RUN/errors/"
	exec_web /usr/sbin/lighttpd -D -f lighttpd.conf &
}

# In order: what is in hand is finished.
stop_web() {
	local signal=QUIT
	[ "$WEB_SERVER" != lighttpd ] || signal=INT
	[ "$WEB_SERVER" != apache ] && [ "$WEB_SERVER" != fcgid ] || signal=WINCH
	kill "-$signal" "$WEB_PID"
	wait_until 15 is_gone "$WEB_PID"
	wait "$WEB_PID" || :
}

# ---- HTTP -----------------------------------------------------------------------------------

# An answer: STATUS, and the files $WORK/head (header lines, without CR) and $WORK/body.
request() { # PATH [CURL_OPTION...]
	local path=$1
	shift
	rm -f "$WORK/body" # curl makes none where there is no body
	STATUS=$(curl -s -m 30 --noproxy '*' -D "$WORK/head.raw" -o "$WORK/body" -w '%{http_code}' "$@" \
		"http://127.0.0.1:$PORT$path")
	tr -d '\r' <"$WORK/head.raw" >"$WORK/head" 2>/dev/null
	[ -e "$WORK/body" ] || : >"$WORK/body"
}

post() { # PATH JSON
	request "$1" -H 'Content-Type: application/json' --data-binary "$2"
}

header() { # NAME
	awk -v name="$1:" 'tolower($1) == tolower(name) { sub(/^[^:]*: */, ""); print; exit }' "$WORK/head"
}

# Adds a token to $RUN/tokens, which -T reads; prints it.
add_token() { # NAME:ROLE
	local made
	made=$("$BUILD/taskring-app" -N "$1")
	(umask 077 && printf '%s\n' "${made#*$'\n'}" >>"$RUN/tokens")
	printf '%s\n' "${made%%$'\n'*}"
}
