# taskring. `make` builds everything under build/. Targets: all run test bench torture lint layers
# install clean.
# Variables: CC, PREFIX, DESTDIR, SAN=address|thread (a build of its own), PORT, RUN_DIR, NAME, WEB (of
# test), sysconfdir, systemdsystemunitdir, sysusersdir, tmpfilesdir (of install).

VERSION := 0.1.0
PREFIX ?= /usr/local
sysconfdir ?= /etc
# systemd looks below /usr/local/lib and /usr/lib; with another PREFIX these have to be given.
systemdsystemunitdir ?= $(PREFIX)/lib/systemd/system
sysusersdir ?= $(PREFIX)/lib/sysusers.d
tmpfilesdir ?= $(PREFIX)/lib/tmpfiles.d
SAN ?=
BUILD ?= build$(if $(SAN),/$(SAN))
# Apart from the programs: build/taskd is one.
OBJ := $(BUILD)/obj
PORT ?= 8080
NAME ?= taskring
RUN_DIR ?= build/run
WEB ?= nginx apache

# A sanitizer's build warns of nothing: the plain one has, and what the sanitizer adds confuses the compiler.
WARN := $(if $(SAN),-w,-Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wundef -Werror)
HARDEN := -fstack-protector-strong -fPIC $(if $(SAN),,-D_FORTIFY_SOURCE=2) -fno-plt
comma := ,
SANFLAGS := $(if $(filter address,$(SAN)),-fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined,$(if $(SAN),-fsanitize=$(SAN)))
# x86-64 lines of 64 bytes and SSE4.2 are not assumed: everything is plain C11 with GNU builtins.
# With a sanitizer, what its reports need, and no more: it compiles in two thirds of the time.
OPT ?= $(if $(SAN),-O1 -g1,-O2 -g)
CPPFLAGS += -I. -Ishared/include -D_GNU_SOURCE -DTASKRING_VERSION='"$(VERSION)"'
CFLAGS += -std=c11 $(OPT) $(WARN) $(HARDEN) $(SANFLAGS) -fvisibility=hidden -MMD -MP
LDFLAGS += -Wl,-z,relro,-z,now $(SANFLAGS)

LIB_LIBS := -lsqlite3 -pthread
APP_LIBS := -lfcgi -ljansson -luriparser -lnettle -lm $(LIB_LIBS)
TASKD_LIBS := -luv -lconfuse -ljansson $(LIB_LIBS) -ldl
STAT_LIBS := -ljansson -lncursesw -lm $(LIB_LIBS)
CTL_LIBS := -ljansson $(LIB_LIBS)

LIB_OBJECTS := $(patsubst %.c,$(OBJ)/%.o,$(wildcard shared/*.c))
TASKD_OBJECTS := $(patsubst %.c,$(OBJ)/%.o,$(wildcard taskd/*.c))
APP_OBJECTS := $(patsubst %.c,$(OBJ)/%.o,$(wildcard app/*.c))
STAT_OBJECTS := $(patsubst %.c,$(OBJ)/%.o,$(wildcard shared/tools/taskstat*.c))
CTL_OBJECTS := $(patsubst %.c,$(OBJ)/%.o,$(wildcard shared/tools/taskctl*.c))
PLUGINS := $(patsubst app/handlers/%.c,$(BUILD)/handlers/%.so,$(wildcard app/handlers/*.c))
MODULES := $(BUILD)/modules/transfer.so
HELPERS := $(patsubst taskd/programs/%.c,$(BUILD)/modules/%,$(wildcard taskd/programs/*.c))
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
APP_TESTS := $(patsubst tests/unit/app/%.c,$(BUILD)/tests/app/%,$(wildcard tests/unit/app/test_*.c))
UNIT_TESTS += $(APP_TESTS)
TEST_PLUGINS := $(patsubst tests/plugins/%.c,$(BUILD)/tests/plugins/%.so,$(wildcard tests/plugins/*.c))
BAD_PLUGINS := $(patsubst tests/bad_plugins/%.c,$(BUILD)/tests/bad_plugins/%.so,$(wildcard tests/bad_plugins/*.c))
TEST_TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tests/%,$(wildcard tests/tools/*.c))
TEST_PRELOADS := $(patsubst tests/preload/%.c,$(BUILD)/tests/preload/%.so,$(wildcard tests/preload/*.c))
TORTURES := $(patsubst tests/torture/%.c,$(BUILD)/torture/%,$(wildcard tests/torture/step_*.c))
BENCH_PLUGINS := $(patsubst tests/bench/plugins/%.c,$(BUILD)/bench/plugins/%.so,$(wildcard tests/bench/plugins/*.c))
BENCHES := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))

PROGRAMS := $(BUILD)/taskd $(BUILD)/taskring-app $(BUILD)/taskstat $(BUILD)/taskctl
LIBRARIES := $(BUILD)/libtaskring.a $(BUILD)/libtaskring.so
HEADERS := $(patsubst shared/include/%,$(BUILD)/include/%,$(wildcard shared/include/taskring/*))

# What the pages are made of; conf/build-pages.sh leaves them out where npm's packages cannot be had.
PAGES := $(BUILD)/ui/docs/index.html

all: $(PROGRAMS) $(LIBRARIES) $(HEADERS) $(PLUGINS) $(MODULES) $(HELPERS) $(PAGES) $(BUILD)/taskring.pc $(BUILD)/man/taskstat.1 $(BUILD)/man/taskd.conf.5

$(OBJ)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# taskd looks for plug-ins and modules where they were installed to.
$(BUILD)/prefix: FORCE
	@mkdir -p $(@D)
	@echo '$(PREFIX)' | cmp -s - $@ || echo '$(PREFIX)' >$@
$(OBJ)/taskd/config.o: $(BUILD)/prefix
$(OBJ)/taskd/config.o: CPPFLAGS += -DTASKRING_LIBDIR='"$(PREFIX)/lib/taskring"'

$(BUILD)/libtaskring.a: $(LIB_OBJECTS)
	rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/libtaskring.so: $(LIB_OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libtaskring.so.0 -o $@ $^ $(LIB_LIBS)

# Plug-ins find the functions of taskring/handler.h in the program itself.
$(BUILD)/taskd: $(TASKD_OBJECTS) $(BUILD)/libtaskring.a
	$(CC) $(CFLAGS) $(LDFLAGS) -Wl,--export-dynamic-symbol='tr_*' -o $@ $^ $(TASKD_LIBS)

$(BUILD)/taskring-app: $(APP_OBJECTS) $(BUILD)/libtaskring.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(APP_LIBS)

$(BUILD)/taskstat: $(STAT_OBJECTS) $(BUILD)/libtaskring.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(STAT_LIBS)

$(PAGES): conf/build-pages.sh conf/npm-packages.sh $(shell find app/ui -type f)
	@mkdir -p $(BUILD)
	@conf/build-pages.sh '$(BUILD)/ui'

$(BUILD)/taskctl: $(CTL_OBJECTS) $(BUILD)/libtaskring.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(CTL_LIBS)

$(BUILD)/include/%: shared/include/%
	@mkdir -p $(@D)
	cp $< $@

PLUGIN_LIBS = -ljansson
$(BUILD)/handlers/signup.so: PLUGIN_LIBS += -lsqlite3
$(BUILD)/handlers/digest_file.so: PLUGIN_LIBS += -lnettle
$(BUILD)/handlers/%.so: app/handlers/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -shared -o $@ $< $(PLUGIN_LIBS)

# libuv is taskd's own copy.
$(BUILD)/modules/%.so: $(patsubst %.c,$(OBJ)/%.o,$(wildcard taskd/modules/*.c))
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $^ -lcurl -luv

# Programs that taskd starts beside its own processes: small, and linked with nothing but the C library.
$(BUILD)/modules/%: taskd/programs/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $<

$(BUILD)/tests/plugins/%.so: tests/plugins/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -shared -o $@ $< -ljansson

$(BUILD)/tests/preload/%.so: tests/preload/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -fvisibility=default -shared -o $@ $<

# Plug-ins that a worker must refuse; kept apart from those that it is to load.
$(BUILD)/tests/bad_plugins/%.so: tests/bad_plugins/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -shared -o $@ $<

$(BUILD)/tests/test_worker $(BUILD)/tests/test_attempt: | $(TEST_PLUGINS) $(BAD_PLUGINS)
$(BUILD)/tests/test_pending $(BUILD)/tests/test_pending_handlers: | $(TEST_PLUGINS)
$(BUILD)/tests/test_handlers: | $(PLUGINS)
$(BUILD)/tests/test_exec: | $(HELPERS) $(TEST_PLUGINS)
$(BUILD)/tests/test_mail_smtp $(BUILD)/tests/test_mail_handler $(BUILD)/tests/test_http_transfer: | $(MODULES) $(PLUGINS)

# A unit test may reach into the library and into taskd, but not taskd's main().
$(BUILD)/tests/test_%: $(OBJ)/tests/unit/test_%.o $(filter-out $(OBJ)/taskd/main.o,$(TASKD_OBJECTS)) $(BUILD)/libtaskring.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -Wl,--export-dynamic-symbol='tr_*' -o $@ $^ -lcunit $(TASKD_LIBS)

# What the streamer and the parking read is written by taskd's own writer.
$(patsubst %,$(BUILD)/tests/app/test_%,stream stream_readers parking): $(patsubst %,$(OBJ)/taskd/%.o,board_open board_writer board_attach)

# The responder's unit tests reach into app/, but not its main().
$(BUILD)/tests/app/test_%: $(OBJ)/tests/unit/app/test_%.o $(filter-out $(OBJ)/app/main.o,$(APP_OBJECTS)) $(BUILD)/libtaskring.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcunit $(APP_LIBS)

$(BUILD)/tests/%: $(OBJ)/tests/tools/%.o $(BUILD)/libtaskring.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -ljansson $(LIB_LIBS)
$(BUILD)/tests/echo_fcgi: LIB_LIBS += -lfcgi

$(BUILD)/torture/step_%: $(OBJ)/tests/torture/step_%.o $(OBJ)/tests/torture/step.o $(OBJ)/tests/torture/oracle.o $(BUILD)/libtaskring.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIB_LIBS)

$(BUILD)/bench/%: $(OBJ)/tests/bench/%.o $(BUILD)/libtaskring.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIB_LIBS) -lck

$(BUILD)/bench/bare_fcgi: LIB_LIBS += -lfcgi -ljansson

$(BUILD)/bench/plugins/%.so: tests/bench/plugins/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -shared -o $@ $<

$(BUILD)/bench/journal_bench: $(OBJ)/tests/bench/journal_bench.o $(filter-out $(OBJ)/taskd/main.o,$(TASKD_OBJECTS)) $(BUILD)/libtaskring.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -Wl,--export-dynamic-symbol='tr_*' -o $@ $^ $(TASKD_LIBS)

# The manual's list of counters is what the program itself lists.
$(BUILD)/man/taskstat.1: docs/man/taskstat.1.in $(BUILD)/taskstat
	@mkdir -p $(@D)
	$(BUILD)/taskstat -l | awk 'FILENAME == "-" { name = $$1; kind = $$2; unit = $$3; \
	    sub(/^[^ ]+ +[^ ]+ +[^ ]+ +/, ""); list = list ".It Va " name " Pq " kind ", " unit "\n" $$0 ".\n"; next } \
	    $$0 == "@COUNTERS@" { if (list == "") exit 1; printf "%s", list; next } { print }' - $< >$@.new
	mv $@.new $@

# And its list of options what taskd itself reads.
$(BUILD)/man/taskd.conf.5: docs/man/taskd.conf.5.in $(BUILD)/taskd
	@mkdir -p $(@D)
	$(BUILD)/taskd -o | awk 'FILENAME == "-" { list = list $$0 "\n"; next } \
	    $$0 == "@OPTIONS@" { if (list == "") exit 1; printf "%s", list; next } { print }' - $< >$@.new
	mv $@.new $@

$(BUILD)/tests/test_taskstat: | $(BUILD)/taskstat

# taskctl's reads the command line with it, but not its main().
$(BUILD)/tests/test_taskctl: $(OBJ)/tests/unit/test_taskctl.o $(filter-out $(OBJ)/shared/tools/taskctl.o,$(CTL_OBJECTS)) $(BUILD)/libtaskring.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcunit $(CTL_LIBS)

$(BUILD)/taskring.pc: Makefile
	@mkdir -p $(@D)
	printf '%s\n' 'prefix=$(PREFIX)' 'includedir=$${prefix}/include' 'libdir=$${prefix}/lib' '' \
	    'Name: taskring' 'Description: background tasks for web applications' 'Version: $(VERSION)' \
	    'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -ltaskring' 'Libs.private: $(LIB_LIBS)' >$@

# Not `all` first: what the build needs may have to be installed before.
run:
	@exec env PORT='$(PORT)' RUN_DIR='$(RUN_DIR)' NAME='$(NAME)' CC='$(CC)' SAN='$(SAN)' BUILD='$(BUILD)' conf/run.sh

bench:
	@conf/install-packages.sh build run test bench
	@$(MAKE) --no-print-directory -s bench-programs
	@BUILD='$(BUILD)' tests/bench/run.sh

bench-programs: all $(BENCHES) $(BENCH_PLUGINS) $(BUILD)/tests/push $(BUILD)/tests/await $(TEST_PLUGINS)

# What the tests run; a sanitizer's build has no use for single steps.
test-programs: all $(UNIT_TESTS) $(TEST_PLUGINS) $(BAD_PLUGINS) $(TEST_PRELOADS) $(TEST_TOOLS) $(if $(SAN),,$(TORTURES))

print-unit-tests:
	@printf '%s\n' $(UNIT_TESTS)

# Not `test-programs` first, for the same reason as in `run`.
test:
	@exec env CC='$(CC)' SAN='$(SAN)' BUILD='$(BUILD)' WEB='$(WEB)' tests/run.sh

# Every instruction, not only a part of the longest windows, and a longer storm; takes a while.
torture:
	@conf/install-packages.sh build run test
	@$(MAKE) --no-print-directory -s torture-programs
	@for program in $(TORTURES); do $$program --every || exit 1; done
	@BUILD='$(BUILD)' STORM_ROUNDS=$${STORM_ROUNDS:-200} tests/system/storm.sh

torture-programs: $(TORTURES) $(BUILD)/taskd $(BUILD)/taskstat $(MODULES) $(HELPERS) $(TEST_PLUGINS) $(TEST_PRELOADS) $(TEST_TOOLS)

layers:
	@tests/layers.sh

lint:
	@conf/install-packages.sh build test
	@WARN='$(WARN)' VERSION='$(VERSION)' tests/lint.sh

SO := libtaskring.so.$(VERSION)
TO = $(DESTDIR)$(PREFIX)
MANUALS = $(wildcard docs/man/*.[1-9]) $(BUILD)/man/taskstat.1 $(BUILD)/man/taskd.conf.5
UNITS := taskd.service taskring-app.service taskring-app.socket
# A template's text with the paths of this installation.
fill_in = sed 's|@BINDIR@|$(PREFIX)/bin|; s|@SYSCONFDIR@|$(sysconfdir)|; s|@DATADIR@|$(PREFIX)/share/taskring|' conf/systemd/$(1).in
install: all
	install -d $(TO)/bin $(TO)/lib/taskring/handlers $(TO)/lib/taskring/modules $(TO)/lib/pkgconfig \
	    $(TO)/include/taskring $(TO)/share/doc/taskring
	install $(PROGRAMS) $(TO)/bin
	install -m 644 $(BUILD)/libtaskring.a $(TO)/lib
	install $(BUILD)/libtaskring.so $(TO)/lib/$(SO)
	ln -sf $(SO) $(TO)/lib/libtaskring.so.0
	ln -sf libtaskring.so.0 $(TO)/lib/libtaskring.so
	$(if $(PLUGINS),install $(PLUGINS) $(TO)/lib/taskring/handlers)
	$(if $(MODULES),install $(MODULES) $(TO)/lib/taskring/modules)
	install $(HELPERS) $(TO)/lib/taskring/modules
	install -m 644 $(HEADERS) $(TO)/include/taskring
	sed 's|^prefix=.*|prefix=$(PREFIX)|' $(BUILD)/taskring.pc >$(TO)/lib/pkgconfig/taskring.pc
	$(foreach page,$(MANUALS),install -D -m 644 $(page) \
	    $(TO)/share/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page)) &&) :
	install -m 644 $(wildcard README.md LICENSE CHANGELOG.md docs/*.md) $(TO)/share/doc/taskring
	install -d $(TO)/share/taskring/errors $(TO)/share/taskring/ui
	# Where the pages could not be built there are none, and the directory is empty.
	if [ -e $(PAGES) ]; then cp -R $(BUILD)/ui $(TO)/share/taskring && chmod -R u=rwX,go=rX $(TO)/share/taskring/ui; fi
	install -m 644 $(wildcard conf/*.in) $(TO)/share/taskring
	install -m 644 $(wildcard conf/errors/*) $(TO)/share/taskring/errors
	install -d $(DESTDIR)$(systemdsystemunitdir) $(DESTDIR)$(sysusersdir) $(DESTDIR)$(tmpfilesdir) \
	    $(DESTDIR)$(sysconfdir)/taskring
	$(foreach unit,$(UNITS),$(call fill_in,$(unit)) >$(DESTDIR)$(systemdsystemunitdir)/$(unit) &&) :
	$(call fill_in,sysusers.conf) >$(DESTDIR)$(sysusersdir)/taskring.conf
	$(call fill_in,tmpfiles.conf) >$(DESTDIR)$(tmpfilesdir)/taskring.conf
	# A configuration that is there already is somebody's.
	[ -e $(DESTDIR)$(sysconfdir)/taskring/taskd.conf ] || \
	    install -m 644 conf/systemd/taskd.conf $(DESTDIR)$(sysconfdir)/taskring/taskd.conf

clean:
	rm -rf build

# Those of the sanitizers' builds, which may be in the making, are not this one's.
-include $(shell find $(BUILD) -mindepth 1 \( -name address -o -name thread -o -name npm \) -prune -o -name '*.d' -print 2>/dev/null)

.PHONY: FORCE all run test test-programs print-unit-tests torture torture-programs bench bench-programs layers lint install clean
.SECONDARY:
