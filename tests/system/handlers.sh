#!/bin/bash
# The demonstration's handlers digest_file and count_primes in a whole taskd: results, cancelling, shutting down.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# shellcheck disable=SC2034 # read by lib.sh
PLUGIN_DIR=$BUILD/handlers

result_of() { # ID
	sql "SELECT result FROM tasks WHERE id = '$1'"
}

is_empty() { # DIRECTORY
	[ -z "$(ls -A "$1")" ]
}

test_digest_file() {
	local id
	configure
	start_taskd
	head -c 3000000 /dev/urandom >"$WORK/file"
	id=$(push -H digest_file -a '{"name":"noise.bin"}' -O "$WORK/file")
	wait_row "$id" succeeded
	expect "its result" "{\"sha256\":\"$(sha256sum "$WORK/file" | cut -d' ' -f1)\",\"bytes\":3000000,\"lines\":$(wc -l <"$WORK/file"),\"name\":\"noise.bin\"}" \
		"$(result_of "$id")"
	wait_until 5 is_empty "$RUN/spool"
	id=$(push -H digest_file)
	wait_row "$id" dead
	expect "without a file" "the task owns no file" "$(sql "SELECT error FROM tasks WHERE id = '$id'")"
	stop_taskd
	expect_nothing_left
}

test_count_primes_stops() {
	local id other
	configure '' 'pool default { processes = 1 threads = 2 }'
	start_taskd
	id=$(push -H count_primes -a '{"limit":1000000000000}')
	other=$(push -H count_primes -a '{"limit":1000000000000}')
	await task_running=2
	push -C "$id" >/dev/null
	wait_row "$id" cancelled 2
	stop_taskd
	expect "the other, after a shutdown" "queued 0" "$(sql "SELECT state || ' ' || (SELECT count(*) FROM attempts WHERE task = tasks.id AND outcome = 'failed') FROM tasks WHERE id = '$other'")"
	start_taskd
	await task_running=1
	push -C "$other" >/dev/null
	wait_row "$other" cancelled 2
	id=$(push -H count_primes -a '{"limit":10000000}')
	wait_row "$id" succeeded
	expect "its result" '{"limit":10000000,"primes":664579}' "$(result_of "$id")"
	expect_stat worker_died 0
	stop_taskd
	expect_nothing_left
}

run_tests "$@"
