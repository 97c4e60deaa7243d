#include "base/peers.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/listen.h"
#include "base/setup.h"

int peers_open(struct peers *p, size_t count)
{
	size_t size = 1;

	while (size < count)
		size *= 2;
	*p = (struct peers){.mask = size - 1, .newest = &p->oldest};
	p->all = calloc(count, sizeof *p->all);
	p->table = calloc(size, sizeof(struct peer *));
	for (size_t i = 0; i < 2; i++)
		p->seed[i] = setup_seed() | 1;
	p->unused = p->all;
	return p->all && p->table ? 0 : -1;
}

void peers_close(struct peers *p)
{
	free(p->all);
	free(p->table);
	*p = (struct peers){0};
}

void peers_owner(uint8_t owner[PEERS_OWNER], const struct sockaddr *address)
{
	memset(owner, 0, PEERS_OWNER);
	if (address->sa_family == AF_INET) {
		memset(owner + 10, 0xff, 2);
		memcpy(owner + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
	} else if (address->sa_family == AF_INET6) {
		const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;

		memcpy(owner, v6, IN6_IS_ADDR_V4MAPPED(v6) || IN6_IS_ADDR_LOOPBACK(v6) ? 16 : 8);
	}
}

/* The pointer to the peer with this owner or, if there is none, the pointer by which a new one is to be added. */
static struct peer **find(const struct peers *p, const uint8_t owner[PEERS_OWNER])
{
	uint64_t half[2];

	memcpy(half, owner, sizeof half);
	uint64_t hash = (half[0] ^ p->seed[0]) * p->seed[1];
	hash = (hash ^ hash >> 32 ^ half[1]) * p->seed[0];
	struct peer **link = &p->table[hash >> 32 & p->mask];
	while (*link && memcmp((*link)->owner, owner, PEERS_OWNER) != 0)
		link = &(*link)->next;
	return link;
}

unsigned peers_count(const struct peers *p, const struct sockaddr *address)
{
	uint8_t owner[PEERS_OWNER];

	peers_owner(owner, address);
	const struct peer *found = *find(p, owner);
	return found ? found->count : 0;
}

bool peers_is_full(const struct peers *p, const struct sockaddr *address)
{
	return p->most > 0 && address->sa_family != AF_UNIX &&
	       (p->loopback || !address_is_loopback(address)) && peers_count(p, address) >= p->most;
}

void peers_set_client(struct peers *p, struct place *at, bool client)
{
	if (client == !at->link)
		return;
	if (client) {
		*at->link = at->newer;
		if (at->newer)
			at->newer->link = at->link;
		else
			p->newest = at->link;
		at->link = NULL;
		at->peer->others--;
	} else {
		at->newer = NULL;
		at->link = p->newest;
		*at->link = at;
		p->newest = &at->newer;
		at->peer->others++;
	}
}

void peers_enter(struct peers *p, struct place *at, const struct sockaddr *address, int64_t now)
{
	uint8_t owner[PEERS_OWNER];

	peers_owner(owner, address);
	struct peer **link = find(p, owner), *peer = *link;
	if (!peer) {
		peer = *link = p->free ? p->free : p->unused++;
		p->free = p->free ? p->free->next : NULL;
		*peer = (struct peer){0};
		memcpy(peer->owner, owner, sizeof owner);
	}
	peer->count++;
	*at = (struct place){.peer = peer, .came = now};
	peers_set_client(p, at, false);
}

void peers_leave(struct peers *p, struct place *at)
{
	struct peer *peer = at->peer;

	peers_set_client(p, at, true);
	if (--peer->count == 0) {
		*find(p, peer->owner) = peer->next;
		peer->next = p->free;
		p->free = peer;
	}
	at->peer = NULL;
}

struct place *peers_victim(const struct peers *p, const struct sockaddr *address, int64_t now)
{
	uint8_t owner[PEERS_OWNER];
	struct place *victim = NULL, *at = p->oldest;

	peers_owner(owner, address);
	const struct peer *own = *find(p, owner);
	const unsigned others = own ? own->others : 0;
	for (int i = 0; at && i < PEERS_LOOKED_AT; i++, at = at->newer) {
		const struct peer *peer = at->peer;
		const bool may = at->came < now ? peer == own || peer->others > others
		                                : peer->others > others + 1;

		if (may && (!victim || peer->others > victim->peer->others ||
		            (peer->others == victim->peer->others && victim->spoke && !at->spoke)))
			victim = at;
	}
	return victim;
}
