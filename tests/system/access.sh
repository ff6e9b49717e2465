#!/bin/bash
# Who may what, behind a real nginx: each right with each role, logging in, who guesses, what is logged;
# and what steers many tasks at once.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

NO_TASK=01890000-0000-7000-8000-000000000000

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

test_rights_of_roles() {
	local reader submitter operator
	reader=$(add_token grafana:reader)
	submitter=$(add_token shop:submitter)
	operator=$(add_token ada:operator)
	start_responder -T "$RUN/tokens"
	expect "nobody" "401 401 401" "$(rights)"
	expect "the challenge" Bearer "$(header WWW-Authenticate)"
	expect "a reader" "404 403 403" "$(rights "$(by "$reader")")"
	expect "a submitter" "404 422 403" "$(rights "$(by "$submitter")")"
	expect "an operator" "404 422 404" "$(rights "$(by "$operator")")"
	expect "what asks for no right" 503 "$(status /healthz)"
	request /session "$(by "$submitter")"
	expect "who am I" '{"name":"shop","role":"submitter","rights":["read","submit"],"login":true}' "$(cat "$WORK/body")"
	# Reloaded as a whole: with a fault the tokens before it stay, and the log says file and line.
	cp "$RUN/tokens" "$WORK/sound"
	echo "anybody operator" >>"$RUN/tokens"
	kill -HUP "$APP"
	wait_until 10 grep -aqF "tokens-refused reason=\"$RUN/tokens:4: \\\"anybody\\\" may be a reader or a submitter, and has no hash\" kept=those before" "$RUN/app.log"
	expect "as before" "404 422 404" "$(rights "$(by "$operator")")"
	{ grep -v '^grafana ' "$WORK/sound" && echo "anybody reader"; } >"$RUN/tokens"
	kill -HUP "$APP"
	wait_until 10 answers_with 401 /tasks/$NO_TASK "$(by "$reader")"
	wait_until 10 answers_with 404 /tasks/$NO_TASK
	expect "everybody" "404 401 401" "$(rights)"
	expect "those that stay" "404 422 404" "$(rights "$(by "$operator")")"
	stop_responder
}

test_without_tokens() {
	start_responder
	expect "nobody" "404 422 403" "$(rights)"
	expect "why" '{"detail":"no tokens are configured here; tasks are steered on the machine itself, with taskctl"}' "$(cat "$WORK/body")"
	request /session
	expect "who am I" '{"name":null,"role":"submitter","rights":["read","submit"],"login":false}' "$(cat "$WORK/body")"
	stop_responder
}

test_token_files() {
	local status mode
	add_token ada:operator >/dev/null
	for mode in 604 602; do
		status=0
		chmod $mode "$RUN/tokens"
		"$BUILD/taskring-app" -s "$WORK/x.sock" -n "$NAME" -T "$RUN/tokens" 2>"$WORK/said" </dev/null || status=$?
		expect "status with mode $mode" 2 $status
		expect_match "what it says" 'chmod o= it' "$(cat "$WORK/said")"
	done
	status=0
	chmod 600 "$RUN/tokens"
	sed -i 's/operator/boss/' "$RUN/tokens"
	"$BUILD/taskring-app" -s "$WORK/x.sock" -n "$NAME" -T "$RUN/tokens" 2>"$WORK/said" </dev/null || status=$?
	expect "status with a fault" 2 $status
	expect_match "what it says" 'tokens:1: the role must be reader, submitter or operator' "$(cat "$WORK/said")"
	[ ! -e "$WORK/x.sock" ] || fail "it has made its socket"
}

# As a browser does it: the token once, then the cookie; and what another site's page could make it send.
test_login() {
	local operator jar=$WORK/jar
	operator=$(add_token ada:operator)
	start_responder -T "$RUN/tokens"
	request /login -H 'Content-Type: application/json' -d "{\"token\":\"${operator%?}\"}" -c "$jar"
	expect "a wrong token" 401 "$STATUS"
	[ -z "$(header Set-Cookie)" ] || fail "a cookie for a wrong token"
	request /login -H 'Content-Type: application/json' -d "{\"token\":\"$operator\"}" -c "$jar"
	expect "the right one" 200 "$STATUS"
	expect "its cookie" "taskring-$NAME=$operator; Path=/; HttpOnly; SameSite=Strict" "$(header Set-Cookie)"
	request /session -b "$jar"
	expect "who am I" 'ada operator' "$(jq -r '[.name, .role] | join(" ")' "$WORK/body")"
	expect "reading" 404 "$(status /tasks/$NO_TASK -b "$jar")"
	expect "steering from nowhere" 403 "$(status /tasks/$NO_TASK -X DELETE -b "$jar")"
	expect "from another site" 403 "$(status /tasks/$NO_TASK -X DELETE -b "$jar" -H 'Origin: http://evil.example')"
	expect "from our own" 404 "$(status /tasks/$NO_TASK -X DELETE -b "$jar" -H "Origin: http://127.0.0.1:$PORT")"
	expect "by a script of ours" 404 "$(status /tasks/$NO_TASK -X DELETE -b "$jar" -H 'X-Requested-With: taskring')"
	expect "logging out" 204 "$(status /logout -X POST -b "$jar" -c "$jar" -H 'X-Requested-With: taskring')"
	expect "the cookie" "taskring-$NAME=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0" "$(header Set-Cookie)"
	expect "nobody again" 401 "$(status /tasks/$NO_TASK -b "$jar")"
	expect "the log" "audit at=TIME id=ID who=\"\" by=nothing from=127.0.0.1 method=POST status=401 note=\"\" path=\"/login\" query=\"\"
audit at=TIME id=ID who=\"\" by=nothing from=127.0.0.1 method=POST status=200 note=\"login=ada\" path=\"/login\" query=\"\"
audit at=TIME id=ID who=\"ada\" by=cookie from=127.0.0.1 method=DELETE status=403 note=\"\" path=\"/tasks/$NO_TASK\" query=\"\"
audit at=TIME id=ID who=\"ada\" by=cookie from=127.0.0.1 method=DELETE status=403 note=\"\" path=\"/tasks/$NO_TASK\" query=\"\"
audit at=TIME id=ID who=\"ada\" by=cookie from=127.0.0.1 method=DELETE status=404 note=\"\" path=\"/tasks/$NO_TASK\" query=\"\"
audit at=TIME id=ID who=\"ada\" by=cookie from=127.0.0.1 method=DELETE status=404 note=\"\" path=\"/tasks/$NO_TASK\" query=\"\"
audit at=TIME id=ID who=\"ada\" by=cookie from=127.0.0.1 method=POST status=204 note=\"logout\" path=\"/logout\" query=\"\"
audit at=TIME id=ID who=\"\" by=nothing from=127.0.0.1 method=GET status=401 note=\"\" path=\"/tasks/$NO_TASK\" query=\"\"" "$(audited 8)"
	! grep -aqF "${operator#tr_}" "$RUN/app.log" "$RUN"/logs/* || fail "the token stands in a log"
	stop_responder
}

# Whom nginx has recognized, by HTTP's basic authentication.
test_users_of_the_web_server() {
	printf 'ada operator user\nanybody reader\n' >"$RUN/tokens"
	chmod 600 "$RUN/tokens"
	printf 'ada:{PLAIN}love\nmallory:{PLAIN}hate\n' >"$RUN/users"
	start_app -p 1 -t 4 -T "$RUN/tokens" -A REMOTE_USER
	mkdir "$WORK/checkout" "$WORK/checkout/conf"
	sed 's|fastcgi_param REMOTE_ADDR .*|&\nfastcgi_param REMOTE_USER $remote_user;\nauth_basic taskring;\nauth_basic_user_file ./users;|' \
		"$CHECKOUT/conf/nginx.conf.in" >"$WORK/checkout/conf/nginx.conf.in"
	CHECKOUT=$WORK/checkout start_nginx 1 2
	wait_until 15 answers_with 401 /session # nginx's own
	request /session -u ada:love
	expect "who am I" 'ada operator' "$(jq -r '[.name, .role] | join(" ")' "$WORK/body")"
	expect "a page of another site" 403 "$(status /tasks/$NO_TASK -X DELETE -u ada:love -H 'Origin: http://evil.example')"
	expect "our own" 404 "$(status /tasks/$NO_TASK -X DELETE -u ada:love -H 'X-Requested-With: x')"
	expect "no operator" 403 "$(status /tasks/$NO_TASK -X DELETE -u mallory:hate -H 'X-Requested-With: x' -H 'Remote-User: ada')"
	expect "the log" 'audit at=TIME id=ID who="mallory" by=web-server from=127.0.0.1 method=DELETE status=403 note="" path="/tasks/'$NO_TASK'" query=""' "$(audited 1)"
	stop_responder
}

test_guessing() {
	local operator i
	operator=$(add_token ada:operator)
	start_responder -T "$RUN/tokens"
	for i in 1 2 3 4 5 6; do
		expect "wrong token $i" 401 "$(status /tasks/$NO_TASK "$(by tr_wrong)")"
	done
	request /tasks/$NO_TASK "$(by "$operator")"
	expect "the right one, too early" "429 1" "$STATUS $(header Retry-After)"
	expect "without one" 503 "$(status /healthz)"
	wait_until 5 answers_with 404 /tasks/$NO_TASK "$(by "$operator")"
	expect "the next wrong one" 401 "$(status /tasks/$NO_TASK "$(by tr_wrong)")"
	request /tasks/$NO_TASK "$(by "$operator")"
	expect_match "longer" '429 [12]' "$STATUS $(header Retry-After)"
	stop_responder
}

# A path cannot end a line, nor push out what comes before it.
test_hostile_texts() {
	add_token ada:operator >/dev/null
	start_responder -T "$RUN/tokens" -l error
	request '/queues/x%20status=200%22%20who=%22ada%0Aaudit/pause' -X POST
	expect "a line feed" 400 "$STATUS"
	request '/queues/x%20who=%22ada%22/pause?a=%0Aaudit%20who=%22ada%22' -X POST
	expect "quotes" 401 "$STATUS"
	expect "its line" 'audit at=TIME id=ID who="" by=nothing from=127.0.0.1 method=POST status=401 note="" path="/queues/x who=\"ada\"/pause" query="a=%0Aaudit%20who=%22ada%22"' "$(audited 1)"
	request "/queues/$(head -c 120 /dev/zero | tr '\0' a)/pause?$(head -c 2000 /dev/zero | tr '\0' a)" -X POST
	expect "long" 401 "$STATUS"
	expect_match "its line" '^audit at=TIME id=ID who="" by=nothing from=127.0.0.1 method=POST status=401 note="" path="/queues/a+/pause" query="a+' "$(audited 1)"
	expect "lines" 2 "$(grep -ac audit "$RUN/app.log")"
	stop_responder
}

# ---- many tasks at once ---------------------------------------------------------------------

steps() { # PATH_AND_QUERY TOKEN: "STATUS CALLS MATCHED ASKED"
	local cursor='' calls=0 matched=0 asked=0
	until [ "$cursor" = null ]; do
		request "$1${cursor:+&cursor=$cursor}" -X POST "$(by "$2")"
		[[ $STATUS == 20[02] ]] || fail "$1: $STATUS $(cat "$WORK/body")"
		calls=$((calls + 1))
		matched=$((matched + $(jq .matched "$WORK/body")))
		asked=$((asked + $(jq .asked "$WORK/body")))
		[ "$(jq .matched "$WORK/body")" -le 500 ] || fail "a step of $(jq .matched "$WORK/body")"
		cursor=$(jq -r .next "$WORK/body")
	done
	printf '%s %s %s %s' "$STATUS" $calls $matched $asked
}

in_state() { # STATE COUNT
	[ "$(sql "SELECT count(*) FROM tasks WHERE state = '$1'")" = "$2" ]
}

test_many() {
	local operator id
	operator=$(add_token ada:operator)
	configure
	start_taskd
	start_responder -T "$RUN/tokens" -J "$RUN/journal.db"
	push -H fail -a '{"message":"out of paper"}' -m 1 -c 1200 >/dev/null
	id=$(push -H fail -a '{"message":"other"}' -m 1 -q other)
	wait_until 60 in_state dead 1201
	expect "what a dry run counts" "200 3 1200 0" "$(steps '/tasks/retry?handler=fail&queue=default&dry_run=true' "$operator")"
	expect "what it has changed" "1201 0" "$(sql "SELECT count(*), count(*) FILTER (WHERE attempt > 1) FROM tasks" | tr '|' ' ')"
	expect_stat task_retried 0
	expect "retried" "202 3 1200 1200" "$(steps '/tasks/retry?handler=fail&queue=default' "$operator")"
	wait_until 60 all_tried_again
	expect "the other" 1 "$(sql "SELECT attempt FROM tasks WHERE id = '$id'")"
	expect "the log" 'audit at=TIME id=ID who="ada" by=bearer from=127.0.0.1 method=POST status=202 note="matched=200 asked=200" path="/tasks/retry" query="handler=fail&queue=default&cursor='"$(grep -aoE 'cursor=[0-9a-f-]{36}"' "$RUN/app.log" | tail -n 1 | cut -c 8-43)"'"' "$(audited 1)"
	expect "discarded" "202 3 1201 1201" "$(steps '/tasks/discard?state=dead' "$operator")"
	wait_until 60 in_state cancelled 1201
	stop_responder
	stop_taskd
	expect_nothing_left
}

all_tried_again() {
	[ "$(sql "SELECT count(*) FROM tasks WHERE attempt = 2 AND state = 'dead'")" = 1200 ]
}

# A dead task, edited and tried again: what was hidden stays what it was, the dead one is discarded.
expect_editing() { # OPERATOR
	local id new large
	id=$(push -H fail_times -a '{"times":9,"password":"geheim","deep":{"password":"***"}}' -m 1 -q other -B 7)
	wait_row "$id" dead
	request "/tasks/$id/retry" "$(by "$1")" -H 'Content-Type: application/json' -d '{"soft_timeout_ms":2,"hard_timeout_ms":1}'
	expect "what does not fit together" '422 ["body"]' "$STATUS $(jq -c '.detail[0].loc' "$WORK/body")"
	request "/tasks/$id/retry" "$(by "$1")" -H 'Content-Type: application/json' -d '{"args":{"times":0,"password":"***","new":"***","deep":1},"max_attempts":3}'
	expect "editing" "202 $id dead" "$STATUS $(jq -r '[.id, .state] | join(" ")' "$WORK/body")"
	new=$(jq -r .new.id "$WORK/body")
	expect "Location" "/tasks/$new" "$(header Location)"
	expect "its line" "audit at=TIME id=ID who=\"ada\" by=bearer from=127.0.0.1 method=POST status=202 note=\"new=$new\" path=\"/tasks/$id/retry\" query=\"\"" "$(audited 1)"
	wait_row "$new" succeeded
	wait_row "$id" cancelled
	expect "what it was" 'fail_times|other|3|7|{"times":0,"password":"geheim","new":"***","deep":1}' \
		"$(sql "SELECT handler, queue, max_attempts, backoff_base_ms, CAST(args AS TEXT) FROM task WHERE lower(hex(id)) = replace('$new', '-', '')")"
	expect "once more" 409 "$(status "/tasks/$id/retry" "$(by "$1")" -H 'Content-Type: application/json' -d '{}')"
	# What is hidden one level deeper: the headers of a call.
	id=$(push -H http -a '{"url":"http://127.0.0.1:9/","headers":{"Authorization":"Bearer geheim","X-Other":"offen"}}' -m 1)
	wait_row "$id" dead
	request "/tasks/$id" "$(by "$1")"
	expect "what is shown of it" '{"url":"http://127.0.0.1:9/","headers":{"Authorization":"***","X-Other":"***"}} true' \
		"$(jq -c .arguments "$WORK/body") $(jq .redacted "$WORK/body")"
	request "/tasks/$id/retry" "$(by "$1")" -H 'Content-Type: application/json' \
		-d '{"args":{"url":"http://127.0.0.1:10/","headers":{"Authorization":"***","X-Other":"neu"}}}'
	expect "editing headers" 202 "$STATUS"
	new=$(jq -r .new.id "$WORK/body")
	wait_row "$new" dead
	expect "the headers" '{"url":"http://127.0.0.1:10/","headers":{"Authorization":"Bearer geheim","X-Other":"neu"}}' \
		"$(sql "SELECT CAST(args AS TEXT) FROM task WHERE lower(hex(id)) = replace('$new', '-', '')")"
	wait_row "$id" cancelled
	large=$(head -c 30000 /dev/zero | tr '\0' x)
	id=$(push -H fail_times -a "{\"times\":9,\"password\":\"$large\"}" -m 1) # its arguments are in the spool
	wait_row "$id" dead
	request "/tasks/$id/retry" "$(by "$1")" -H 'Content-Type: application/json' -d '{"args":{"times":0,"password":"***"}}'
	expect "editing large ones" 202 "$STATUS"
	new=$(jq -r .new.id "$WORK/body")
	wait_row "$new" succeeded
	expect "their size" 30025 "$(sql "SELECT args_bytes FROM task WHERE lower(hex(id)) = replace('$new', '-', '')")"
	wait_row "$id" cancelled
}

# Queues, tasks of any handler, and each of the commands for one task.
test_steering() {
	local operator submitter id
	operator=$(add_token ada:operator)
	submitter=$(add_token shop:submitter)
	configure
	start_taskd
	start_responder -T "$RUN/tokens" -J "$RUN/journal.db"
	expect "pausing by who may not" 403 "$(status /queues/slow/pause -X POST "$(by "$submitter")")"
	request /queues/slow/pause -X POST "$(by "$operator")"
	expect "pausing" '202 {"queue":"slow","paused":true}' "$STATUS $(cat "$WORK/body")"
	request /tasks "$(by "$submitter")" -H 'Content-Type: application/json' -d '[{"handler":"noop"},{"handler":"nop"},{"handler":"mail"},{"handler":"x"}]'
	expect "handlers that there are not" '422 [["body",1,"handler"],["body",3,"handler"]]' "$STATUS $(jq -c '[.detail[].loc]' "$WORK/body")"
	request /tasks "$(by "$submitter")" -H 'Content-Type: application/json' -d '{"handler":"nop"}'
	expect "a handler that there is not" '422 [["body","handler"]]' "$STATUS $(jq -c '[.detail[].loc]' "$WORK/body")"
	request /tasks "$(by "$submitter")" -H 'Content-Type: application/json' -d '[{"handler":"noop","queue":"slow"},{"handler":"noop","queue":"slow"}]'
	expect "submitting" "202 noop noop" "$STATUS $(jq -r '[.tasks[].handler] | join(" ")' "$WORK/body")"
	id=$(jq -r '.tasks[0].id' "$WORK/body")
	expect "its line" 'audit at=TIME id=ID who="shop" by=bearer from=127.0.0.1 method=POST status=202 note="tasks=2" path="/tasks" query=""' "$(audited 1)"
	wait_state "$(push -H noop)" succeeded
	expect "what the paused queue keeps" queued "$(state_of "$id")"
	expect "resuming" 202 "$(status /queues/slow/resume -X POST "$(by "$operator")")"
	wait_state "$id" succeeded
	request /tasks "$(by "$submitter")" -H 'Content-Type: application/json' -d '{"handler":"noop","delay_ms":600000}'
	id=$(jq -r '.tasks[0].id' "$WORK/body")
	wait_state "$id" scheduled
	expect "running now" 202 "$(status "/tasks/$id/run" -X POST "$(by "$operator")")"
	wait_state "$id" succeeded
	expect "again" 409 "$(status "/tasks/$id/run" -X POST "$(by "$operator")")"
	expect "discarding what has ended" 409 "$(status "/tasks/$id/discard" -X POST "$(by "$operator")")"
	expect_editing "$operator"
	id=$(push -H fail -a '{"message":"x"}' -m 1)
	wait_state "$id" dead
	expect "discarding" 202 "$(status "/tasks/$id/discard" -X POST "$(by "$operator")")"
	wait_state "$id" cancelled
	stop_responder
	stop_taskd
	expect_nothing_left
}

run_tests "$@"
