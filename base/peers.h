#ifndef PEERS_H
#define PEERS_H

/* How many connections each address has, and which connection is ended to make room for the next. A
 * connection is a client once its WebSocket is open; before, and after its end, it is another. No I/O,
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
	unsigned count;          /* connections from it */
	unsigned others;         /* connections from it that are no clients */
	struct peer *next;       /* with the same hash, or free */
};

/* What this module knows of a connection: a member of the struct that the loop has for it. All zero:
 * there is no connection. */
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

/* A connection came from the address, and is no client yet. The caller sees to it that there are
 * never more than count. */
void peers_enter(struct peers *p, struct place *at, const struct sockaddr *address, int64_t now);
void peers_leave(struct peers *p, struct place *at);

/* The connection became a client, or is none any more. */
void peers_set_client(struct peers *p, struct place *at, bool client);

/* The connection to end so that one from the address has a slot. Candidates are the PEERS_LOOKED_AT
 * connections that have been no clients for longest. Of those it is one of the address with the most
 * connections that are no clients; among these one from which no byte has come, and then the oldest.
 * That address is the same as the new connection's or has more of them, so that nobody gains from
 * coming in numbers; it has at least two more if the candidate came at this same moment, and so had
 * no chance to send anything. NULL: no candidate will do. */
struct place *peers_victim(const struct peers *p, const struct sockaddr *address, int64_t now);

#endif
