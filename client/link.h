#ifndef LINK_H
#define LINK_H

/* The connection to a daemon: looks its name up, connects, opens a WebSocket, takes messages one at
 * a time, and connects again when the connection was lost. Never blocks. Times are ms of the
 * monotonic clock. */

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "guard/tls.h"
#include "ws.h"

enum {
	LINK_LOOKUP_MS = 30000,       /* for the addresses of a name */
	LINK_CONNECT_MS = 5000,       /* for a connection and its handshake */
	LINK_SILENCE_MS = 20000,      /* after which the daemon is sent a ping; when as much passes
	                                 again, the connection is given up */
	LINK_RETRY_MS = 500,          /* first pause before connecting again; doubles */
	LINK_RETRY_MAX_MS = 10000,
	LINK_WHY_MAX = 512,
};

enum link_state {
	LINK_WAITING = 0,   /* for the deadline, to connect */
	LINK_LOOKUP,        /* for the addresses of the name */
	LINK_CONNECTING,
	LINK_HANDSHAKE,
	LINK_OPEN,
};

enum link_event {
	LINK_NOTHING = 0,
	LINK_OPENED,
	LINK_MESSAGE,   /* message and message_len hold it until the next call */
	LINK_FAILED,    /* nobody could be reached, or the connection was lost: see why */
};

struct link {
	/* for the owner to read */
	enum link_state state;
	int64_t deadline;             /* of the state; of LINK_WAITING: when it connects again */
	char why[LINK_WHY_MAX];       /* the last failure; bytes of the peer are escaped */
	uint8_t *message;
	size_t message_len;

	/* set by the owner after link_init */
	struct tls_config *tls_config; /* for a secure address */
	const char *token;             /* to show to the daemon; NULL: none */
	bool pushed;                   /* messages come without a ready: the command protocol */
	bool get;                      /* no WebSocket: the whole answer to a GET is the message */

	/* the link's own */
	struct address address;
	struct tls *tls;               /* NULL: none */
	struct resolved resolved;
	size_t endpoint;              /* index in resolved of the endpoint in use */
	struct lookup lookup;
	int fd;                       /* -1 unless connecting or connected */
	int64_t retry;                /* ms, the next pause */
	char key[WS_KEY_LEN + 1];
	struct ws_decoder decoder;
	uint32_t max_message;
	size_t message_size;          /* bytes allocated */
	bool may_send;                /* the daemon may send a snapshot: the connection is new, or a
	                                 ready was sent */
	bool pinged;                  /* the daemon was sent a ping, and nothing has come since */
	enum { NO_SIZE = 0, SIZE, AFTER_SIZE } size_line; /* how much of a chunk's first line came */
	uint64_t chunk;               /* size of the chunk, as far as its digits have come */
	uint64_t chunk_left;          /* bytes of the chunk that have not come, its CR LF included */
	uint8_t rx[65536];
	size_t rx_len, rx_at;         /* bytes that were read, and how many of them were used */
	uint8_t tx[2048];             /* the handshake, or a few control frames */
	size_t tx_len, tx_at;         /* bytes to send, and how many of them were sent */
};

/* Ready to connect at once. max_message: bytes of the largest message accepted. */
void link_init(struct link *l, const struct address *address, uint32_t max_message);

/* The endpoint in use, for people; empty when none is. */
const char *link_name(const struct link *l);

/* Fills in what poll() shall wait for (fd -1: nothing), and lowers *deadline to the time at which
 * link_serve must be called at the latest. */
void link_poll(const struct link *l, struct pollfd *fd, int64_t *deadline);

/* To be called after every poll() with what it reported for fd. */
enum link_event link_serve(struct link *l, short revents, int64_t now);

/* The last message has been dealt with: makes room for the next and, unless messages are pushed,
 * asks the daemon for it with a ready. wishes: an encoded Ready of at most WS_CONTROL_MAX bytes;
 * len 0: a plain ready. */
void link_ready(struct link *l, const uint8_t *wishes, size_t len);

/* Sends a ClientCommand of at most WS_CONTROL_MAX bytes on an open connection. */
void link_command(struct link *l, const uint8_t *command, size_t len);

/* Ends an open connection with this close code (RFC 6455 section 7.4.1). reason, what the daemon
 * did wrong, becomes why. The link will connect again. */
void link_refuse(struct link *l, uint16_t code, const char *reason, int64_t now);

/* Sends a close frame, as far as the socket takes it at once, and frees everything. */
void link_close(struct link *l);

#endif
