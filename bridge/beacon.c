/* Consensus clients of Ethereum, by the standard Beacon API (GET /eth/v1/node/...), which all of
 * them have; of a Lighthouse, a Lodestar or a Nimbus, also by what these add to it. */

#include "bridge/bridge.h"

#include <string.h>

enum { IDENTITY_EVERY = 60, TOPICS_MAX = 256 };   /* s; of a node's gossip */

/* Connections by the peer's ID, of which there is one each. */
static json_t *index_peers(const struct round *r)
{
	json_t *index = json_object();

	for (size_t i = 0; i < r->subsystems.n_connections; i++)
		json_object_set_new(index, r->subsystems.connections[i]->peer_id, json_integer((json_int_t)i));
	return index;
}

static Introspection__Connection *find_peer(const struct round *r, const json_t *index, const char *id)
{
	const json_t *at = json_object_get(index, id);

	return at ? r->subsystems.connections[json_integer_value(at)] : NULL;
}

/* Of peers that are disconnected there is no connection. */
static void fill_peers(struct round *r, const json_t *peers)
{
	begin_connections(r, json_array_size(peers));
	for (size_t i = 0; i < json_array_size(peers); i++) {
		const json_t *peer = json_array_get(peers, i);
		char *id = text_at(r, peer, "peer_id"), *address = text_at(r, peer, "last_seen_p2p_address");
		const char *state = text_at(r, peer, "state"), *direction = text_at(r, peer, "direction");

		if (strcmp(state, "disconnected") == 0 || !id[0])
			continue;
		Introspection__Connection *c =
			add_connection(r, take_text("%s %s %s", id, address, direction), address);
		c->peer_id = id;
		c->agent_version = text_at(r, peer, "agent");   /* Nimbus adds it */
		c->role = strcmp(direction, "inbound") == 0 ? INTROSPECTION__ROLE__RESPONDER
		                                            : INTROSPECTION__ROLE__INITIATOR;
		c->status = strcmp(state, "disconnecting") == 0 ? INTROSPECTION__STATUS__CLOSING
		            : strcmp(state, "connecting") == 0  ? INTROSPECTION__STATUS__OPENING
		                                                : INTROSPECTION__STATUS__ACTIVE;
	}
}

static void add_tag(Introspection__Connection *c, char *tag)
{
	char **tags = take_memory((c->n_user_provided_tags + 1) * sizeof *tags);

	if (c->n_user_provided_tags > 0)
		memcpy(tags, c->user_provided_tags, c->n_user_provided_tags * sizeof *tags);
	tags[c->n_user_provided_tags++] = tag;
	c->user_provided_tags = tags;
}

static void add_score(const struct round *r, Introspection__Connection *c, const json_t *object,
                      const char *key, int decimals)
{
	const json_t *score = json_object_get(object, key);

	if (json_is_number(score))
		add_tag(c, take_text("score=%.*f", decimals, json_number_value(score)));
	else if (score && !json_is_null(score))
		node_wrong(r->node, "\"%s\" is not a number", key);
}

/* Lighthouse: agent, score and subnets of each peer. The score of a peer that it trusts is "Max". */
static void fill_lighthouse(struct round *r, const json_t *index)
{
	const json_t *peers = node_ask(r->node, "/lighthouse/peers", GET | OPTIONAL);

	if (peers && !json_is_array(peers))
		node_wrong(r->node, "expected an array");
	for (size_t i = 0; i < json_array_size(peers); i++) {
		const json_t *peer = json_array_get(peers, i), *info = object_at(r, peer, "peer_info");
		const json_t *score = json_object_get(json_object_get(info, "score"), "Real");
		const size_t subnets = json_array_size(array_at(r, info, "subnets"));
		Introspection__Connection *c = find_peer(r, index, text_at(r, peer, "peer_id"));

		if (!c || c->n_user_provided_tags > 0)
			continue;
		c->agent_version = text_at(r, object_at(r, info, "client"), "agent_string");
		add_score(r, c, score, "lighthouse_score", 3);
		add_tag(c, take_text("subnets=%zu", subnets));
	}
}

/* Lodestar, where its --rest.namespace has lodestar: agent and score of each peer, and of later
 * versions since when it is connected. An agent that it does not know yet is "NA". */
static void fill_lodestar(struct round *r, const json_t *index)
{
	const json_t *peers = array_at(r, node_ask(r->node, "/eth/v1/lodestar/peers", GET | OPTIONAL), "data");

	for (size_t i = 0; i < json_array_size(peers); i++) {
		const json_t *peer = json_array_get(peers, i);
		const uint64_t since = number_at(r, peer, "connected_unix_ts_ms");
		Introspection__Connection *c = find_peer(r, index, text_at(r, peer, "peer_id"));

		if (!c)
			continue;
		char *agent = text_at(r, peer, "agent_version");
		if (strcmp(agent, "NA") != 0)
			c->agent_version = agent;
		if (since > 0)
			c->timeline->open_ts = since;
	}
	const json_t *scores = array_at(
		r, node_ask(r->node, "/eth/v1/lodestar/lodestar-peer-score-stats", GET | OPTIONAL), "data");

	for (size_t i = 0; i < json_array_size(scores); i++) {
		const json_t *peer = json_array_get(scores, i);
		Introspection__Connection *c = find_peer(r, index, text_at(r, peer, "peer_id"));

		if (c && c->n_user_provided_tags == 0)
			add_score(r, c, peer, "score", 3);
	}
}

/* Nimbus: agent and score of each peer. */
static void fill_nimbus(struct round *r, const json_t *index)
{
	const json_t *peers =
		array_at(r, node_ask(r->node, "/nimbus/v1/network/peers", GET | OPTIONAL), "peers");

	for (size_t i = 0; i < json_array_size(peers); i++) {
		const json_t *peer = json_array_get(peers, i), *info = object_at(r, peer, "info");
		Introspection__Connection *c = find_peer(r, index, text_at(r, info, "peerId"));

		if (!c || c->n_user_provided_tags > 0)
			continue;
		c->agent_version = text_at(r, info, "agentVersion");
		add_score(r, c, peer, "score", 0);
	}
}

/* Nimbus: who is in which topic, and in its mesh. */
static void fill_gossip(struct round *r)
{
	const json_t *gossip = node_ask(r->node, "/nimbus/v1/debug/gossip/peers", GET | OPTIONAL);
	const json_t *topics = array_at(r, gossip, "gossip_peers"), *meshes = array_at(r, gossip, "mesh_peers");
	const size_t n = json_array_size(topics) < TOPICS_MAX ? json_array_size(topics) : TOPICS_MAX;

	r->state.topics = take_memory((n + 1) * sizeof(void *));
	for (size_t i = 0; i < n; i++) {
		const json_t *topic = json_array_get(topics, i), *mesh = NULL;
		Introspection__Topic *t = r->state.topics[r->state.n_topics++] = NEW(topic, Topic);

		t->name = text_at(r, topic, "topic");
		t->subscribers = (uint32_t)json_array_size(array_at(r, topic, "peers"));
		for (size_t k = 0; k < json_array_size(meshes) && k < TOPICS_MAX && !mesh; k++)
			if (strcmp(text_at(r, json_array_get(meshes, k), "topic"), t->name) == 0)
				mesh = array_at(r, json_array_get(meshes, k), "peers");
		t->mesh_peer_ids = take_memory((json_array_size(mesh) + 1) * sizeof(char *));
		for (size_t k = 0; k < json_array_size(mesh); k++)
			t->mesh_peer_ids[t->n_mesh_peer_ids++] = text_at(r, json_array_get(mesh, k), "peerId");
	}
}

static void fill_identity(struct round *r)
{
	uint64_t age = 0;
	const json_t *answer =
		node_recall(r->node, "/eth/v1/node/identity", GET | OPTIONAL, IDENTITY_EVERY, &age);
	const json_t *identity = object_at(r, answer, "data");

	r->runtime.peer_id = text_at(r, identity, "peer_id");
	add_addresses(r, array_at(r, identity, "p2p_addresses"),
	              INTROSPECTION__OWN_ADDRESS__REACHABILITY__UNKNOWN);
	if (identity)
		add_resource(r, "age-seconds", "addresses", age, IDENTITY_EVERY);
}

/* Lighthouse/v5.3.0-.../x86_64-linux, as RFC 9110 has it for User-Agent. What follows Lodestar's
 * version is a commit, maybe with its branch. */
static void fill_version(struct round *r)
{
	const json_t *answer = node_recall(r->node, "/eth/v1/node/version", GET, IDENTITY_EVERY, NULL);
	const char *version = text_at(r, object_at(r, answer, "data"), "version");
	const size_t name = strcspn(version, "/"), rest = version[name] ? name + 1 : name;
	const size_t number = strcspn(version + rest, "/ "), after = rest + number;

	r->runtime.implementation = take_text("%.*s", (int)name, version);
	r->runtime.version = take_text("%.*s", (int)number, version + rest);
	if (strcmp(r->runtime.implementation, "Lodestar") != 0)
		r->runtime.platform = take_text("%s", version + after + (version[after] ? 1 : 0));
}

/* How many slots it is behind the chain. */
static void fill_syncing(struct round *r)
{
	const json_t *data =
		object_at(r, node_ask(r->node, "/eth/v1/node/syncing", GET | OPTIONAL), "data");

	if (data)
		add_resource(r, "beacon", "sync-distance", number_at(r, data, "sync_distance"), 0);
}

static bool fill(struct round *r)
{
	const json_t *peers = node_ask(r->node, "/eth/v1/node/peers", GET);

	if (!peers)
		return false;
	fill_peers(r, array_at(r, peers, "data"));
	fill_version(r);
	fill_identity(r);
	fill_syncing(r);
	json_t *index = index_peers(r);
	if (strcmp(r->runtime.implementation, "Lighthouse") == 0)
		fill_lighthouse(r, index);
	if (strcmp(r->runtime.implementation, "Lodestar") == 0)
		fill_lodestar(r, index);
	if (strcmp(r->runtime.implementation, "Nimbus") == 0) {
		fill_nimbus(r, index);
		fill_gossip(r);
	}
	json_decref(index);
	return true;
}

const struct kind kind_beacon = {
	.name = "beacon",
	.about = "the Beacon API of Lighthouse, Lodestar, Nimbus, Prysm and Teku",
	.url = "http://127.0.0.1:5052",
	.fill = fill,
};
