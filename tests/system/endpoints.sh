#!/bin/bash
# docs/endpoints.md says what is: its C is that of tests/readme, which compiles (readme.sh); its commands make
# plug-ins that run; and its endpoint works in a responder when it is built in as the page says.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

PAGE=$CHECKOUT/docs/endpoints.md

test_c_is_what_compiles() {
	local block file found
	extract "$PAGE" c
	expect "blocks of C" 8 "$(find "$WORK/blocks" -type f | wc -l)"
	for block in "$WORK"/blocks/*; do
		found=
		for file in "$CHECKOUT"/tests/readme/*.[ch]; do
			! stands_in "$block" "$file" || found=1
		done
		[ -n "$found" ] || fail "in no file of tests/readme: $(head -n 3 "$block")"
	done
}

# The page's files and its gcc lines, in a directory as the reader has it; then the plug-ins are in $WORK/plugins.
build_plugins() {
	local name
	for name in sales.h sales.c sum_sales.c scan_file.c; do
		extract_file "$PAGE" "$name" >"$WORK/$name"
	done
	ln -s "$BUILD" "$WORK/build"
	mkdir "$WORK/plugins"
	extract "$PAGE" sh
	grep -h '^gcc ' "$WORK"/blocks/* >"$WORK/commands"
	expect "gcc lines" 2 "$(wc -l <"$WORK/commands")"
	(cd "$WORK" && bash -e "$WORK/commands") || fail "the gcc lines of the page"
	install "$WORK"/*.so "$WORK/plugins"
}

make_sales() { # FILE
	sqlite3 "$1" "CREATE TABLE sales (day TEXT, cents INTEGER);
		INSERT INTO sales VALUES ('2026-10-31', 5), ('2026-11-01', 1000), ('2026-11-30', 234), ('2025-11-07', 7);"
}

test_handler_and_resource() {
	local id
	[ -z "${SAN:-}" ] || skip "the page's commands do not link a sanitizer"
	build_plugins
	export SALES_DB=$WORK/sales.db
	PLUGIN_DIR=$WORK/plugins configure '' 'pool default { processes = 1 threads = 1 }'
	start_taskd
	id=$(push -H sum_sales -a '{"year":2026,"month":11}' -m 1)
	wait_row "$id" dead
	expect_match "without a database" 'the sales: unable to open database file' "$(sql "SELECT error FROM tasks WHERE id = '$id'")"
	make_sales "$SALES_DB"
	id=$(push -H sum_sales -a '{"year":2026,"month":11}')
	wait_row "$id" succeeded
	expect "its result" '{"cents":1234}' "$(sql "SELECT result FROM tasks WHERE id = '$id'")"
	# Broken while it is open: found by check(), opened anew.
	sqlite3 "$SALES_DB" 'ALTER TABLE sales RENAME TO away'
	id=$(push -H sum_sales -a '{"year":2026,"month":11}' -m 1)
	wait_row "$id" dead
	sqlite3 "$SALES_DB" 'ALTER TABLE away RENAME TO sales'
	id=$(push -H sum_sales -a '{"year":2025,"month":11}')
	wait_row "$id" succeeded
	expect "its result" '{"cents":7}' "$(sql "SELECT result FROM tasks WHERE id = '$id'")"
	id=$(push -H sum_sales -a '{"year":2026}')
	wait_row "$id" dead
	stop_taskd
	expect_nothing_left
}

# As clamd answers zSCAN; a file whose text has "evil" in it is one. What begins with "slow" it keeps to itself.
start_clamd() {
	cat >"$WORK/clamd.py" <<-'END'
		import asyncio, os, sys

		async def scan(reader, writer):
		    try:
		        path = (await reader.readuntil(b"\0"))[:-1].decode().removeprefix("zSCAN ")
		        text = open(path).read()
		        if text.startswith("slow"):
		            await asyncio.sleep(1000)
		        verdict = "lstat() failed: ERROR" if "broken" in text else "Eicar-Test-Signature FOUND" if "evil" in text else "OK"
		        writer.write(f"{path}: {verdict}".encode() + b"\0")
		        await writer.drain()
		    finally:
		        writer.close()

		async def main():
		    server = await asyncio.start_unix_server(scan, sys.argv[1])
		    print("ready", flush=True)
		    await server.serve_forever()

		asyncio.run(main())
	END
	(cd "$WORK" && exec /usr/bin/python3 clamd.py "$WORK/clamd") </dev/null >"$WORK/clamd.out" 2>"$WORK/clamd.log" &
	CLAMD=$!
	wait_until 10 grep -q ready "$WORK/clamd.out"
}

scan() { # STATE TEXT [PUSH_OPTION...]: sets ID
	local state=$1
	printf '%s' "$2" >"$WORK/file"
	shift 2
	ID=$(push -H scan_file -O "$WORK/file" "$@")
	[ -z "$state" ] || wait_row "$ID" "$state"
}

test_asynchronous_handler() {
	[ -z "${SAN:-}" ] || skip "the page's commands do not link a sanitizer"
	build_plugins
	start_clamd
	export CLAMD_SOCKET=$WORK/clamd
	PLUGIN_DIR=$WORK/plugins configure '' 'pool default { processes = 1 threads = 1 }'
	start_taskd
	scan succeeded "a letter"
	expect "its result" '{"virus":null}' "$(sql "SELECT result FROM tasks WHERE id = '$ID'")"
	scan succeeded "evil"
	expect "its result" '{"virus":"Eicar-Test-Signature"}' "$(sql "SELECT result FROM tasks WHERE id = '$ID'")"
	scan dead "broken" -m 1
	expect_match "its error" '^clamd: .*lstat\(\) failed: ERROR' "$(sql "SELECT error FROM tasks WHERE id = '$ID'")"
	scan dead "slow" -m 1 -T 200
	expect "out of time" "clamd has not answered in time" "$(sql "SELECT error FROM tasks WHERE id = '$ID'")"
	# Many wait in one thread, and one that does not need to wait does not.
	scan '' "slow" -c 100 -p
	await task_running=100
	scan succeeded "a letter"
	expect_stat task_running 100
	kill "$CLAMD"
	wait_until 5 is_gone "$CLAMD"
	stop_taskd
}

# The responder with the page's endpoint: what the page names is put into a copy of app/, as it says.
build_responder() {
	local src=$WORK/src object
	mkdir "$src"
	cp -r "$CHECKOUT/app" "$src/app"
	extract_file "$PAGE" app/endpoint_sales.c >"$src/app/endpoint_sales.c"
	for name in sales.h sales.c; do
		extract_file "$PAGE" "$name" >"$src/app/$name"
	done
	extract "$PAGE" c
	python3 - "$src/app" "$WORK"/blocks/* <<-'END'
		import pathlib, sys
		app, blocks = pathlib.Path(sys.argv[1]), [open(name).read() for name in sys.argv[2:]]
		one = lambda text: next(block for block in blocks if block.startswith(text))
		routes, endpoints = app / "routes.c", app / "endpoints.h"
		table = "static const struct route routes[] = {\n"
		text = routes.read_text().replace('#include "app/endpoints.h"\n', '#include "app/endpoints.h"\n#include "app/sales.h"\n')
		routes.write_text(text.replace(table, one("static const struct tr_resource") + table + one("\t{\n")))
		endpoints.write_text(endpoints.read_text().replace("#endif", one("web_endpoint") + "#endif"))
	END
	for name in endpoint_sales sales routes; do
		gcc -std=c11 -O1 -Wall -Wextra -Werror -D_GNU_SOURCE -I"$src" -I"$CHECKOUT" -I"$CHECKOUT/shared/include" \
			-c -o "$WORK/$name.o" "$src/app/$name.c" || fail "the page's $name.c"
	done
	for object in "$BUILD"/obj/app/*.o; do
		[ "${object##*/}" = routes.o ] || printf '%s\n' "$object"
	done >"$WORK/objects"
	# A build of its own, which make finds up to date.
	mkdir "$WORK/own"
	(cd "$BUILD" && cp -a obj handlers modules include man prefix libtaskring.* taskring.pc taskd taskstat "$WORK/own")
	# shellcheck disable=SC2046
	gcc -o "$WORK/own/taskring-app" "$WORK"/{endpoint_sales,sales,routes}.o $(cat "$WORK/objects") "$BUILD/libtaskring.a" \
		$(make -s -C "$CHECKOUT" -pRrq : 2>/dev/null | sed -n 's/^APP_LIBS := //p' | sed "s/\$(LIB_LIBS)/-lsqlite3 -pthread/")
	install "$WORK/plugins/sum_sales.so" "$WORK/own/handlers/"
	touch "$WORK/stamp"
	find "$WORK/own" -type f -exec touch -r "$WORK/stamp" {} +
}

test_endpoint() {
	local id
	[ -z "${SAN:-}" ] || skip "the page's commands do not link a sanitizer"
	build_plugins
	build_responder
	export SALES_DB=$WORK/sales.db
	make_sales "$SALES_DB"
	chmod 644 "$SALES_DB"
	BUILD=$WORK/own
	start_run
	post /sales/sums '{"year":2026,"month":11,"report_to":"ada@example.org"}'
	expect "its status" 202 "$STATUS"
	expect "its tasks" "sum_sales mail" "$(jq -r '.tasks | map(.handler) | join(" ")' "$WORK/body")"
	id=$(jq -r '.tasks[0].id' "$WORK/body")
	wait_until 10 has_result "$id" '{"cents":1234}'
	post /sales/sums '{"year":26,"month":"11"}'
	expect "its status" 422 "$STATUS"
	expect "what is wrong" "body.year body.month" "$(jq -r '.detail | map(.loc | join(".")) | join(" ")' "$WORK/body")"
	request /sales/2026/11
	expect "at once" "200 1234" "$STATUS $(jq .cents "$WORK/body")"
	request /sales/2026/13
	expect "no month" "422 path.month" "$STATUS $(jq -r '.detail[0].loc | join(".")' "$WORK/body")"
	stop_run kill -TERM "$SUPERVISOR"
	expect_nothing_left
}

has_result() { # ID JSON
	request "/tasks/$1"
	[ "$(jq -c .result "$WORK/body")" = "$2" ]
}

run_tests "$@"
