################################################################################
#
# introspectd
#
################################################################################

# make BR2_EXTERNAL=/PATH/TO/THIS/TREE/dist/buildroot menuconfig
# A package of a release instead would have its tarball's address as
# INTROSPECTD_SITE, and its sum in introspectd.hash; a local tree has none.
INTROSPECTD_SITE = $(realpath $(BR2_EXTERNAL_INTROSPECTD_PATH)/../..)
INTROSPECTD_SITE_METHOD = local
INTROSPECTD_VERSION = $(shell sed -n 's/^.define VERSION "\(.*\)"/\1/p' $(INTROSPECTD_SITE)/base/options.h)
INTROSPECTD_LICENSE = MIT
INTROSPECTD_LICENSE_FILES = LICENSE
INTROSPECTD_DEPENDENCIES = host-pkgconf host-protobuf-c mbedtls protobuf-c

# A build of another machine that the tree may hold is not taken over.
INTROSPECTD_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude /build --exclude node_modules
INTROSPECTD_MAKE = $(TARGET_MAKE_ENV) $(TARGET_CONFIGURE_OPTS) $(MAKE) -C $(@D) BUILD=target \
	HOSTCC="$(HOSTCC) $(HOST_CFLAGS) $(HOST_LDFLAGS)"

define INTROSPECTD_BUILD_CMDS
	$(INTROSPECTD_MAKE)
endef

define INTROSPECTD_INSTALL_TARGET_CMDS
	$(INTROSPECTD_MAKE) PREFIX=/usr DESTDIR=$(TARGET_DIR) install
endef

define INTROSPECTD_INSTALL_INIT_SYSTEMD
	$(INTROSPECTD_MAKE) PREFIX=/usr DESTDIR=$(TARGET_DIR) UNITDIR=/usr/lib/systemd/system install
endef

define INTROSPECTD_INSTALL_INIT_OPENRC
	$(INSTALL) -D -m 755 $(@D)/dist/introspectd.openrc $(TARGET_DIR)/etc/init.d/introspectd
endef

# The user of the script for OpenRC.
define INTROSPECTD_USERS
	introspectd -1 introspectd -1 * - - - introspectd
endef

$(eval $(generic-package))
