# taskring. `make` builds everything under build/; `make help` lists the targets.
# Variables: CC, PREFIX, DESTDIR, SAN=address|thread (a build of its own), PORT, RUN_DIR, NAME.

VERSION := 0.1.0
PREFIX ?= /usr/local
SAN ?=
BUILD ?= build$(if $(SAN),/$(SAN))
PORT ?= 8080
NAME ?= taskring
RUN_DIR ?= build/run

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wundef -Werror
HARDEN := -fstack-protector-strong -fPIC $(if $(SAN),,-D_FORTIFY_SOURCE=2) -fno-plt
SANFLAGS := $(if $(filter address,$(SAN)),-fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined,$(if $(SAN),-fsanitize=$(SAN)))
comma := ,
# x86-64 lines of 64 bytes and SSE4.2 are not assumed: everything is plain C11 with GNU builtins.
OPT ?= -O2 -g
CPPFLAGS += -I. -Ishared/include -D_GNU_SOURCE -DTASKRING_VERSION='"$(VERSION)"'
CFLAGS += -std=c11 $(OPT) $(WARN) $(HARDEN) $(SANFLAGS) -fvisibility=hidden -MMD -MP
LDFLAGS += -Wl,-z,relro,-z,now $(SANFLAGS)

pkg = $(shell pkg-config --libs $(1) 2>/dev/null)
LIB_LIBS := -lsqlite3 -pthread
APP_LIBS := -lfcgi -ljansson $(LIB_LIBS)
TASKD_LIBS := -luv -lconfuse -ljansson $(LIB_LIBS) -ldl
STAT_LIBS := -ljansson $(LIB_LIBS)

LIB_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard shared/*.c))
TASKD_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard taskd/*.c))
APP_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard app/*.c))
STAT_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard shared/tools/*.c))
PLUGINS := $(patsubst app/handlers/%.c,$(BUILD)/handlers/%.so,$(wildcard app/handlers/*.c))
MODULES := $(patsubst taskd/modules/%.c,$(BUILD)/modules/%.so,$(wildcard taskd/modules/*.c))
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
TEST_PLUGINS := $(patsubst tests/plugins/%.c,$(BUILD)/tests/plugins/%.so,$(wildcard tests/plugins/*.c))
TEST_TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tests/%,$(wildcard tests/tools/*.c))
BENCHES := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))

PROGRAMS := $(BUILD)/taskd $(BUILD)/taskring-app $(BUILD)/taskstat
LIBRARIES := $(BUILD)/libtaskring.a $(BUILD)/libtaskring.so
HEADERS := $(patsubst shared/include/%,$(BUILD)/include/%,$(wildcard shared/include/taskring/*))

all: $(PROGRAMS) $(LIBRARIES) $(HEADERS) $(PLUGINS) $(MODULES) $(BUILD)/taskring.pc

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

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

$(BUILD)/include/%: shared/include/%
	@mkdir -p $(@D)
	cp $< $@

$(BUILD)/handlers/%.so: app/handlers/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -shared -o $@ $< -ljansson -lsqlite3

$(BUILD)/modules/%.so: taskd/modules/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -shared -o $@ $< -lcurl

$(BUILD)/tests/plugins/%.so: tests/plugins/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -shared -o $@ $< -ljansson

# A unit test may reach into the library and into taskd, but not taskd's main().
$(BUILD)/tests/test_%: $(BUILD)/tests/unit/test_%.o $(filter-out $(BUILD)/taskd/main.o,$(TASKD_OBJECTS)) $(BUILD)/libtaskring.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -Wl,--export-dynamic-symbol='tr_*' -o $@ $^ -lcunit $(TASKD_LIBS)

$(BUILD)/tests/%: $(BUILD)/tests/tools/%.o $(BUILD)/libtaskring.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -ljansson $(LIB_LIBS)

$(BUILD)/bench/%: $(BUILD)/tests/bench/%.o $(BUILD)/libtaskring.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIB_LIBS) -lck

$(BUILD)/taskring.pc: Makefile
	@mkdir -p $(@D)
	printf '%s\n' 'prefix=$(PREFIX)' 'includedir=$${prefix}/include' 'libdir=$${prefix}/lib' '' \
	    'Name: taskring' 'Description: background tasks for web applications' 'Version: $(VERSION)' \
	    'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -ltaskring' 'Libs.private: $(LIB_LIBS)' >$@

clean:
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

.PHONY: all clean
.SECONDARY:
