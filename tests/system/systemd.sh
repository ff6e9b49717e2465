#!/bin/bash
# The units as systemd runs them: what `make install` puts into a system, which is booted in namespaces of its own
# over this one's files. Its writes go to memory, its network is a loopback; nothing of it outlives the test.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"


# In the new namespaces, as process 1: makes the root and becomes systemd there.
boot_inside() { # WORK
	local work=$1 node root=$1/top/root
	set -e
	mount --make-rprivate /
	mount -t tmpfs -o mode=755 none "$work/top"
	mkdir "$work"/top/{upper,work,root}
	mount -t overlay overlay -o "lowerdir=/,upperdir=$work/top/upper,workdir=$work/top/work" "$root"
	mount -t proc proc "$root/proc"
	mount -t sysfs -o ro sysfs "$root/sys"
	mount -t cgroup2 none "$root/sys/fs/cgroup"
	mount -t tmpfs -o mode=755 none "$root/dev"
	for node in null zero full random urandom tty; do
		: >"$root/dev/$node"
		mount --bind "/dev/$node" "$root/dev/$node"
	done
	: >"$root/dev/console"
	mount --bind "$work/console.log" "$root/dev/console"
	mkdir "$root"/dev/{shm,pts}
	mount -t tmpfs -o mode=1777 none "$root/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
	mount -t tmpfs -o mode=755 none "$root/run"
	mount -t tmpfs -o mode=1777 none "$root/tmp"
	# Nothing that this system has enabled or mounts; what was installed instead.
	rm -rf "$root"/etc/systemd/system/*
	: >"$root/etc/fstab"
	cp -a "$work/tree/." "$root"
	printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >"$root/etc/systemd/system/trial.target"
	hostname trial
	cd "$root"
	pivot_root . mnt
	umount -l /mnt
	exec env -i container=trial PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=trial.target --show-status=no \
		</dev/console >/dev/console 2>&1
}

# A control group of its own, or systemd would think that it has the machine's.
launch_systemd() {
	mkdir "$WORK/cgroup"
	: >"$WORK/console.log"
	export -f boot_inside
	# shellcheck disable=SC2016
	unshare -m bash -c 'mount -t cgroup2 none "$1/cgroup" && mkdir -p "$1/cgroup/$2" && echo $$ >"$1/cgroup/$2/cgroup.procs" &&
		exec unshare -m -p -f -n -u -i -C --kill-child bash -c "boot_inside $1"' - "$WORK" "$NAME" >"$WORK/boot.log" 2>&1 &
	UNSHARE=$!
}

remove_cgroup() {
	# shellcheck disable=SC2016
	unshare -m bash -c 'mount -t cgroup2 none "$1/cgroup" && find "$1/cgroup/$2" -depth -type d -exec rmdir {} +' - "$WORK" "$NAME" 2>/dev/null
}

end_of_systemd() { # STATUS
	[ "$1" -eq 0 ] || inside journalctl -q --no-pager -o short-iso -n 40 >"$WORK/journal.log" 2>/dev/null
	# With it goes all in its PID namespace, and then unshare.
	kill -KILL "${INIT:-$UNSHARE}" 2>/dev/null
	wait "$UNSHARE" 2>/dev/null
	remove_cgroup
}

# The process that unshare has become, or forked.
find_init() {
	! is_gone "$UNSHARE" || fail "the system did not boot: $(tail -n 5 "$WORK/boot.log")"
	INIT=$(pgrep -P "$UNSHARE") && [ "$(cat "/proc/$INIT/comm" 2>/dev/null)" = systemd ]
}

inside() { # COMMAND...
	nsenter -t "$INIT" -a --wd=/ "$@"
}

as_user() { # COMMAND...
	inside setpriv --reuid taskring --regid taskring --clear-groups "$@"
}

is_active() { # UNIT [STATE]
	[ "$(inside systemctl is-active "$1" 2>/dev/null)" = "${2:-active}" ]
}

property() { # NAME
	inside systemctl show taskd.service -P "$1"
}

into_tree() { # FILE: from standard input
	mkdir -p "$(dirname "$WORK/tree$1")"
	cat >"$WORK/tree$1"
}

# Whether this system lets us have what boot_inside needs.
can_boot() {
	mkdir "$WORK/top"
	# shellcheck disable=SC2016
	unshare -m -p -f -n -u -i -C sh -c 'mount -t tmpfs none "$1" && mkdir "$1/u" "$1/w" "$1/r" "$1/c" &&
		mount -t overlay overlay -o "lowerdir=/,upperdir=$1/u,workdir=$1/w" "$1/r" && mount -t proc proc "$1/r/proc" &&
		mount -t cgroup2 none "$1/c"' - "$WORK/top"
}

# What is installed, with a configuration and the servers that tasks need: nginx, one for HTTP, one for mail.
boot() {
	[ "$(id -u)" -eq 0 ] || skip "only root can boot a system"
	[ -x /lib/systemd/systemd ] || skip "there is no systemd"
	can_boot 2>/dev/null || skip "namespaces, an overlay or control groups cannot be had here"
	install_copy PREFIX=/usr sysconfdir=/etc DESTDIR="$WORK/tree"
	cp "$CHECKOUT"/tests/system/{http_server,smtp_sink}.py "$WORK/tree/usr/lib/taskring"
	into_tree /etc/taskring/taskd.conf <<-'END'
		instance = "taskring"
		drain_timeout = 5s
		http { allow_private = yes }
		mail { server = "smtp://127.0.0.1:2525" require_tls = no from = "shop@example.org" }
		exec echo { program = "/usr/lib/taskring/echo" }
		exec hang { program = "/bin/sleep" args = { "1000" } }
		pool default { queues = { "*" } processes = 2 threads = 4 }
	END
	into_tree /usr/lib/taskring/echo <<-'END'
		#!/bin/sh
		setsid sleep 2000 >/dev/null 2>&1 &
		grep NoNewPrivs: /proc/self/status >&2
		cat
	END
	chmod 755 "$WORK/tree/usr/lib/taskring/echo"
	into_tree /etc/systemd/system/taskd.service.d/quick.conf <<<$'[Service]\nWatchdogSec=3\nRestartSec=0'
	sed "s|@LISTEN@|listen 127.0.0.1:8080;|; s|@NGINX_WORKERS@|1|; s|@KEEPALIVE@|4|; s|unix:./responder.sock|unix:/run/taskring/app.sock|" \
		"$CHECKOUT/conf/nginx.conf.in" | into_tree /etc/nginx/trial.conf
	launch_systemd
	trap 'STATUS=$?; set +e; end_of_systemd $STATUS; (exit $STATUS); clean_up' EXIT
	wait_until 20 find_init
	wait_until 20 is_active trial.target
	inside systemd-sysusers taskring.conf
	inside systemd-tmpfiles --create taskring.conf
	inside systemctl enable -q --now taskd.service taskring-app.socket
	inside systemd-run -q --unit=http /usr/bin/python3 /usr/lib/taskring/http_server.py --port 9090
	inside systemd-run -q --unit=smtp -p RuntimeDirectory=smtp /usr/bin/python3 /usr/lib/taskring/smtp_sink.py --port 2525 --dir /run/smtp
	inside systemd-run -q --unit=web -p User=www-data -p Group=www-data -p RuntimeDirectory=web -p WorkingDirectory=/run/web \
		sh -c 'mkdir logs tmp && exec nginx -p ./ -c /etc/nginx/trial.conf -e logs/error.log'
	wait_until 10 inside curl -s -o /dev/null http://127.0.0.1:9090/status/200
	wait_until 10 inside bash -c ': </dev/tcp/127.0.0.1/2525' 2>/dev/null
}

# STATUS of an answer to POST /register.
register() { # NAME
	STATUS=$(inside curl -s -m 20 -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' \
		-d "{\"email\":\"$1@example.org\",\"name\":\"$1\"}" http://127.0.0.1:8080/register)
}

# A file through the socket, the spool and its handler. True: it has been digested.
is_digested() { # FILE
	local id
	id=$(inside curl -s -m 20 -F "file=@$1" http://127.0.0.1:8080/files | jq -r '.tasks[0].id')
	as_user timeout 20 taskctl tail "$id" | grep -q succeeded
}

# How a task of that handler ends, with its result.
outcome() { # HANDLER ARGUMENTS
	as_user timeout 20 taskctl push -w --max-attempts 1 "$@" | cut -d' ' -f2-
}

has_mail_for() { # NAME
	inside grep -qs "\"$1@example.org\"" -r /run/smtp --include='*.json'
}

# In one look: one that has just ended has no pid, and was active a moment ago.
has_pid_other_than() { # PID: a taskd that runs, and was started since
	local shown
	shown=$(inside systemctl show taskd.service -p ActiveState -p MainPID)
	grep -qx ActiveState=active <<<"$shown" && ! grep -qx "MainPID=$1" <<<"$shown"
}

is_running() { # WORD: on a command line
	inside pgrep -f "^/bin/sleep $1\$|^sleep $1\$" >/dev/null
}

test_services() {
	local before
	boot
	is_active taskring-app inactive || fail "the responders run before anybody has connected"
	wait_until 10 is_active web
	register ada
	expect "status, through the socket" 202 "$STATUS"
	is_active taskring-app || fail "nobody has started the responders"
	wait_until 15 has_mail_for ada

	# What the sandbox must leave to handlers.
	expect "exec" 'succeeded {"a":1}' "$(outcome exec '{"program":"echo","input":{"a":1}}')"
	expect "escaped programs" no "$(is_running 2000 && echo yes || echo no)"
	expect_match "http" '^succeeded' "$(outcome http '{"url":"http://127.0.0.1:9090/status/204"}')"
	is_digested /etc/nginx/trial.conf || fail "an uploaded file was not digested"
	expect_match "mail" '^succeeded .*"recipients":1' "$(outcome mail '{"to":"bea@example.org","subject":"x","text":"y"}')"

	# Reloading, and a file with a fault.
	before=$(property MainPID)
	inside systemctl reload taskd
	inside systemctl reload taskring-app
	inside bash -c 'echo "nonsense = 1" >>/etc/taskring/taskd.conf'
	! inside systemctl reload taskd 2>/dev/null || fail "a reload of a file with a fault succeeded"
	is_active taskd || fail "a refused reload has stopped the service"
	expect "the process" "$before" "$(property MainPID)"
	inside sed -i /nonsense/d /etc/taskring/taskd.conf

	# Stopped: what comes meanwhile waits.
	inside systemctl stop taskd
	expect "how it stopped" "success inactive" "$(property Result) $(property ActiveState)"
	register cyd
	expect "status while taskd is stopped" 202 "$STATUS"
	inside systemctl restart taskring-app
	inside systemctl start taskd
	wait_until 15 has_mail_for cyd
	expect "status after the responders' restart" 202 "$(register dan && echo "$STATUS")"
	expect "restarts" 0 "$(property NRestarts)"

	# Killed, with what waits on the socket.
	inside systemctl kill -s KILL taskring-app
	register eve
	expect "status after the responders were killed" 202 "$STATUS"
}

# Stopped with SIGSTOP, the dispatcher, and then the supervisor: systemd replaces all of it, and goes on with the tasks.
test_watchdog() {
	local before what
	boot
	wait_until 10 is_active web
	as_user taskctl push --max-attempts 5 --backoff-base 1ms exec '{"program":"hang"}' >/dev/null
	wait_until 10 is_running 1000
	for what in taskd-dispatch taskd; do
		before=$(property MainPID)
		inside pkill -STOP -x $what
		register "user-of-$what"
		expect "status while it hangs" 202 "$STATUS"
		wait_until 15 has_pid_other_than "$before"
		wait_until 15 has_mail_for "user-of-$what"
		wait_until 10 is_running 1000
		expect "programs of before and now" 1 "$(inside pgrep -cf '^/bin/sleep 1000')"
	done
	expect "restarts" 2 "$(property NRestarts)"
	inside systemctl stop taskd
	expect "how it stopped" "success inactive" "$(property Result) $(property ActiveState)"
	expect "left of the program" no "$(is_running 1000 && echo yes || echo no)"
}

run_tests "$@"
