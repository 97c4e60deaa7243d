# make deps run         installs what is needed, builds, shows this machine's connections
# make test-deps check  installs what the tests need besides, runs them all
# make                  builds introspectd and introspect in $(BUILD)
# make bridge           builds introspect-bridge, for nodes that are not changed (make bridge-deps)
# make core             builds the pull server and the kernel source alone, in $(BUILD)/core
# make install          installs them below $(DESTDIR)$(PREFIX), and with UNITDIR=/DIRECTORY
#                       the systemd unit in $(DESTDIR)$(UNITDIR); make install-bridge the bridge;
#                       make uninstall removes what these two put there
#
# CC, HOSTCC, CFLAGS, LDFLAGS, PKG_CONFIG, PREFIX and BUILD may be set. TLS=0 leaves TLS out,
# DEFLATE=1 takes permessage-deflate in, by zlib (zlib1g-dev), STATIC=1 needs no library at run
# time. Each make is to be given the same: what was built with others is built again.

PREFIX ?= /usr/local
BUILD ?= build
TLS ?= 1
DEFLATE ?= 0
PKG_CONFIG ?= pkg-config
CFLAGS ?= -Os -g
HARDEN ?= -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
# Those of these that the compiler has for its processor.
HARDEN_IF ?= -fstack-clash-protection -fcf-protection -mbranch-protection=standard
PIE ?= $(if $(filter 1,$(STATIC)),-static-pie,-pie)
HARDEN_LD ?= $(PIE) -Wl,-z,relro,-z,now,-z,noexecstack
# Nothing that is not used, and no tables for exceptions, which C has not.
SMALL = -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-plt
SMALL_LD = -Wl,--gc-sections
# The short form of relative relocations, if the linker has it and the C library is so new
# that it has arc4random().
RELR = -Wl,-z,pack-relative-relocs
SUDO = $(if $(filter-out 0,$(shell id -u)),$(or $(shell command -v sudo || :),$(error \
       make $@ installs packages: install sudo, or run it as root)))

WARN = -Wall -Wextra -Wpedantic -Wshadow -Wconversion
FLAGS = -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -DTLS=$(TLS) -DDEFLATE=$(DEFLATE) -I. -I$(BUILD) \
        $(WARN) $(HARDEN) $(SMALL) \
        $(shell $(PKG_CONFIG) --cflags libprotobuf-c) $(CPPFLAGS) $(CFLAGS)
HOSTCC ?= cc
LIBS = $(shell $(PKG_CONFIG) --libs libprotobuf-c) $(if $(filter 1,$(TLS)),-lmbedtls -lmbedx509) -lmbedcrypto $(if $(filter 1,$(DEFLATE)),-lz)

# Everything but the two programs' main files, which the unit tests cannot have.
COMMON = ws.c base/file.c base/head.c base/log.c base/usage.c guard/auth.c guard/tls.c source/complete.c source/put.c source/wire.c
DAEMON = snapshot.c $(filter-out base/core.c $(if $(filter 0,$(DEFLATE)),endpoint/deflate.c) $(COMMON),$(wildcard base/*.c endpoint/*.c guard/*.c source/*.c))
# The core alone: pull server and kernel source, without what base/all.c adds.
CORE = introspectd.c ws.c snapshot.c $(filter-out base/all.c base/file.c,$(wildcard base/*.c)) \
       $(patsubst %,source/%.c,holders kernel process put tcpdiag)
BRIDGE = $(wildcard bridge/*.c) client/json.c guard/auth.c guard/sandbox.c base/file.c base/head.c base/log.c base/usage.c \
         source/put.c source/wire.c ws.c
CLIENT = $(filter-out client/introspect.c,$(wildcard client/*.c))

SCHEMA = $(BUILD)/introspection.pb-c
NAMELESS = $(BUILD)/nameless/introspection.pb-c
objects = $(patsubst %.c,$(BUILD)/%.o,$(1)) $(SCHEMA).o
compile = $(CC) @$(BUILD)/cflags -MMD -MP -c -o $@ $<
link = $(CC) @$(BUILD)/ldflags -o $@ $^ $(LIBS)

all: $(BUILD)/introspectd $(BUILD)/introspect

$(BUILD)/introspectd: $(patsubst %.c,$(BUILD)/%.o,introspectd.c $(DAEMON) $(COMMON)) \
                      $(NAMELESS).o $(BUILD)/dashboard.o
	$(link)

core: $(BUILD)/core/introspectd
$(BUILD)/core/introspectd: LIBS = $(shell $(PKG_CONFIG) --libs libprotobuf-c) -lmbedcrypto
$(BUILD)/core/introspectd: $(CORE:%.c=$(BUILD)/%.o) $(NAMELESS).o
	@mkdir -p $(@D)
	$(link)

$(BUILD)/introspect: $(call objects,client/introspect.c $(CLIENT) $(COMMON))
	$(link)

bridge: $(BUILD)/introspect-bridge
$(BUILD)/introspect-bridge: LIBS = $(shell $(PKG_CONFIG) --libs libprotobuf-c libcurl jansson libseccomp) -lmbedcrypto
$(BUILD)/introspect-bridge: $(call objects,$(BRIDGE))
	$(link)

$(BUILD)/%.o: %.c $(BUILD)/cflags | $(SCHEMA).h
	@mkdir -p $(@D)
	$(compile) $(FAST)

# What goes through every byte that comes is worth some more of them.
$(BUILD)/source/put.o $(BUILD)/source/wire.o $(BUILD)/source/complete.o: FAST = $(CFLAGS:-Os=-O2)

# The flags of this build, in files on which all objects depend.
$(BUILD)/%flags: export C = $(FLAGS)
$(BUILD)/%flags: export LD = $(HARDEN_LD) $(SMALL_LD) $(CFLAGS) $(LDFLAGS)
$(BUILD)/allflags: FORCE
	@for tool in $(firstword $(CC)) $(firstword $(HOSTCC)) $(firstword $(PKG_CONFIG)) protoc-c; do \
		command -v $$tool > /dev/null || { echo "there is no $$tool: make deps installs what is needed" >&2; exit 1; }; done
	@mkdir -p $(@D)
	@echo '$(CC) $(if $(HARDEN),$(HARDEN_IF)) $(LIBS)' "$$C" "$$LD" > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(BUILD)/cflags $(BUILD)/ldflags &: $(BUILD)/allflags
	@echo "$$C" > $(BUILD)/cflags
	@for flag in $(if $(HARDEN),$(HARDEN_IF)); do \
		$(CC) -Werror $$flag -x c -c -o /dev/null /dev/null 2> /dev/null && \
			echo $$flag >> $(BUILD)/cflags; done; true
	@echo "$$LD" > $(BUILD)/ldflags
	@echo 'int arc4random(void); int main(void) { return arc4random(); }' | \
		$(CC) @$(BUILD)/ldflags -Wl,--fatal-warnings $(RELR) -x c -o /dev/null - 2> /dev/null && \
			echo '$(RELR)' >> $(BUILD)/ldflags; true

# The warnings are for what people wrote.
$(SCHEMA).o: $(SCHEMA).c $(BUILD)/cflags
	$(compile) -w

# protobuf-c gives every struct a member "base", so the field of that name has another in C.
RENAME = s/ base = 106/ base_sequence = 106/
$(SCHEMA).c $(SCHEMA).h &: introspection.proto
	@mkdir -p $(BUILD)/schema
	sed '$(RENAME)' $< > $(BUILD)/schema/introspection.proto
	cd $(BUILD)/schema && protoc-c --c_out=.. introspection.proto
	sed -i 's/"base_sequence"/"base"/' $(SCHEMA).c

# For the daemon: the same without the names of fields, which it never says. Tables that are
# the same are one, since nobody compares their addresses. The empty string to which many fields
# point stands in the program, not in the library, or the linker writes 24 bytes for each of
# them; it is weak, so that a static link takes the library's.
$(NAMELESS).o: $(NAMELESS).c $(BUILD)/cflags
	$(compile) -w -DNDEBUG -fmerge-all-constants

$(NAMELESS).c: introspection.proto
	@mkdir -p $(@D)
	sed '$(RENAME); /^package/s/$$/ option optimize_for = CODE_SIZE;/' $< > $(@D)/introspection.proto
	cd $(@D) && protoc-c --c_out=. introspection.proto
	echo '__attribute__((weak)) const char protobuf_c_empty_string[] = "";' >> $@

$(BUILD)/endpoint/files.o: $(BUILD)/introspection.proto.inc
$(BUILD)/introspection.proto.inc: introspection.proto
	@mkdir -p $(BUILD)
	od -An -v -tx1 $< | sed 's/ \(..\)/0x\1,/g' > $@

# The dashboard: its modules become one, and what is served is gzipped and made an array
# of the daemon.
PAGE = $(BUILD)/page
PAGE_FILES = schema.js $(patsubst dashboard/%,%,$(wildcard \
             $(addprefix dashboard/,*.html *.css *.svg *.js views/*.js)))
SERVED = $(BUILD)/served
SERVED_FILES = index.html style.css icon.svg alert.svg app.js

$(BUILD)/dashboard.o: $(BUILD)/dashboard.c $(BUILD)/cflags
	$(compile) -Idashboard

$(BUILD)/dashboard.c: $(PAGE)/embed $(SERVED_FILES:%=$(SERVED)/%.gz)
	$(PAGE)/embed $(SERVED) $(SERVED_FILES) > $@

$(SERVED)/%.gz: $(PAGE)/%
	@mkdir -p $(@D)
	gzip -9nc $< > $@

# Without comments and most blanks.
$(SERVED)/style.css.gz: $(PAGE)/style.css
	@mkdir -p $(@D)
	sed 's,/\*[^*]*\*/,,g; s/^ *//; s/ *\([{};,]\) */\1/g; s/: /:/g' $< | tr -d '\n' | gzip -9nc > $@

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

# A list of packages that cannot be renewed may still do.
deps:
	-$(SUDO) apt-get update -q
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
		gcc gzip libc6-dev pkg-config protobuf-c-compiler libprotobuf-c-dev libmbedtls-dev

bridge-deps: deps
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
		libcurl4-openssl-dev libjansson-dev libseccomp-dev

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin \
		$(DESTDIR)$(PREFIX)/share/introspectd \
		$(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8
	install $(BUILD)/introspectd $(DESTDIR)$(PREFIX)/sbin/
	install $(BUILD)/introspect $(DESTDIR)$(PREFIX)/bin/
	install -m 644 dist/introspect.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 dist/introspectd.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 dist/grafana.json dist/prometheus-rules.yml $(DESTDIR)$(PREFIX)/share/introspectd/
	$(if $(UNITDIR),install -D -m 644 dist/introspectd.service \
		$(DESTDIR)$(UNITDIR)/introspectd.service)

install-bridge: bridge
	install -D $(BUILD)/introspect-bridge $(DESTDIR)$(PREFIX)/bin/introspect-bridge
	install -D -m 644 dist/introspect-bridge.1 $(DESTDIR)$(PREFIX)/share/man/man1/introspect-bridge.1
	$(if $(UNITDIR),install -D -m 644 dist/introspect-bridge@.service \
		$(DESTDIR)$(UNITDIR)/introspect-bridge@.service)

uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,sbin/introspectd bin/introspect bin/introspect-bridge \
		share/man/man8/introspectd.8 share/man/man1/introspect.1 share/man/man1/introspect-bridge.1 \
		share/introspectd/grafana.json share/introspectd/prometheus-rules.yml)
	rmdir $(DESTDIR)$(PREFIX)/share/introspectd 2> /dev/null || true
	$(if $(UNITDIR),rm -f $(DESTDIR)$(UNITDIR)/introspectd.service \
		$(DESTDIR)$(UNITDIR)/introspect-bridge@.service)

clean:
	rm -rf $(BUILD)

# Whatever -j says, nothing is built before the packages that it needs are installed.
$(if $(filter %deps,$(MAKECMDGOALS)),$(eval .NOTPARALLEL:))

.SECONDARY:
.DELETE_ON_ERROR:
.PHONY: all core bridge run deps bridge-deps install install-bridge uninstall clean FORCE
include test/check.mk
-include $(patsubst %.c,$(BUILD)/%.d,$(wildcard *.c */*.c test/*/*.c) dashboard.c)
