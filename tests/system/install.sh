#!/bin/bash
# make install, and what others build against it.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

PREFIX=/opt/taskring

install_tree() { # [MAKE_VARIABLE...]
	install_copy DESTDIR="$WORK/tree" PREFIX=$PREFIX "$@"
	TREE=$WORK/tree$PREFIX
}

write_program() {
	cat >"$WORK/program.c" <<-'END'
		#include <stdio.h>
		#include <taskring/taskring.h>

		int main(int argc, char **argv)
		{
			struct background_tasks *background;
			struct taskring *ring;
			struct tr_error error;
			char id[TR_ID_TEXT_SIZE];

			if (argc != 2 || tr_open(&ring, argv[1], NULL, &error) != TR_OK)
				return 1;
			if (background_tasks_new(&background, ring) != TR_OK ||
			    background_tasks_add(background, "succeed", "{\"from\":\"outside\"}", NULL) != TR_OK)
				return 2;
			struct tr_id first = background_tasks_id(background, 0);
			if (background_tasks_publish(background, 0) != TR_OK)
				return 3;
			puts(tr_id_format(&first, id));
			background_tasks_free(&background);
			tr_close(&ring);
			return 0;
		}
	END
}

package() { # PKG_CONFIG_OPTION...
	PKG_CONFIG_LIBDIR="$TREE/lib/pkgconfig:/usr/lib/$(gcc -dumpmachine)/pkgconfig" \
		pkg-config --define-variable=prefix="$TREE" "$@" taskring
}

test_program_against_the_installed_tree() {
	local id
	install_tree
	write_program
	# shellcheck disable=SC2046
	gcc -std=c11 -Wall -Wextra -Wpedantic -Werror $(package --cflags) -o "$WORK/shared" "$WORK/program.c" $(package --libs)
	# shellcheck disable=SC2046
	gcc -std=c11 $(package --cflags) -o "$WORK/static" "$WORK/program.c" "$TREE/lib/libtaskring.a" \
		$(package --static --libs | sed 's/-ltaskring//')
	configure
	BUILD=$TREE/bin start_taskd # the installed one
	id=$(LD_LIBRARY_PATH=$TREE/lib "$WORK/shared" "$NAME")
	wait_row "$id" succeeded
	id=$("$WORK/static" "$NAME")
	wait_row "$id" succeeded
	expect "arguments" '{"from":"outside"}' "$(sql "SELECT DISTINCT args FROM tasks")"
	expect "version" "$("$TREE/bin/taskd" -V | awk '{ print $2 }')" "$(package --modversion)"
	stop_taskd
	expect_nothing_left
}

test_public_symbols_only() {
	expect "public that should not be" "" \
		"$(nm -D --defined-only "$BUILD/libtaskring.so" | awk '$3 !~ /^(tr_|background_tasks_)/ { print $3 }')"
	# Each function of the header is there.
	expect "in the header and not in the library" "" "$(grep -ohE '^TR_API [^(]*\b(tr|background_tasks)_[a-z_]+\(' \
		"$BUILD/include/taskring/taskring.h" | grep -oE '(tr|background_tasks)_[a-z_]+\($' | tr -d '(' | sort -u |
		comm -23 - <(nm -D --defined-only "$BUILD/libtaskring.so" | awk '{ print $3 }' | sort))"
}

test_headers_stand_alone() {
	local header
	for header in taskring.h handler.h resource.h; do
		echo "#include <taskring/$header>" >"$WORK/alone.c"
		gcc -std=c11 -Wall -Wextra -Wpedantic -Werror -I"$BUILD/include" -fsyntax-only "$WORK/alone.c"
		echo "#include <taskring/$header>" >"$WORK/alone.cc"
		clang -x c++ -Wall -Wextra -Werror -I"$BUILD/include" -fsyntax-only "$WORK/alone.cc"
	done
}

test_manual_pages() {
	local page
	install_tree
	for page in taskstat.1 taskctl.1 taskd.conf.5 taskd.8; do
		[ -s "$TREE/share/man/man${page##*.}/$page" ] || fail "$page is not installed"
		expect "mandoc on $page" "" "$(mandoc -T lint -W warning "$TREE/share/man/man${page##*.}/$page" 2>&1)"
	done
	# It explains each counter.
	for counter in $("$BUILD/taskstat" -l | awk '{ print $1 }'); do
		grep -q "^.It Va $counter " "$TREE/share/man/man1/taskstat.1" || fail "$counter is not in taskstat.1"
	done
}

test_units() {
	local unit units=$WORK/units said
	install_tree systemdsystemunitdir=/usr/lib/systemd/system sysusersdir=/usr/lib/sysusers.d \
		tmpfilesdir=/usr/lib/tmpfiles.d sysconfdir=/etc/opt
	mkdir "$units"
	for unit in taskd.service taskring-app.service taskring-app.socket; do
		said=$WORK/tree/usr/lib/systemd/system/$unit
		expect "left of the template in $unit" "" "$(grep '@[A-Z]*@' "$said" || :)"
		# The programs are where the test has put them.
		sed "s|=$PREFIX/|=$TREE/|" "$said" >"$units/$unit"
	done
	grep -qx "ExecStart=$PREFIX/bin/taskd -c /etc/opt/taskring/taskd.conf" "$WORK/tree/usr/lib/systemd/system/taskd.service" ||
		fail "taskd.service does not start what was installed"
	expect "systemd-analyze verify" "" \
		"$(cd "$units" && systemd-analyze verify --man=no --recursive-errors=no ./*.service ./*.socket 2>&1)"
	for unit in taskd taskring-app; do
		# Of 100; what a service without any hardening has is 96.
		systemd-analyze security --no-pager --offline=true --threshold=20 "$units/$unit.service" >"$WORK/security.log" ||
			fail "$unit.service is open: $(tail -n 1 "$WORK/security.log")"
	done
	# Its plug-ins, too, are where the test has put them.
	sed "\$ a plugin_dir = \"$TREE/lib/taskring/handlers\"" "$WORK/tree/etc/opt/taskring/taskd.conf" >"$WORK/check.conf"
	"$TREE/bin/taskd" -t -c "$WORK/check.conf" >/dev/null
	said=$(systemd-sysusers --dry-run "$WORK/tree/usr/lib/sysusers.d/taskring.conf" 2>&1) || fail "$said"
	expect_match "the user" "taskring" "$said"
	SYSTEMD_LOG_LEVEL=warning systemd-tmpfiles --create --root="$WORK/tree" "$WORK/tree/usr/lib/tmpfiles.d/taskring.conf" 2>"$WORK/said" || :
	expect "what tmpfiles complains of but the user, who is not there" "" "$(grep -v "user 'taskring'\|group 'taskring'" "$WORK/said" || :)"

	# What somebody has configured stays.
	echo 'instance = "mine"' >"$WORK/tree/etc/opt/taskring/taskd.conf"
	install_tree sysconfdir=/etc/opt
	expect "the configuration" 'instance = "mine"' "$(cat "$WORK/tree/etc/opt/taskring/taskd.conf")"
}

run_tests "$@"
