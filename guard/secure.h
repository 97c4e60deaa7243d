#ifndef SECURE_H
#define SECURE_H

#include "base/stream.h"

/* TLS, with the files of --tls-cert, --tls-key and --tls-client-ca. */
extern const struct stream_kind stream_secure;

#endif
