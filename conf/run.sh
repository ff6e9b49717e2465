#!/bin/bash
# make run: prepares one instance and runs it in the foreground (conf/supervise.sh).
#   NAME=taskring    the instance
#   PORT=8080        where nginx listens, on the loopback addresses; HOST= names another one
#   RUN_DIR=build/run  sockets, configuration, journal, logs, mail
#   PROCESSES=2 THREADS=8  of the responder
#   URL_PREFIX=      /tools: what clients see before all paths, where a web server in front adds it
#   BUILD=build      where make builds; CC and SAN are passed on to it
# Root is only used to install packages. Started as root, everything else runs as SUDO_USER, else as
# the owner of this checkout, else as www-data. If that user cannot reach the run directory, it
# becomes a link to /var/lib/taskring/NAME; if it cannot reach the build, copies are run.
set -u

checkout=$(cd "$(dirname "$0")/.." && pwd) || exit 1
: "${NAME:=taskring}" "${PORT:=8080}" "${HOST:=}" "${RUN_DIR:=build/run}" "${PROCESSES:=2}" "${THREADS:=8}"
: "${BUILD:=build}" "${URL_PREFIX:=}"
STATE_HOME=/var/lib/taskring

fail() {
	printf 'taskring: %s\n' "$*" >&2
	exit 1
}

absolute() { # PATH, relative to the checkout
	case $1 in
	/*) printf '%s' "${1%/}" ;;
	*) printf '%s/%s' "$checkout" "${1%/}" ;;
	esac
}

is_number() { # TEXT LEAST MOST
	[[ $1 =~ ^[0-9]{1,5}$ ]] && [ "$1" -ge "$2" ] && [ "$1" -le "$3" ]
}

[[ $NAME =~ ^[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}$ ]] || fail "NAME=$NAME: 1 to 63 of A-Z a-z 0-9 . _ -, no leading dot"
is_number "$PORT" 1 65535 || fail "PORT=$PORT: a number from 1 to 65535"
is_number "$PROCESSES" 1 256 || fail "PROCESSES=$PROCESSES: a number from 1 to 256"
is_number "$THREADS" 1 256 || fail "THREADS=$THREADS: a number from 1 to 256"
SHOWN_DIR=$(absolute "$RUN_DIR")
build=$(absolute "$BUILD")
[[ $SHOWN_DIR != *[\"\\\$@\;\'$'\n']* ]] || fail "RUN_DIR=$RUN_DIR: quotes, backslashes and \$ @ ; are not allowed in it"

# ---- who ------------------------------------------------------------------------------------

user=
if [ "$(id -u)" -eq 0 ]; then
	user=${SUDO_USER:-root}
	[ "$user" != root ] || user=$(stat -c %U "$checkout")
	[ "$user" != root ] && id -u "$user" >/dev/null 2>&1 || user=www-data
fi

# Runs a command as that user, with nothing of root's left; or simply runs it.
as_user() {
	if [ -z "$user" ]; then
		"$@"
	else
		setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --inh-caps=-all "$@"
	fi
}

# ---- what is needed -------------------------------------------------------------------------

"$checkout/conf/install-packages.sh" build run || exit 1

# What make was told on its command line comes in the environment; its job server does not.
unset MAKEFLAGS MFLAGS MAKELEVEL
builder=
if [ -n "$user" ] && as_user test -w "$checkout" && [ -z "$(find "$build" -path "$SHOWN_DIR" -prune -o ! -user "$user" -print -quit 2>/dev/null)" ]; then
	builder=as_user
fi
$builder make -C "$checkout" -s ${CC:+CC="$CC"} ${SAN:+SAN="$SAN"} all || fail "the build failed"

# ---- the run directory ----------------------------------------------------------------------

# Ours, or empty: nobody's files are taken over because of a mistyped RUN_DIR.
is_usable() { # DIRECTORY
	[ -e "$1/instance" ] || [ -z "$(ls -A "$1")" ]
}

RUN_DIR=$SHOWN_DIR
mkdir -p "$RUN_DIR" || fail "cannot make $RUN_DIR"
is_usable "$RUN_DIR" || fail "RUN_DIR=$RUN_DIR holds other files; name a new directory"
[ -z "$user" ] || [ -L "$RUN_DIR" ] || chown "$user:" "$RUN_DIR"
if ! as_user test -w "$RUN_DIR" -a -x "$RUN_DIR"; then
	[ -n "$user" ] || fail "cannot write into $RUN_DIR"
	state=$STATE_HOME/$NAME
	mkdir -p "$state" || fail "cannot make $state"
	if [ ! -L "$RUN_DIR" ]; then
		rmdir "$RUN_DIR" 2>/dev/null || fail "$user cannot reach $RUN_DIR; remove it, or choose another RUN_DIR"
	fi
	ln -sfn "$state" "$RUN_DIR" || fail "cannot link $RUN_DIR to $state"
	echo "taskring: $user cannot reach $RUN_DIR, so the state is in $state"
fi
RUN_DIR=$(readlink -f "$RUN_DIR") || exit 1
is_usable "$RUN_DIR" || fail "$RUN_DIR holds other files"

# Held as long as the instance runs; released by the kernel however it ends.
exec 9>>"$RUN_DIR/instance" || fail "cannot write into $RUN_DIR"
if ! flock -n 9; then
	fail "another instance runs in $SHOWN_DIR: $(<"$RUN_DIR/instance"); choose one with RUN_DIR="
fi
printf 'NAME=%s PORT=%s, process %s\n' "$NAME" "$PORT" $$ >"$RUN_DIR/instance"

PROGRAMS=$build
TEMPLATES=$checkout/conf
if ! as_user test -r "$build/taskd" -a -x "$build/taskd" -a -r "$TEMPLATES/supervise.sh"; then
	PROGRAMS=$RUN_DIR/program
	TEMPLATES=$PROGRAMS
	rm -rf "$PROGRAMS"
	mkdir -p "$PROGRAMS" &&
		cp -R "$build/taskd" "$build/taskring-app" "$build/taskstat" "$build/taskctl" "$build/handlers" "$build/modules" \
			"$checkout"/conf/*.in "$checkout/conf/supervise.sh" "$PROGRAMS" &&
		{ [ ! -d "$build/ui" ] || cp -R "$build/ui" "$PROGRAMS"; } || fail "cannot copy the programs to $PROGRAMS"
	echo "taskring: $user cannot reach $build, so copies in $PROGRAMS are run"
fi
# Whoever it belonged to before.
[ -z "$user" ] || chown -R -h -P "$user:" "$RUN_DIR"

export NAME HOST PORT PROCESSES THREADS URL_PREFIX RUN_DIR SHOWN_DIR PROGRAMS TEMPLATES
cd "$RUN_DIR" || exit 1
# A signal that is ignored when a shell starts, as SIGINT is in a background job, it could not trap.
become=(env --default-signal=INT --default-signal=TERM --default-signal=HUP)
if [ -n "$user" ]; then
	echo "taskring: started as root; runs as $user"
	become+=(setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --inh-caps=-all --bounding-set=-all
		--no-new-privs --)
fi
exec "${become[@]}" "$TEMPLATES/supervise.sh"
