# make deps run        install what is needed, build, run on this machine's connections
# make test-deps check install what the tests need besides, run them all
# make, make install   build; install below $(DESTDIR)$(PREFIX)
#
# CC, CFLAGS, LDFLAGS, PKG_CONFIG and PREFIX may be set; BUILD names the folder
# that everything made goes to.

PREFIX ?= /usr/local
BUILD ?= build
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
HARDEN ?= -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
HARDEN_LD ?= -pie -Wl,-z,relro,-z,now

WARN = -Wall -Wextra -Wpedantic -Wshadow -Wconversion
CPPFLAGS += -D_GNU_SOURCE -I. -I$(BUILD)
FLAGS = -std=c11 $(WARN) $(HARDEN) $(CPPFLAGS) $(CFLAGS) $(shell $(PKG_CONFIG) --cflags libprotobuf-c)
LIBS = $(shell $(PKG_CONFIG) --libs libprotobuf-c) -lmbedcrypto

DAEMON = introspectd.c options.c listen.c http.c log.c ws.c snapshot.c \
         source/kernel.c source/process.c source/feed.c source/replay.c source/wire.c
CLIENT = $(wildcard client/*.c) ws.c log.c source/wire.c

SCHEMA = $(BUILD)/introspection.pb-c
objects = $(patsubst %.c,$(BUILD)/%.o,$(1)) $(SCHEMA).o

all: $(BUILD)/introspectd $(BUILD)/introspect

$(BUILD)/introspectd: $(call objects,$(DAEMON))
	$(CC) $(HARDEN_LD) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/introspect: $(call objects,$(CLIENT))
	$(CC) $(HARDEN_LD) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c $(SCHEMA).h
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -MMD -MP -c -o $@ $<

# What protoc-c writes is not ours to warn about.
$(SCHEMA).o: $(SCHEMA).c
	$(CC) $(FLAGS) -w -c -o $@ $<

$(SCHEMA).c $(SCHEMA).h &: introspection.proto
	@mkdir -p $(BUILD)
	protoc-c --c_out=$(BUILD) $<

$(BUILD)/http.o: $(BUILD)/introspection.proto.inc
$(BUILD)/%.inc: %
	od -An -v -tx1 $< | sed 's/ \(..\)/0x\1,/g' > $@

run: all
	$(BUILD)/introspectd

.PHONY: all run
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
