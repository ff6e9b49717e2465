#!/bin/bash
# README.md says what is: its C is the C of tests/readme/*.c, which compiles; its gcc lines work, and
# what they make runs; the files, targets, options and counters that it names exist.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

README=$CHECKOUT/README.md

test_c_is_what_compiles() {
	local block file found
	extract "$README" c
	expect "blocks of C" 5 "$(find "$WORK/blocks" -type f | wc -l)"
	for block in "$WORK"/blocks/*; do
		found=
		for file in "$CHECKOUT"/tests/readme/*.c; do
			! stands_in "$block" "$file" || found=1
		done
		[ -n "$found" ] || fail "in no file of tests/readme: $(head -n 3 "$block")"
	done
	for file in "$CHECKOUT"/tests/readme/*.c; do
		for compiler in gcc clang; do
			# The endpoint is the responder's and sees its header; all else sees what is installed only.
			$compiler -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -fPIC -I"$BUILD/include" -I"$CHECKOUT" \
				-c -o "$WORK/object.o" "$file"
		done
	done
}

# The gcc lines, in a directory as the reader has it.
test_plugin_and_program_run() {
	local id
	[ -z "${SAN:-}" ] || skip "the README's commands do not link a sanitizer"
	cp "$CHECKOUT"/tests/readme/{report,publish}.c "$WORK"
	ln -s "$BUILD" "$WORK/build"
	extract "$README" sh
	grep -h '^gcc ' "$WORK"/blocks/* >"$WORK/commands"
	expect "gcc lines" 2 "$(wc -l <"$WORK/commands")"
	(cd "$WORK" && bash -e "$WORK/commands") || fail "the gcc lines of the README"
	mkdir "$WORK/plugins"
	install "$WORK/report.so" "$WORK/plugins/"
	PLUGIN_DIR=$WORK/plugins configure
	start_taskd
	id=$("$WORK/publish" "$NAME")
	wait_row "$id" succeeded
	expect "its result" '{"pages":12}' "$(sql "SELECT result FROM tasks WHERE id = '$id'")"
	stop_taskd
	expect_nothing_left
}

# A damaged journal is saved as the README says.
test_way_out_of_a_damaged_journal() {
	configure
	start_taskd
	push -c 3000 -s >/dev/null
	await task_succeeded=3000
	push -H succeed -D 60000 >/dev/null
	await task_scheduled=1
	stop_taskd
	cp "$RUN/journal.db" "$WORK/good.db"
	# In the middle of the file: pages of the table, not its root.
	dd if=/dev/urandom of="$RUN/journal.db" bs=8192 seek=40 count=2 conv=notrunc status=none
	launch_taskd
	wait_until 15 is_gone "$TASKD"
	has_logged 'cannot-start' || fail "a damaged journal was not refused"
	extract "$README" sh
	grep -hA 4 '^mkdir saved' "$WORK"/blocks/* >"$WORK/commands"
	expect "lines" 5 "$(wc -l <"$WORK/commands")"
	(cd "$RUN" && bash "$WORK/commands") >"$WORK/saving.log" 2>&1
	start_taskd
	expect "the task that waits" scheduled "$(sql "SELECT state FROM tasks WHERE state <> 'succeeded'")"
	note "of 3000 rows on a journal with 2 damaged pages $(sql "SELECT count(*) FROM tasks WHERE state = 'succeeded'") were saved"
	stop_taskd
}

test_names_exist() {
	local name
	# Files: what stands in `backquotes` or as a link and begins with a directory of ours.
	for name in $(grep -ohE '[`(](app|taskd|shared|conf|tests|docs)/[A-Za-z0-9_./*-]*' "$README" | cut -c 2- | sort -u); do
		compgen -G "$CHECKOUT/$name" >/dev/null || fail "$name does not exist"
	done
	for name in $(grep -ohE '\bmake [a-z]+' "$README" "$CHECKOUT/CHANGELOG.md" | awk '{ print $2 }' | sort -u); do
		[[ $name == install ]] || make -s -C "$CHECKOUT" -pRrq : 2>/dev/null | grep -q "^$name:" || fail "make $name does not exist"
	done
	# Counters, options, handlers.
	"$BUILD/taskstat" -l | awk '{ print $1 }' >"$WORK/known"
	"$BUILD/taskd" -o | sed -n 's/^\.It Ic //p' >>"$WORK/known"
	grep -ohE '\.name = "[a-z_]+", \.doc' "$CHECKOUT"/app/handlers/*.c | cut -d '"' -f 2 >>"$WORK/known"
	for name in $(grep -ohE '`[a-z]+_[a-z_]+`' "$README" | tr -d '`' | sort -u); do
		case $name in
		background_tasks_* | max_attempts | timeout_s) ;;
		*) grep -qx "$name" "$WORK/known" || fail "$name is neither a counter nor an option" ;;
		esac
	done
}

# Tests are named as FILE (NAME, NAME).
test_tests_that_are_named_exist() {
	local script name
	while read -r script name; do
		grep -q "^test_$name()" "$CHECKOUT/$script" || fail "$script has no test $name"
	done < <(grep -oE '`tests/system/[a-z]+\.sh` \([a-z_, ]+\)' "$README" | tr -d '`(),' |
		awk '{ for (i = 2; i <= NF; i++) print $1, $i }')
}

run_tests "$@"
