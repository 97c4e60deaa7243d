# What it takes to be at home elsewhere, none of it part of make check: other processors,
# another C library, another mbedtls, packages. Each build must serve the bytes that the one
# for this machine does.

# Architectures of Debian's, and what Debian's tools for them are called by.
CROSS ?= arm64 armhf mipsel s390x
TRIPLET_arm64 = aarch64-linux-gnu
TRIPLET_armhf = arm-linux-gnueabihf
triplet = $(or $(TRIPLET_$(1)),$(1)-linux-gnu)

PORT_GOALS = all unit-tests
LIBRARIES = $(abspath $(BUILD)/libraries)
PORT_CHECK = NODE=$(NODE) NATIVE=$(BUILD) test/ports/check

cross-check: all $(CROSS:%=cross-%)
	$(foreach a,$(CROSS),$(PORT_CHECK) $(BUILD)/cross/$a \
		qemu-$(firstword $(subst -, ,$(call triplet,$a))) &&) true

cross-%:
	PKG_CONFIG_LIBDIR=/usr/lib/$(call triplet,$*)/pkgconfig $(MAKE) BUILD=$(BUILD)/cross/$* \
		CC=$(call triplet,$*)-gcc CPPFLAGS=-Werror $(PORT_GOALS)

# Debian's gcc-multilib and these compilers exclude each other (gcc-12-multilib does not).
cross-deps: test-deps bridge-deps
	for a in $(CROSS); do $(SUDO) dpkg --add-architecture $$a || exit 1; done
	$(SUDO) apt-get update -q
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
		debhelper debootstrap dpkg-dev fakeroot lintian qemu-user \
		$(foreach a,$(CROSS),libc6-dev-$a-cross libcmocka-dev:$a libmbedtls-dev:$a \
			libprotobuf-c-dev:$a gcc-$(call triplet,$a))

# Debian's libraries are for glibc: these are built for musl from its sources. Its musl-gcc
# cannot make a static PIE. Into a static program nothing can be preloaded that does what the
# sandbox forbids.
musl-check: all musl
	$(PORT_CHECK) $(BUILD)/musl
	SANDBOX_BUILD=$(BUILD)/musl $(TEST) --test-skip-pattern='what the loop never does' \
		test/integration/sandbox.test.mjs

musl: $(LIBRARIES)/musl/lib/libmbedtls.a
	PKG_CONFIG_LIBDIR=$(<D)/pkgconfig $(MAKE) BUILD=$(BUILD)/musl CC=musl-gcc STATIC=1 \
		PIE=-static CPPFLAGS=-Werror $(PORT_GOALS)

mbedtls3-check: all mbedtls3
	TLS_VERSION=TLSv1.3 $(PORT_CHECK) $(BUILD)/mbedtls3
	BUILD=$(BUILD)/mbedtls3 $(TEST) test/integration/secure.test.mjs

mbedtls3: $(LIBRARIES)/mbedtls3/lib/libmbedtls.a
	PKG_CONFIG_LIBDIR=$(<D)/pkgconfig $(MAKE) BUILD=$(BUILD)/mbedtls3 CPPFLAGS=-Werror \
		$(PORT_GOALS)

$(LIBRARIES)/musl/lib/libmbedtls.a: test/ports/libraries
	CC=musl-gcc $< $(@D:/lib=) bookworm

$(LIBRARIES)/mbedtls3/lib/libmbedtls.a: test/ports/libraries
	CC=$(CC) $< $(@D:/lib=) trixie

# The table of README.md.
sizes: PORT_GOALS = all
sizes: all musl mbedtls3 $(CROSS:%=cross-%)
	$(MAKE) TLS=0 BUILD=$(BUILD)/tls0 all
	$(MAKE) STATIC=1 BUILD=$(BUILD)/static all
	@test/ports/sizes $(BUILD) $(foreach a,$(CROSS),$a $(call triplet,$a))

# $(BUILD)/deb/introspectd_VERSION_ARCHITECTURE.deb. DEBFULLNAME, DEBEMAIL: who maintains it.
deb:
	dist/debian/build $(BUILD)/deb

# Who maintains it, DEBEMAIL, is not what is checked.
deb-check: deb
	lintian --allow-root --fail-on error,warning $(BUILD)/deb/*.changes --suppress-tags \
		bogus-mail-host,bogus-mail-host-in-debian-changelog,root-in-contact
	$(SUDO) test/ports/package $(BUILD)/deb/introspectd_*.deb $(BUILD)/debian

# Programs of the release before with those of this one, both ways. They are built from the
# history, where that is there; the js publisher with today's libp2p.
RELEASED = 1.0.0
RELEASED_COMMIT = e09fbd84eb1102ece756a385ba0a5cd7a8cd122a
RELEASED_TREE = $(abspath $(BUILD))/released/$(RELEASED)

upgrade-check:
	$(MAKE) -j$(JOBS) all bridge
	$(if $(shell git cat-file -e $(RELEASED_COMMIT) 2> /dev/null && echo yes),$(MAKE) released && \
		GO=$(GO) RELEASED=$(RELEASED_TREE) BUILD=$(BUILD) timeout 600 $(TEST) --test-timeout=480000 \
		test/upgrade/upgrade.test.mjs,@echo 'skipped: the history has no $(RELEASED), so its programs')

released:
	mkdir -p $(RELEASED_TREE)
	git archive $(RELEASED_COMMIT) | tar x -C $(RELEASED_TREE)
	ln -sfn $(CURDIR)/publishers/js-libp2p/node_modules $(RELEASED_TREE)/publishers/js-libp2p/node_modules
	$(MAKE) -C $(RELEASED_TREE) -j$(JOBS) BUILD=build all

# The README's two commands in bare Debians, about a quarter of an hour each.
DEBIANS ?= bookworm trixie

debian-check: $(DEBIANS:%=debian-check-%)

debian-check-%:
	test/ports/debian $* $(abspath $(BUILD))/debian

.PHONY: debian-check cross-check cross-deps musl-check musl mbedtls3-check mbedtls3 sizes deb deb-check \
        upgrade-check released
