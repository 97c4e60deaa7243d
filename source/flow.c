#include "source/flow.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	QUIC_V1 = 1,
	QUIC_V2 = 0x6b3343cf,
	PARKED = 0x88b5,        /* EtherType for local experiments (IEEE 802): none is on the wire */

	/* the program's stack, by offsets from its frame pointer */
	KEY = -24,
	REMOTE = KEY + (int)offsetof(struct flow_key, remote),
	REMOTE_PORT = KEY + (int)offsetof(struct flow_key, remote_port),
	LOCAL_PORT = KEY + (int)offsetof(struct flow_key, local_port),
	INTERFACE = KEY + (int)offsetof(struct flow_key, interface),
	VALUE = KEY - (int)sizeof(struct flow_value),
	BYTES = VALUE + (int)offsetof(struct flow_value, bytes),
	PACKETS = VALUE + (int)offsetof(struct flow_value, packets),
	INITIALS = VALUE + (int)offsetof(struct flow_value, initial),
	FIRST = VALUE + (int)offsetof(struct flow_value, first),
	LAST = VALUE + (int)offsetof(struct flow_value, last),
	ALL_SEEN = VALUE + (int)offsetof(struct flow_value, seen),
	LOCAL = VALUE + (int)offsetof(struct flow_value, local),
	SEEN = VALUE - 8,       /* of this datagram */
	HEADERS = VALUE - 16,   /* bytes of its IP and UDP headers */
	COUNTER = VALUE - 20,   /* key of the map of one counter */
};

_Static_assert(sizeof(struct flow_key) == 24, "the program fills all of it");
_Static_assert(sizeof(struct flow_value) == 88, "the program clears all of it");

/* Instructions of eBPF. w: a size, BPF_B, BPF_H, BPF_W or BPF_DW. A jump names a label; a label is an
 * instruction that does nothing. link_program replaces the label's name by the distance to it. */
#define INSN(c, d, s, o, i) \
	{.code = (c), .dst_reg = (d), .src_reg = (s), .off = (int16_t)(o), .imm = (int32_t)(i)}
#define MOVE(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define SET(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define DO(op, d, i) INSN(BPF_ALU64 | (op) | BPF_K, d, 0, 0, i)
#define DO_R(op, d, s) INSN(BPF_ALU64 | (op) | BPF_X, d, s, 0, 0)
#define LOAD(w, d, s, o) INSN(BPF_LDX | (w) | BPF_MEM, d, s, o, 0)
#define STORE(w, d, o, s) INSN(BPF_STX | (w) | BPF_MEM, d, s, o, 0)
#define STORE_K(w, d, o, i) INSN(BPF_ST | (w) | BPF_MEM, d, 0, o, i)
#define COUNT(d, o, s) INSN(BPF_STX | BPF_DW | BPF_XADD, d, s, o, 0)
#define PACKET(w, o) INSN(BPF_LD | BPF_ABS | (w), 0, 0, 0, o)        /* R0 = packet[o] */
#define PACKET_R(w, r, o) INSN(BPF_LD | BPF_IND | (w), 0, r, 0, o)   /* R0 = packet[r + o] */
#define CALL(f) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, f)
#define MAP(d, map) INSN(BPF_LD | BPF_DW | BPF_IMM, d, BPF_PSEUDO_MAP_FD, 0, map), INSN(0, 0, 0, 0, 0)
#define JUMP(to) INSN(BPF_JMP | BPF_JA, 0, 0, to, 0)
#define IF(op, d, i, to) INSN(BPF_JMP | (op) | BPF_K, d, 0, to, i)
#define LABEL(l) INSN(BPF_JMP | BPF_JA, 0, 0, 0, l)
#define POINTER(d, o) MOVE(d, FP), DO(BPF_ADD, d, o)                 /* to the stack */

/* Copies the packet's source address (flip ^ R7 = 0) or destination (1) to the stack. */
#define ADDRESS(flip, at, len, to) \
	MOVE(R1, R6), MOVE(R2, R7), DO(BPF_XOR, R2, flip), DO(BPF_MUL, R2, len), \
	DO(BPF_ADD, R2, at), POINTER(R3, to), SET(R4, len), CALL(BPF_FUNC_skb_load_bytes)
#define REMOTE_END 0   /* source of what comes in */
#define LOCAL_END 1

/* Adds R9 bytes and R1 packets to R0, the flow's value, and notes the first Initial if R2 is not 0.
 * way: 0 in, 1 out, a constant, since the kernel lets only programs with CAP_PERFMON add anything but a
 * constant to a pointer. */
#define ADD_UP(way) \
	COUNT(R0, offsetof(struct flow_value, bytes[way]), R9), \
	COUNT(R0, offsetof(struct flow_value, packets[way]), R1), IF(BPF_JEQ, R2, 0, END), \
	LOAD(BPF_DW, R1, R0, offsetof(struct flow_value, initial[way])), IF(BPF_JNE, R1, 0, END), \
	STORE(BPF_DW, R0, offsetof(struct flow_value, initial[way]), R8)

/* ::ffff:0:0/96 (RFC 4291, 2.5.5.2) */
#define MAPPED(to) \
	STORE_K(BPF_DW, FP, to, 0), STORE_K(BPF_H, FP, (to) + 8, 0), \
	STORE_K(BPF_H, FP, (to) + 10, 0xffff)

enum { R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, FP };

enum map { FLOWS, CREATED, MAPS };

enum label {
	NOWHERE, WAY_KNOWN, IPV4, UDP, LONG, LONG_V2, SHORT, OTHER, CLASSIFIED, MADE, KNOWN, GOES_ON,
	SEGMENTED, GOES_OUT, END, LABELS,
};

/* bpf(2) with attr up to and with its member last. The kernel refuses bytes beyond those that a command
 * uses, unless they are 0; an initializer of a union need not clear them, so they are not passed. */
#define BPF(command, attr, last) \
	((int)syscall(SYS_bpf, command, &(attr), \
	              offsetof(union bpf_attr, last) + sizeof((union bpf_attr *)0)->last))

static uint64_t pointer(const void *p)
{
	return (uintptr_t)p;
}

/* The program, which counts a packet in the maps. It always returns 0, so that the socket gets nothing;
 * the kernel also ends it with 0 when it reads beyond the packet's end.
 * Registers: R6 the packet, R7 0 when it comes in and 1 when it goes out, R8 where its UDP
 * header begins and later the time, R9 its length. */
static const struct bpf_insn instructions[] = {
	MOVE(R6, R1),

	/* Which way does the packet go? One to another host is not this machine's. Neither is one that
	 * goes out after it came in by some interface: this machine forwards it. */
	LOAD(BPF_W, R0, R6, offsetof(struct __sk_buff, pkt_type)),
	SET(R7, 0),
	IF(BPF_JLT, R0, PACKET_OTHERHOST, WAY_KNOWN),
	SET(R7, 1),
	IF(BPF_JNE, R0, PACKET_OUTGOING, END),
	LOAD(BPF_W, R0, R6, offsetof(struct __sk_buff, ingress_ifindex)),
	IF(BPF_JNE, R0, 0, END),
	LABEL(WAY_KNOWN),

	PACKET(BPF_B, 0),
	DO(BPF_RSH, R0, 4),
	IF(BPF_JEQ, R0, 4, IPV4),
	IF(BPF_JNE, R0, 6, END),

	/* RFC 8200, section 3: next header, payload length, addresses */
	PACKET(BPF_B, 6),
	IF(BPF_JNE, R0, IPPROTO_UDP, END),
	PACKET(BPF_H, 4),
	MOVE(R9, R0),
	DO(BPF_ADD, R9, 40),
	SET(R8, 40),
	ADDRESS(REMOTE_END, 8, 16, REMOTE),
	ADDRESS(LOCAL_END, 8, 16, LOCAL),
	JUMP(UDP),

	/* RFC 791, section 3.1: protocol, fragment offset (only the first fragment has
	 * ports), total length, header length, addresses */
	LABEL(IPV4),
	PACKET(BPF_B, 9),
	IF(BPF_JNE, R0, IPPROTO_UDP, END),
	PACKET(BPF_H, 6),
	DO(BPF_AND, R0, 0x1fff),
	IF(BPF_JNE, R0, 0, END),
	PACKET(BPF_H, 2),
	MOVE(R9, R0),
	PACKET(BPF_B, 0),
	DO(BPF_AND, R0, 15),
	DO(BPF_LSH, R0, 2),
	MOVE(R8, R0),
	MAPPED(REMOTE),
	MAPPED(LOCAL),
	ADDRESS(REMOTE_END, 12, 4, REMOTE + 12),
	ADDRESS(LOCAL_END, 12, 4, LOCAL + 12),

	/* RFC 768: ports; the remote one is the source of what comes in */
	LABEL(UDP),
	MOVE(R2, R7),
	DO(BPF_MUL, R2, 2),
	DO_R(BPF_ADD, R2, R8),
	PACKET_R(BPF_H, R2, 0),
	STORE(BPF_H, FP, REMOTE_PORT, R0),
	MOVE(R2, R7),
	DO(BPF_XOR, R2, 1),
	DO(BPF_MUL, R2, 2),
	DO_R(BPF_ADD, R2, R8),
	PACKET_R(BPF_H, R2, 0),
	STORE(BPF_H, FP, LOCAL_PORT, R0),
	LOAD(BPF_W, R0, R6, offsetof(struct __sk_buff, ifindex)),
	STORE(BPF_W, FP, INTERFACE, R0),
	MOVE(R0, R8),
	DO(BPF_ADD, R0, 8),
	STORE(BPF_DW, FP, HEADERS, R0),

	/* QUIC or not? A datagram too short for a long header's version is OTHER. */
	PACKET_R(BPF_H, R8, 4),
	IF(BPF_JLT, R0, 8 + 5, OTHER),
	PACKET_R(BPF_B, R8, 8),
	STORE(BPF_DW, FP, SEEN, R0),
	DO(BPF_AND, R0, 0xc0),
	IF(BPF_JGE, R0, 0x80, LONG),   /* whatever the fixed bit is: RFC 9287 lets it be cleared */
	IF(BPF_JEQ, R0, 0x40, SHORT),
	LABEL(OTHER),
	STORE_K(BPF_DW, FP, SEEN, FLOW_OTHER),
	JUMP(CLASSIFIED),
	LABEL(SHORT),
	STORE_K(BPF_DW, FP, SEEN, FLOW_SHORT),
	JUMP(CLASSIFIED),
	/* RFC 9000, 17.2: bits 4 and 5 are the type, 0 an Initial; in version 2 that is 1 */
	LABEL(LONG),
	PACKET_R(BPF_W, R8, 9),
	LOAD(BPF_DW, R1, FP, SEEN),
	DO(BPF_AND, R1, 0x30),
	IF(BPF_JEQ, R0, QUIC_V2, LONG_V2),
	IF(BPF_JNE, R0, QUIC_V1, OTHER),
	STORE_K(BPF_DW, FP, SEEN, FLOW_QUIC_V1),
	IF(BPF_JNE, R1, 0x00, CLASSIFIED),
	STORE_K(BPF_DW, FP, SEEN, FLOW_QUIC_V1 | FLOW_INITIAL),
	JUMP(CLASSIFIED),
	LABEL(LONG_V2),
	STORE_K(BPF_DW, FP, SEEN, FLOW_QUIC_V2),
	IF(BPF_JNE, R1, 0x10, CLASSIFIED),
	STORE_K(BPF_DW, FP, SEEN, FLOW_QUIC_V2 | FLOW_INITIAL),
	LABEL(CLASSIFIED),

	CALL(BPF_FUNC_ktime_get_ns),
	MOVE(R8, R0),
	MAP(R1, FLOWS),
	POINTER(R2, KEY),
	CALL(BPF_FUNC_map_lookup_elem),
	IF(BPF_JNE, R0, 0, KNOWN),

	/* A new flow: all zero but the times and the local address, which is there already */
	STORE_K(BPF_DW, FP, BYTES, 0),
	STORE_K(BPF_DW, FP, BYTES + 8, 0),
	STORE_K(BPF_DW, FP, PACKETS, 0),
	STORE_K(BPF_DW, FP, PACKETS + 8, 0),
	STORE_K(BPF_DW, FP, INITIALS, 0),
	STORE_K(BPF_DW, FP, INITIALS + 8, 0),
	STORE(BPF_DW, FP, FIRST, R8),
	STORE(BPF_DW, FP, LAST, R8),
	STORE_K(BPF_DW, FP, ALL_SEEN, 0),
	MAP(R1, FLOWS),
	POINTER(R2, KEY),
	POINTER(R3, VALUE),
	SET(R4, BPF_NOEXIST),
	CALL(BPF_FUNC_map_update_elem),
	IF(BPF_JNE, R0, 0, MADE),   /* by another CPU, a moment ago */
	STORE_K(BPF_W, FP, COUNTER, 0),
	MAP(R1, CREATED),
	POINTER(R2, COUNTER),
	CALL(BPF_FUNC_map_lookup_elem),
	IF(BPF_JEQ, R0, 0, END),
	SET(R1, 1),
	COUNT(R0, 0, R1),
	LABEL(MADE),
	MAP(R1, FLOWS),
	POINTER(R2, KEY),
	CALL(BPF_FUNC_map_lookup_elem),
	IF(BPF_JEQ, R0, 0, END),

	/* R0 is the flow's value. After a silence the datagram begins another connection of the same
	 * ends. The last datagram, counted by another CPU, may be a little later than this one, so
	 * the silence is computed with its sign. */
	LABEL(KNOWN),
	LOAD(BPF_DW, R1, R0, offsetof(struct flow_value, last)),
	MOVE(R2, R8),
	DO_R(BPF_SUB, R2, R1),
	DO(BPF_ARSH, R2, 30),
	IF(BPF_JSLT, R2, FLOW_SILENCE, GOES_ON),
	STORE(BPF_DW, R0, offsetof(struct flow_value, first), R8),
	STORE_K(BPF_DW, R0, offsetof(struct flow_value, initial), 0),
	STORE_K(BPF_DW, R0, offsetof(struct flow_value, initial) + 8, 0),
	LABEL(GOES_ON),

	/* What the kernel handles as one packet was or will be gso_segs of them on the wire,
	 * each with headers of its own. */
	LOAD(BPF_W, R1, R6, offsetof(struct __sk_buff, gso_segs)),
	IF(BPF_JGT, R1, 0, SEGMENTED),
	SET(R1, 1),
	LABEL(SEGMENTED),
	MOVE(R2, R1),
	DO(BPF_SUB, R2, 1),
	LOAD(BPF_DW, R3, FP, HEADERS),
	DO_R(BPF_MUL, R2, R3),
	DO_R(BPF_ADD, R9, R2),
	STORE(BPF_DW, R0, offsetof(struct flow_value, last), R8),
	LOAD(BPF_DW, R2, FP, SEEN),
	LOAD(BPF_DW, R3, R0, offsetof(struct flow_value, seen)),
	DO_R(BPF_OR, R3, R2),
	STORE(BPF_DW, R0, offsetof(struct flow_value, seen), R3),
	DO(BPF_AND, R2, FLOW_INITIAL),
	IF(BPF_JNE, R7, 0, GOES_OUT),
	ADD_UP(0),
	JUMP(END),
	LABEL(GOES_OUT),
	ADD_UP(1),
	LABEL(END),
	SET(R0, 0),
	INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
};

/* Puts in the descriptors of the maps, and distances for the labels that jumps name. */
static void link_program(struct bpf_insn *linked, size_t n, const int maps[MAPS])
{
	size_t at[LABELS] = {0};

	for (size_t i = 0; i < n; i++) {
		if (linked[i].code == (BPF_LD | BPF_DW | BPF_IMM)) {
			linked[i].imm = maps[linked[i].imm];
		} else if (linked[i].code == (BPF_JMP | BPF_JA) && linked[i].off == NOWHERE) {
			at[linked[i].imm] = i;
			linked[i].imm = 0;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (BPF_CLASS(linked[i].code) == BPF_JMP && linked[i].off != NOWHERE)
			linked[i].off = (int16_t)(at[linked[i].off] - i - 1);
}

static int load_program(int map, int created)
{
	struct bpf_insn linked[sizeof instructions / sizeof *instructions];
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insn_cnt = sizeof instructions / sizeof *instructions,
		.insns = pointer(linked),
		.license = pointer("Dual MIT/GPL"),
	};

	memcpy(linked, instructions, sizeof linked);
	link_program(linked, attr.insn_cnt, (const int[MAPS]){[FLOWS] = map, [CREATED] = created});
	return BPF(BPF_PROG_LOAD, attr, license);
}

/* Makes a map of eBPF. Returns its descriptor, or -1 with errno. */
static int make_map(enum bpf_map_type type, size_t key, size_t value, unsigned entries)
{
	union bpf_attr attr = {
		.map_type = type,
		.key_size = (uint32_t)key,
		.value_size = (uint32_t)value,
		.max_entries = entries,
	};

	return BPF(BPF_MAP_CREATE, attr, max_entries);
}

const char *flow_open(struct flow *f)
{
	const char *wrong = NULL;
	int program = -1;

	f->lost = 0;
	f->socket = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	f->map = make_map(BPF_MAP_TYPE_LRU_HASH, sizeof(struct flow_key), sizeof(struct flow_value),
	                  FLOWS_MAX);
	f->created = make_map(BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(uint64_t), 1);
	if (f->socket < 0)
		wrong = "packet socket";
	else if (f->map < 0 || f->created < 0)
		wrong = "eBPF map";
	else if ((program = load_program(f->map, f->created)) < 0)
		wrong = "eBPF program";
	else if (setsockopt(f->socket, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program) != 0)
		wrong = "eBPF filter";
	const int error = errno;
	if (program >= 0)
		close(program);
	if (wrong)
		flow_close(f);
	errno = error;
	return wrong;
}

void flow_close(struct flow *f)
{
	if (f->socket >= 0)
		close(f->socket);
	if (f->map >= 0)
		close(f->map);
	if (f->created >= 0)
		close(f->created);
	f->socket = f->map = f->created = -1;
}

int flow_count(struct flow *f, bool on)
{
	const struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(on ? ETH_P_ALL : PARKED),
	};

	return bind(f->socket, (const struct sockaddr *)&address, sizeof address);
}

/* Sets f->lost. The program counts the flows that it makes; those of them that the kernel does not have
 * any more it forgot to make room. present: flows that it has. 0, or -1 with errno. */
static int count_lost(struct flow *f, size_t present)
{
	const uint32_t key = 0;
	uint64_t created = 0;
	union bpf_attr attr = {
		.map_fd = (uint32_t)f->created,
		.key = pointer(&key),
		.value = pointer(&created),
	};

	if (BPF(BPF_MAP_LOOKUP_ELEM, attr, value) != 0)
		return -1;
	if (created > present && created - present > f->lost)
		f->lost = created - present;
	return 0;
}

int flow_read(struct flow *f,
              void (*each)(void *arg, const struct flow_key *keys, const struct flow_value *values,
                           size_t n),
              void *arg)
{
	uint32_t cursor[2] = {0};   /* where a batch ended and where the next one ends, in turns */
	size_t present = 0;

	/* More batches than the map has flows would mean that the kernel goes in circles. */
	for (int i = 0; i < FLOWS_MAX; i++) {
		union bpf_attr attr = {.batch = {
			.in_batch = i > 0 ? pointer(&cursor[i % 2]) : 0,
			.out_batch = pointer(&cursor[(i + 1) % 2]),
			.keys = pointer(f->keys),
			.values = pointer(f->values),
			.count = FLOW_BATCH,
			.map_fd = (uint32_t)f->map,
		}};
		const bool more = BPF(BPF_MAP_LOOKUP_BATCH, attr, batch) == 0;

		if (!more && errno != ENOENT)
			return -1;
		each(arg, f->keys, f->values, attr.batch.count < FLOW_BATCH ? attr.batch.count : FLOW_BATCH);
		present += attr.batch.count;
		if (!more)
			return count_lost(f, present);
	}
	errno = ELOOP;
	return -1;
}
