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

# $(BUILD)/release/introspectd-VERSION-linux-ARCHITECTURE.tar.gz: static programs for any Linux, and
# their sums. The same tree gives the same bytes.
VERSION = $(shell sed -n 's/^.define VERSION "\(.*\)"/\1/p' base/options.h)
RELEASES ?= amd64 arm64 armhf mipsel
TRIPLET_amd64 = x86_64-linux-gnu

release: $(RELEASES:%=release-%)
	cd $(BUILD)/release && sha256sum introspectd-$(VERSION)-*.tar.gz > SHA256SUMS && cat SHA256SUMS

release-%:
	JOBS=$(JOBS) dist/release $* $(call triplet,$*) $(BUILD)/release

release-deps: deps
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends dpkg-dev \
		$(foreach a,$(filter-out amd64,$(RELEASES)),gcc-$(call triplet,$a) libc6-dev-$a-cross)

# Twice, in another folder with another umask and clock, from a copy of the tree elsewhere: the same
# bytes. Then each program serves what the one for this machine does.
release-check: all release
	test/ports/reproducible $(BUILD)/release
	$(foreach a,$(RELEASES),BUILD=$(BUILD)/release/$a NATIVE=$(BUILD) \
		RUNNER=qemu-$(firstword $(subst -, ,$(call triplet,$a))) $(TEST) --test-timeout=120000 \
		test/ports/end-to-end.test.mjs &&) true

# The container image introspectd, of that program, in podman's and buildah's storage.
IMAGE = $(BUILD)/image
image: release-amd64
	rm -rf $(IMAGE) && mkdir -p $(IMAGE)/root/run/introspectd
	cp $(BUILD)/release/amd64/introspectd $(IMAGE)/root/
	buildah build --isolation chroot -f dist/Containerfile -t introspectd -t introspectd:$(VERSION) $(IMAGE)

# The README's recipes with podman, and the examples against their schemas.
container-check: all bridge $(KUBO)
	$(MAKE) release-amd64
	test/ports/schemas $(BUILD)/schemas
	$(SUDO) test/ports/containers $(BUILD) $(KUBO)

image-deps: release-deps
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
		buildah catatonit crun debootstrap iproute2 jq netavark podman python3-pip

# The release before, where the history is there.
RELEASED = 1.0.0
RELEASED_COMMIT = e09fbd84eb1102ece756a385ba0a5cd7a8cd122a
RELEASED_TREE = $(abspath $(BUILD))/released/$(RELEASED)
HAS_RELEASED = $(shell git cat-file -e $(RELEASED_COMMIT) 2> /dev/null && echo yes)

# $(BUILD)/deb/introspectd_VERSION_ARCHITECTURE.deb. DEBFULLNAME, DEBEMAIL: who maintains it.
deb:
	dist/debian/build $(BUILD)/deb

DEBIANS ?= bookworm trixie

deb-check: $(DEBIANS:%=deb-check-%)

deb-check-%: $(if $(HAS_RELEASED),$(RELEASED_TREE)/Makefile)
	$(SUDO) test/ports/package $* $(BUILD)/debs $(if $(HAS_RELEASED),$(RELEASED_TREE))
	$(SUDO) test/ports/systemd $* $(BUILD)/debs $(wildcard $(KUBO))

# The publishers as their registries get them, where there are the tools.
publish-check: all
	PYTHON=$$(command -v python3) CARGO=$$(command -v cargo) GO=$(GO) timeout 900 test/ports/publish $(BUILD)

# The script for OpenRC, by Debian's. START_STOP_DAEMON: OpenRC's own, which Debian leaves out.
openrc-check: all
	$(SUDO) env START_STOP_DAEMON=$(START_STOP_DAEMON) test/ports/openrc $(BUILD)

# Programs of the release before with those of this one, both ways; its js publisher with today's
# libp2p.
upgrade-check:
	$(MAKE) -j$(JOBS) all bridge
	$(if $(HAS_RELEASED),$(MAKE) released && \
		GO=$(GO) RELEASED=$(RELEASED_TREE) BUILD=$(BUILD) timeout 1200 $(TEST) --test-timeout=900000 \
		test/upgrade/upgrade.test.mjs,@echo 'skipped: the history has no $(RELEASED), so its programs')

released: $(RELEASED_TREE)/Makefile
	ln -sfn $(CURDIR)/publishers/js-libp2p/node_modules $(RELEASED_TREE)/publishers/js-libp2p/node_modules
	$(MAKE) -C $(RELEASED_TREE) -j$(JOBS) BUILD=build all

$(RELEASED_TREE)/Makefile:
	mkdir -p $(@D)
	git archive $(RELEASED_COMMIT) | tar xm -C $(@D)

# The README's two commands in bare Debians, about a quarter of an hour each.
debian-check: $(DEBIANS:%=debian-check-%)

debian-check-%:
	test/ports/debian $* $(abspath $(BUILD))/debian

.PHONY: debian-check cross-check cross-deps musl-check musl mbedtls3-check mbedtls3 sizes deb deb-check \
        upgrade-check released release release-deps release-check image image-deps container-check openrc-check publish-check
