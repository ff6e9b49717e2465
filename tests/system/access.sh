#!/bin/bash
# Who may what, behind a real nginx: each right with each role, logging in, who guesses, what is logged;
# and what steers many tasks at once.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

NO_TASK=01890000-0000-7000-8000-000000000000

start_responder() { # OPTION...
	start_app -p 1 -t 4 "$@"
	start_nginx 1 2
	wait_until 15 answers_with 200 /session
}

stop_responder() {
	stop_nginx
	stop_app
}

answers_with() { # STATUS REQUEST...
	local status=$1
	shift
	request "$@"
	[ "$STATUS" = "$status" ]
}

# What a request is answered, and nothing else.
status() { # PATH CURL_OPTION...
	request "$@"
	printf '%s' "$STATUS"
}

by() { # TOKEN: options for curl
	printf -- '-HAuthorization: Bearer %s' "$1"
}

# Of reading, submitting and steering: 404, 422 and 404 where it is allowed.
rights() { # CURL_OPTION...
	printf '%s %s %s' "$(status /tasks/$NO_TASK "$@")" \
		"$(status /register -H 'Content-Type: application/json' -d '{}' "$@")" "$(status /tasks/$NO_TASK -X DELETE "$@")"
}

# The lines about actions, without what differs from run to run; the last ones.
audited() { # COUNT
	grep -a ' audit ' "$RUN/app.log" | tail -n "$1" | sed -E 's/^<5>taskring-app\[[0-9]+\] //; s/at=[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z id=[0-9a-f]{32} /at=TIME id=ID /'
}
