# make deps run         installs what is needed, builds, shows this machine's connections
# make test-deps check  installs what the tests need besides, runs them all
# make                  builds introspectd and introspect in $(BUILD)
# make install          installs them below $(DESTDIR)$(PREFIX), and with UNITDIR=/DIRECTORY
#                       the systemd unit in $(DESTDIR)$(UNITDIR)
#
# CC, HOSTCC, CFLAGS, LDFLAGS, PKG_CONFIG, PREFIX and BUILD may be set. TLS=0 leaves TLS out,
# STATIC=1 needs no library at run time.

PREFIX ?= /usr/local
BUILD ?= build
TLS ?= 1
PKG_CONFIG ?= pkg-config
CFLAGS ?= -Os -g
# The last three are for some processors and compilers only.
PROBED := $(foreach flag,-fstack-clash-protection -fcf-protection -mbranch-protection=standard,$(shell \
          $(CC) -Werror $(flag) -x c -c -o /dev/null /dev/null 2> /dev/null && echo $(flag)))
HARDEN ?= -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE $(PROBED)
PIE ?= $(if $(filter 1,$(STATIC)),-static-pie,-pie)
HARDEN_LD ?= $(PIE) -Wl,-z,relro,-z,now,-z,noexecstack
# Nothing that is not used, and no tables for exceptions, which C has not.
SMALL = -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-plt
SMALL_LD = -Wl,--gc-sections $(RELR)
# The short form of relative relocations, where the linker has it and a C library so new
# that it has arc4random().
RELR := $(shell echo 'int arc4random(void); int main(void) { return arc4random(); }' | \
        $(CC) $(CFLAGS) $(LDFLAGS) -Wl,-z,pack-relative-relocs,--fatal-warnings -x c -o /dev/null - \
        2> /dev/null && echo -Wl,-z,pack-relative-relocs)
SANITIZE = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SUDO = $(shell [ "$$(id -u)" = 0 ] || echo sudo)
NODE = $(CURDIR)/test/node_modules/.bin/node

WARN = -Wall -Wextra -Wpedantic -Wshadow -Wconversion
FLAGS = -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -DTLS=$(TLS) -I. -I$(BUILD) \
        $(WARN) $(HARDEN) $(SMALL) \
        $(shell $(PKG_CONFIG) --cflags libprotobuf-c) $(CPPFLAGS) $(CFLAGS) $(FAST)
HOSTCC ?= cc
LIBS = $(shell $(PKG_CONFIG) --libs libprotobuf-c) $(if $(filter 1,$(TLS)),-lmbedtls -lmbedx509) -lmbedcrypto

# Everything but the two programs' main files, which the unit tests cannot have.
COMMON = log.c ws.c tls.c auth.c source/wire.c
DAEMON = options.c listen.c http.c metrics.c totals.c sandbox.c setup.c snapshot.c command.c \
         history.c json.c $(filter-out source/wire.c,$(wildcard source/*.c))
CLIENT = $(filter-out client/introspect.c,$(wildcard client/*.c))
UNIT_TESTS = $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/*_test.c))

SCHEMA = $(BUILD)/introspection.pb-c
NAMELESS = $(BUILD)/nameless/introspection.pb-c
objects = $(patsubst %.c,$(BUILD)/%.o,$(1)) $(SCHEMA).o
link = $(CC) $(HARDEN_LD) $(SMALL_LD) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

all: $(BUILD)/introspectd $(BUILD)/introspect

$(BUILD)/introspectd: $(patsubst %.c,$(BUILD)/%.o,introspectd.c $(DAEMON) $(COMMON)) \
                      $(NAMELESS).o $(BUILD)/dashboard.o
	$(link)

$(BUILD)/introspect: $(call objects,client/introspect.c $(CLIENT) $(COMMON))
	$(link)

$(BUILD)/%.o: %.c | $(SCHEMA).h
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -MMD -MP -c -o $@ $<

# What goes through every byte that comes is worth some more of them.
$(BUILD)/source/wire.o: FAST = $(CFLAGS:-Os=-O2)

# The warnings are for what people wrote.
$(SCHEMA).o: $(SCHEMA).c
	$(CC) $(FLAGS) -w -c -o $@ $<

$(SCHEMA).c $(SCHEMA).h &: introspection.proto
	@mkdir -p $(BUILD)
	protoc-c --c_out=$(BUILD) $<

# For the daemon: the same without the names of fields, which it never says.
$(NAMELESS).o: $(NAMELESS).c
	$(CC) $(FLAGS) -w -DNDEBUG -c -o $@ $<

$(NAMELESS).c: introspection.proto
	@mkdir -p $(@D)
	sed '/^package/s/$$/ option optimize_for = CODE_SIZE;/' $< > $(@D)/introspection.proto
	cd $(@D) && protoc-c --c_out=. introspection.proto

$(BUILD)/http.o: $(BUILD)/introspection.proto.inc
$(BUILD)/introspection.proto.inc: introspection.proto
	@mkdir -p $(BUILD)
	od -An -v -tx1 $< | sed 's/ \(..\)/0x\1,/g' > $@

# The dashboard: its modules become one, and what is served is gzipped and made an array
# of the daemon.
PAGE = $(BUILD)/page
PAGE_FILES = schema.js $(patsubst dashboard/%,%,$(wildcard \
             $(addprefix dashboard/,*.html *.css *.svg *.js views/*.js)))
SERVED = $(BUILD)/served
SERVED_FILES = index.html style.css icon.svg app.js

$(BUILD)/dashboard.o: $(BUILD)/dashboard.c
	$(CC) $(FLAGS) -MMD -MP -Idashboard -c -o $@ $<

$(BUILD)/dashboard.c: $(PAGE)/embed $(SERVED_FILES:%=$(SERVED)/%.gz)
	$(PAGE)/embed $(SERVED) $(SERVED_FILES) > $@

$(SERVED)/%.gz: $(PAGE)/%
	@mkdir -p $(@D)
	gzip -9nc $< > $@

$(SERVED)/app.js.gz: dashboard/bundle.awk $(PAGE_FILES:%=$(PAGE)/%)
	@mkdir -p $(@D)
	awk -f $< $(PAGE)/app.js > $(SERVED)/app.js
	gzip -9nc $(SERVED)/app.js > $@

$(PAGE)/%: dashboard/%
	@mkdir -p $(@D)
	cp $< $@

$(PAGE)/schema.js: $(PAGE)/schema
	$< > $@

# These two run on the machine that builds.
$(PAGE)/embed: dashboard/embed.c
	@mkdir -p $(@D)
	$(HOSTCC) -O1 -o $@ $<

$(PAGE)/schema: dashboard/schema.c $(SCHEMA).c
	@mkdir -p $(@D)
	$(HOSTCC) -O1 -w -I$(BUILD) -o $@ $^ -lprotobuf-c

run: all
	$(BUILD)/introspectd

check: all size-check
	$(MAKE) BUILD=$(BUILD)/asan CFLAGS='$(SANITIZE)' HARDEN= HARDEN_LD= all load-tools unit-check \
		$(BUILD)/asan/test/fault/fault.so
	$(MAKE) fuzz-check
	$(MAKE) model
	BUILD=$(BUILD)/asan SANDBOX_BUILD=$(BUILD) $(NODE) --test --test-timeout=240000 --test-reporter=spec \
		'test/dashboard/*.test.mjs' \
		'test/integration/*.test.mjs' 'test/browser/*.test.mjs' \
		'publishers/js-libp2p/test/*.test.mjs'

# The budgets: bytes of the daemon's text, without and with TLS.
size-check:
	$(MAKE) TLS=0 BUILD=$(BUILD)/tls0 TEXT_MAX=128000 text-check
	$(MAKE) TLS=1 TEXT_MAX=200000 text-check

SIZE ?= size
text-check: $(BUILD)/introspectd
	@$(SIZE) $< | awk 'NR == 2 { print "$<: " $$1 " bytes of text, at most $(TEXT_MAX)"; \
		exit $$1 > $(TEXT_MAX) }'

# The rules of pull and push, explored in every order in which things can happen.
model:
	test/model/check $(BUILD)/model

unit-tests: $(UNIT_TESTS)

unit-check: $(UNIT_TESTS)
	@for t in $^; do echo $$t; $$t || exit 1; done

$(BUILD)/test/unit/%_test: $(BUILD)/test/unit/%_test.o $(call objects,$(DAEMON) $(CLIENT) $(COMMON)) \
                           $(BUILD)/dashboard.o
	$(CC) $(HARDEN_LD) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

# Benchmarks print tables; ratios are of things measured in the same run.
bench: bench-serve bench-kernel bench-feed bench-dashboard

# Beside bare loops, the ws library and, if it is installed, libwebsockets. SIZES, CLIENTS,
# SPARSE_CLIENTS and CONTENDERS choose among what is measured.
BENCH = $(BUILD)/test/bench
LWS = $(shell $(PKG_CONFIG) --exists libwebsockets && echo libwebsockets)

bench-serve: all $(BENCH)/bench $(BENCH)/bare $(if $(LWS),$(BENCH)/lws)
	B=$(BUILD) NODE=$(NODE) \
		CONTENDERS="$${CONTENDERS:-poll epoll introspectd introspectd+feed introspectd+tls ws $(LWS)}" \
		$(BENCH)/bench

$(BENCH)/bench: $(call objects,test/bench/bench.c test/bench/load.c $(COMMON))
	$(link)

$(BENCH)/bare: $(call objects,test/bench/bare.c ws.c)
	$(link)

$(BENCH)/lws: test/bench/lws.c
	$(CC) -std=c11 -D_GNU_SOURCE -O2 -o $@ $< $$($(PKG_CONFIG) --cflags --libs libwebsockets)

$(BENCH)/kernel $(BENCH)/feed $(BENCH)/count: %: %.o $(call objects,$(DAEMON) $(COMMON)) \
                                              $(BUILD)/dashboard.o
	$(link)

bench-kernel bench-feed: bench-%: $(BENCH)/%
	$<

bench-dashboard: all
	BUILD=$(BUILD) $(NODE) test/bench/dashboard.mjs

# What a machine's mood does not change: instructions, against test/bench/BASELINE.
bench-check bench-baseline: bench-%: all $(BENCH)/count
	BUILD=$(BUILD) CC='$(CC)' CFLAGS='$(CFLAGS)' $(NODE) test/bench/count.mjs $(if $(filter baseline,$*),--write)

bench-deps: test-deps
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
		libwebsockets-dev

# Every error of every library call, twice and for good; a small part of it is in check.
fault:
	$(MAKE) BUILD=$(BUILD)/asan CFLAGS='$(SANITIZE)' HARDEN= HARDEN_LD= all $(BUILD)/asan/test/fault/fault.so
	BUILD=$(BUILD)/asan FAULT_ALL=1 $(NODE) --test --test-reporter=spec test/integration/fault.test.mjs

# Loaded into programs before the sanitizer is. glibc declares the socket calls with unions.
$(BUILD)/test/fault/fault.so: test/fault/fault.c
	@mkdir -p $(@D)
	$(CC) $(filter-out -Wpedantic,$(WARN)) -O1 -g -fPIC -shared -o $@ $<

# make fuzz needs clang. What it finds becomes a file of the corpus, which fuzz-check gives
# to the same targets.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS = $(filter-out replay_main,$(patsubst test/fuzz/%.c,%,$(wildcard test/fuzz/*.c)))
FUZZ_FLAGS = -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all

fuzz:
	$(MAKE) BUILD=$(BUILD)/fuzz CC=clang CFLAGS='$(FUZZ_FLAGS)' HARDEN= HARDEN_LD= \
		FUZZ_MAIN=-fsanitize=fuzzer fuzz-targets
	@for t in $(FUZZ_TARGETS); do \
		mkdir -p $(BUILD)/fuzz/corpus/$$t; \
		$(BUILD)/fuzz/test/fuzz/$$t -max_total_time=$(FUZZ_SECONDS) -timeout=10 -close_fd_mask=2 \
			-artifact_prefix=$(BUILD)/fuzz/$$t- $(BUILD)/fuzz/corpus/$$t test/fuzz/corpus/$$t \
			> $(BUILD)/fuzz/$$t.log 2>&1 || { tail -50 $(BUILD)/fuzz/$$t.log; exit 1; }; \
		echo "$$t: $$(grep DONE $(BUILD)/fuzz/$$t.log)"; \
	done
	BUILD=$(BUILD)/fuzz FUZZ_SECONDS=$(FUZZ_SECONDS) $(NODE) test/fuzz/decoder.mjs

fuzz-check:
	$(MAKE) BUILD=$(BUILD)/asan CFLAGS='$(SANITIZE)' HARDEN= HARDEN_LD= \
		FUZZ_MAIN=$(BUILD)/asan/test/fuzz/replay_main.o fuzz-targets
	@for t in $(FUZZ_TARGETS); do \
		printf '%s: ' $$t; \
		$(BUILD)/asan/test/fuzz/$$t test/fuzz/corpus/$$t/* 2> $(BUILD)/asan/fuzz.log || \
			{ tail -50 $(BUILD)/asan/fuzz.log; exit 1; }; \
	done
	BUILD=$(BUILD)/asan FUZZ_SECONDS=0 $(NODE) test/fuzz/decoder.mjs

fuzz-targets: $(FUZZ_TARGETS:%=$(BUILD)/test/fuzz/%) $(PAGE_FILES:%=$(PAGE)/%)

$(FUZZ_TARGETS:%=$(BUILD)/test/fuzz/%): %: %.o $(call objects,$(DAEMON) $(COMMON)) \
                                        $(BUILD)/dashboard.o $(filter %.o,$(FUZZ_MAIN))
	$(CC) $(CFLAGS) $(LDFLAGS) $(filter -%,$(FUZZ_MAIN)) -o $@ $^ $(LIBS)

# The floods of make check for longer, and more of them.
load: all load-tools
	LOAD=full BUILD=$(BUILD) $(NODE) --test --test-reporter=spec test/integration/load.test.mjs

# Mixed load for a while, on the daemon with sanitizers and then under valgrind. The two
# may run side by side.
SOAK_SECONDS ?= 300

soak: soak-sanitizers soak-valgrind

soak-sanitizers:
	$(MAKE) BUILD=$(BUILD)/asan CFLAGS='$(SANITIZE)' HARDEN= HARDEN_LD= all load-tools
	BUILD=$(BUILD)/asan SOAK_SECONDS=$(SOAK_SECONDS) $(NODE) test/load/soak.mjs

soak-valgrind: all load-tools
	BUILD=$(BUILD) SOAK_SECONDS=$(SOAK_SECONDS) $(NODE) test/load/soak.mjs valgrind

load-tools: $(BUILD)/test/load/flood

$(BUILD)/test/load/flood: $(BUILD)/test/load/flood.o
	$(CC) $(HARDEN_LD) $(CFLAGS) $(LDFLAGS) -o $@ $^

# What gcc, clang-tidy and cppcheck find without running anything. The macros are what
# cppcheck misses of protobuf-c's header.
LINT_SOURCES = $(wildcard *.c source/*.c client/*.c dashboard/*.c)
LINT_FLAGS = -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -DTLS=$(TLS) -I. -I$(BUILD)
CPPCHECK_FLAGS = --std=c11 --enable=warning,performance,portability --inline-suppr \
                 --error-exitcode=1 --quiet -DPROTOBUF_C_VERSION_NUMBER=1000000000 \
                 -DPROTOBUF_C_MIN_COMPILER_VERSION=0 -DPROTOBUF_C__BEGIN_DECLS= \
                 -DPROTOBUF_C__END_DECLS=

# For lint and fuzz.
lint-deps: deps
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
		clang clang-tidy cppcheck libclang-rt-dev

lint: $(SCHEMA).h $(BUILD)/introspection.proto.inc
	for f in $(LINT_SOURCES); do \
		gcc -std=c11 $(LINT_FLAGS) $(WARN) -O2 -fanalyzer -Werror -c -o /dev/null $$f || exit 1; \
	done
	clang-tidy --quiet $(LINT_SOURCES) -- -std=c11 $(LINT_FLAGS)
	cppcheck $(CPPCHECK_FLAGS) $(LINT_FLAGS) $(LINT_SOURCES)

# A list of packages that cannot be renewed may still do.
deps:
	-$(SUDO) apt-get update -q
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
		gcc gzip libc6-dev pkg-config protobuf-c-compiler libprotobuf-c-dev libmbedtls-dev

# Of prometheus the programs alone are wanted, not the service that its package starts.
test-deps: deps
	dpkg -s prometheus > /dev/null 2>&1 || ! command -v systemctl > /dev/null || \
		$(SUDO) systemctl mask prometheus
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
		binutils chromium curl iproute2 jq libcmocka-dev musl-tools openssl procps prometheus \
		protobuf-compiler python3-protobuf spin strace tmux util-linux valgrind \
		$$(command -v npm > /dev/null || echo nodejs npm)
	# Unpacked, not installed: the package would start a server.
	mkdir -p $(BUILD) && cd $(BUILD) && rm -f nginx_*.deb && apt-get -q download nginx && \
		dpkg-deb -x nginx_*.deb nginx && rm nginx_*.deb
	cd test && npm ci
	cd publishers/js-libp2p && npm ci

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin \
		$(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8
	install $(BUILD)/introspectd $(DESTDIR)$(PREFIX)/sbin/
	install $(BUILD)/introspect $(DESTDIR)$(PREFIX)/bin/
	install -m 644 dist/introspect.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 dist/introspectd.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	$(if $(UNITDIR),install -D -m 644 dist/introspectd.service \
		$(DESTDIR)$(UNITDIR)/introspectd.service)

clean:
	rm -rf $(BUILD)

.SECONDARY:
.PHONY: all run bench bench-serve bench-kernel bench-feed bench-dashboard bench-check bench-baseline \
        check size-check text-check model unit-check fault load soak soak-sanitizers soak-valgrind \
        load-tools deps test-deps lint lint-deps install clean
include test/ports/ports.mk
-include $(patsubst %.c,$(BUILD)/%.d,$(wildcard *.c */*.c test/*/*.c) dashboard.c)
