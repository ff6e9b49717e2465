# taskctl, asked by the system tests. Sourced behind lib.sh.
# shellcheck shell=bash

ID='[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}'
AT='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{12}Z'
NOBODY=01900000-0000-7000-8000-000000000000

# Sets OUT, ERR and STATUS; INPUT is what it reads.
ctl() { # COMMAND ARGUMENT...
	STATUS=0
	"$BUILD/taskctl" "$1" -n "$NAME" -J "$RUN/journal.db" -S "$RUN/spool" "${@:2}" <"${INPUT:-/dev/null}" \
		>"$WORK/out" 2>"$WORK/err" || STATUS=$?
	OUT=$(cat "$WORK/out")
	ERR=$(cat "$WORK/err")
}

# It must end so, and print just that.
expect_ctl() { # STATUS OUT COMMAND ARGUMENT...
	ctl "${@:3}"
	expect "the status of taskctl ${*:3} ($ERR)" "$1" "$STATUS"
	expect "the output of taskctl ${*:3}" "$2" "$OUT"
}

# Its standard error must match, too.
expect_refusal() { # STATUS PATTERN COMMAND ARGUMENT...
	ctl "${@:3}"
	expect "the status of taskctl ${*:3} ($ERR)" "$1" "$STATUS"
	expect "the output of taskctl ${*:3}" "" "$OUT"
	expect_match "what taskctl ${*:3} says" "$2" "$ERR"
}

add() { # HANDLER [ARGUMENT...]: the new task's id is in OUT
	ctl push "$@"
	expect "the status of taskctl push $* ($ERR)" 0 "$STATUS"
}

count_of() { # FILTER...: tasks that list shows
	ctl list --json -L 100000 "$@"
	expect "the status of taskctl list" 0 "$STATUS"
	grep -c . "$WORK/out" || :
}

counts() { # NUMBER FILTER...
	[ "$(count_of "${@:2}")" = "$1" ]
}

# Snapshot of all that commands could change.
journal_now() {
	sql "SELECT id, state, attempt, error FROM tasks ORDER BY id"
}
