#!/bin/bash
# Mail through a real SMTP server on the loopback (smtp_sink.py, Debian's python3-aiosmtpd).
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

ADA='{"email":"ada@example.org","name":"Ada"}'
# shellcheck disable=SC2034 # read by lib.sh
PLUGIN_DIR=$BUILD/handlers

# The server; what it takes lies in $WORK/sink. Sets SMTP_PORT.
start_sink() { # [OPTION...]
	mkdir -p "$WORK/sink"
	(cd "$WORK" && exec "$CHECKOUT/tests/system/smtp_sink.py" --dir "$WORK/sink" "$@") \
		</dev/null >"$WORK/sink.port" 2>"$WORK/sink.log" &
	SINK=$!
	wait_until 15 grep -q '^port ' "$WORK/sink.port"
	SMTP_PORT=$(sed 's/^port //' "$WORK/sink.port")
}

stop_sink() {
	kill -TERM "$SINK"
	wait_until 5 is_gone "$SINK"
}

messages() {
	find "$WORK/sink" -name '*.eml' | wc -l
}

headers() { # FILE
	tr -d '\r' <"$1" | sed '/^$/q'
}

envelope() { # NUMBER JQ
	jq -r "$2" "$WORK/sink/$1.json"
}

test_arrives_once() {
	local id
	start_sink
	MAIL="server = \"smtp://127.0.0.1:$SMTP_PORT\" require_tls = no from = \"shop@example.org\"" configure
	start_taskd
	id=$(push -H send_email_notification -a "$ADA")
	wait_row "$id" succeeded
	expect "messages" 1 "$(messages)"
	expect "envelope" "shop@example.org ada@example.org" "$(envelope 000001 '.mail_from + " " + (.rcpt_to | join(","))')"
	expect_match "To" $'(^|\n)To: "?Ada"? <ada@example\\.org>(\n|$)' "$(headers "$WORK/sink/000001.eml")"
	expect_match "Subject" $'(^|\n)Subject: Welcome, Ada(\n|$)' "$(headers "$WORK/sink/000001.eml")"
	expect_match "From" $'(^|\n)From: .*shop@example\\.org' "$(headers "$WORK/sink/000001.eml")"
	expect_match "Date" $'(^|\n)Date: [A-Z][a-z]{2}, ' "$(headers "$WORK/sink/000001.eml")"
	expect_match "Message-ID" $'(^|\n)Message-ID: <[^@<> ]+@[^@<> ]+>(\n|$)' "$(headers "$WORK/sink/000001.eml")"
	expect_match "Content-Type" $'(^|\n)Content-Type: text/plain; charset="?(UTF|utf)-8"?' "$(headers "$WORK/sink/000001.eml")"
	expect "headers that stand twice" 0 "$(headers "$WORK/sink/000001.eml" | grep -oE '^[A-Za-z-]+:' | sort | uniq -d | wc -l)"
	expect "nothing for the maildir" no "$([ -e "$RUN/mail" ] && echo yes || echo no)"
	push -c 50 -p -H send_email_notification -a "$ADA" >/dev/null
	await task_succeeded=51
	expect "messages" 51 "$(messages)"
	expect "Message-IDs" 51 "$(cat "$WORK"/sink/*.eml | grep -i '^Message-ID:' | sort -u | wc -l)"
	stop_taskd
	stop_sink
	expect_nothing_left
}

test_tries_again_with_the_same_message_id() {
	local id
	start_sink --drop kept --drop-first 1 # it has the message, but the client never hears so
	MAIL="server = \"smtp://127.0.0.1:$SMTP_PORT\" require_tls = no" configure
	start_taskd
	id=$(push -H send_email_notification -a "$ADA" -B 10)
	wait_row "$id" succeeded
	expect "attempts" 2 "$(sql "SELECT count(*) FROM attempts WHERE task = '$id'")"
	expect "messages" 2 "$(messages)"
	expect "Message-IDs" 1 "$(cat "$WORK"/sink/*.eml | grep -i '^Message-ID:' | sort -u | wc -l)"
	stop_taskd
	stop_sink
}

test_server_that_is_not_there() {
	local id
	MAIL="server = \"smtp://127.0.0.1:$(free_port)\" require_tls = no" configure
	start_taskd
	id=$(push -H send_email_notification -a "$ADA" -B 10 -m 2)
	wait_row "$id" dead
	expect "attempts" "failed failed" "$(sql "SELECT outcome FROM attempts WHERE task = '$id'" | paste -sd' ')"
	expect_match "the handler's own callback spoke" 'the welcome mail failed \(returned, attempt 1 of 2\)' "$(cat "$RUN/taskd.log")"
	stop_taskd
}

test_refused_for_good() {
	local id
	start_sink --reject 'ada@example.org=550 5.1.1 no such user'
	MAIL="server = \"smtp://127.0.0.1:$SMTP_PORT\" require_tls = no" configure
	start_taskd
	id=$(push -H send_email_notification -a "$ADA" -B 10)
	wait_row "$id" dead
	expect "attempts" 1 "$(sql "SELECT count(*) FROM attempts WHERE task = '$id'")"
	expect_match "the server's words" "no such user" "$(sql "SELECT error FROM tasks WHERE id = '$id'")"
	expect "messages" 0 "$(messages)"
	stop_taskd
	stop_sink
}

# Connections are kept: so many mails, and no more than two of each worker thread.
test_few_connections() {
	start_sink
	MAIL="server = \"smtp://127.0.0.1:$SMTP_PORT\" require_tls = no" configure '' 'pool default { processes = 1 threads = 1 }'
	start_taskd
	push -c 100 -p -H send_email_notification -a "$ADA" >/dev/null
	await task_succeeded=100
	expect "messages" 100 "$(messages)"
	[ "$(wc -l <"$WORK/sink/connections")" -le 2 ] || fail "$(wc -l <"$WORK/sink/connections") connections"
	stop_taskd
	stop_sink
	expect_nothing_left
}

# A server that takes its time holds up neither the worker's other tasks nor a cancellation.
test_cancelled() {
	local id other
	start_sink --stall data
	MAIL="server = \"smtp://127.0.0.1:$SMTP_PORT\" require_tls = no" configure '' 'pool default { processes = 1 threads = 1 }'
	start_taskd
	id=$(push -H send_email_notification -a "$ADA")
	wait_until 10 test -s "$WORK/sink/connections"
	other=$(push -H record_signup -a "$ADA")
	wait_row "$other" succeeded
	expect "the mail meanwhile" running "$(state_of "$id")"
	push -C "$id"
	wait_row "$id" cancelled 5
	expect "messages" 0 "$(messages)"
	stop_taskd
	stop_sink
}

make_certificate() {
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext 'subjectAltName=IP:127.0.0.1,DNS:localhost' \
		-keyout "$WORK/key.pem" -out "$WORK/certificate.pem" 2>"$WORK/openssl.log"
}

test_tls_and_password() {
	local id
	make_certificate
	start_sink --starttls "$WORK/certificate.pem" "$WORK/key.pem" --auth 'shop:se:cret'
	printf 'se:cret\n' >"$WORK/password"
	chmod 600 "$WORK/password"
	MAIL="server = \"smtp://127.0.0.1:$SMTP_PORT\" ca_file = \"$WORK/certificate.pem\" user = shop password_file = \"$WORK/password\"" configure
	start_taskd
	id=$(push -H send_email_notification -a "$ADA")
	wait_row "$id" succeeded
	expect "envelope" "true shop" "$(envelope 000001 '(.tls | tostring) + " " + .user')"
	stop_taskd
	stop_sink
}

# TLS is required unless the configuration says otherwise: nothing goes out without it.
test_no_tls_no_mail() {
	local id
	start_sink
	MAIL="server = \"smtp://127.0.0.1:$SMTP_PORT\"" configure
	start_taskd
	id=$(push -H send_email_notification -a "$ADA" -B 10 -m 1)
	wait_row "$id" dead
	expect "messages" 0 "$(messages)"
	stop_taskd
	stop_sink
}

run_tests "$@"
