#ifndef PEERS_H
#define PEERS_H

/* How many connections each address has, and which connection makes room for the next. No I/O,
 * no allocation after peers_open. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	PEERS_OWNER = 16,        /* bytes of an address as peers_owner has it */
	PEERS_LOOKED_AT = 256,   /* connections looked at to find the one that makes room */
};

/* An address with connections. */
struct peer {
	uint8_t owner[PEERS_OWNER];
	unsigned count;          /* of its connections ... */
	unsigned others;         /* ... and of those that are no clients */
	struct peer *next;       /* with the same hash, or free */
};

/* A connection, as a part of whatever else its owner knows of it. All zero: none. */
struct place {
	struct peer *peer;
	struct place *newer, **link;   /* among those that are no clients; link: what points to this
	                                  one, NULL: it is a client */
	int64_t came;                  /* ms */
	bool spoke;                    /* bytes have come from it */
};

struct peers {
	struct peer *all, **table, *free, *unused;   /* unused: from here on none was ever used */
	size_t mask;
	uint64_t seed[2];
	struct place *oldest, **newest;   /* of those that are no clients, and where the next goes */

	/* set by the owner after peers_open */
	size_t most;               /* connections of one address; 0: any number */
	bool loopback;             /* that holds for this machine's own addresses, too */
};

/* Room for count connections. 0, or -1 with errno. */
int peers_open(struct peers *p, size_t count);
void peers_close(struct peers *p);

/* Who is behind an address: of IPv6 the first 64 bits, which one owner has at least; all zero for
 * a Unix socket. */
void peers_owner(uint8_t owner[PEERS_OWNER], const struct sockaddr *address);

/* How many connections there are from the address. */
unsigned peers_count(const struct peers *p, const struct sockaddr *address);

/* Has the address as many connections as it may? Unix sockets may have any number. */
bool peers_is_full(const struct peers *p, const struct sockaddr *address);

/* A connection from the address, no client yet; of at most count there is room for it. */
void peers_enter(struct peers *p, struct place *at, const struct sockaddr *address, int64_t now);
void peers_leave(struct peers *p, struct place *at);

/* It became a client, or is none any more. */
void peers_set_client(struct peers *p, struct place *at, bool client);

/* The connection that makes room for one from the address: among the PEERS_LOOKED_AT that have been
 * no clients for longest, one of the address that has most of those, preferably one that never said
 * anything, then the oldest. It is of the same address or of one that has more of them, so that
 * nobody gains from coming in numbers; one that came now, which had no chance to say anything, is of
 * one that has two more. NULL: there is none. */
struct place *peers_victim(const struct peers *p, const struct sockaddr *address, int64_t now);

#endif
