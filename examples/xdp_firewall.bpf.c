// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * An XDP firewall.
 *
 * A packet is taken apart (up to two VLAN tags, IPv4 options and fragments, IPv6 extension headers)
 * and then judged, first match wins:
 *
 *   1. malformed: headers that end early or lie about their lengths, tiny fragments, source routes;
 *   2. block lists: longest-prefix match on the source address (maps block_v4 and block_v6, filled
 *      from outside; an entry with action BLOCK_ALLOW punches a hole in a larger block);
 *   3. learnt: a source that sent more SYNs or echo requests per second than allowed is blocked for
 *      a while (maps sources and blocked, filled by the program itself);
 *   4. ports: a fixed policy in .rodata; a rejected TCP port answers the SYN with RST (XDP_TX).
 *
 * Every verdict and protocol is counted per CPU, every drop goes to the ring buffer `events`.
 *
 *   mimic run examples/xdp_firewall.bpf.o --pcap examples/traffic.pcap
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NSEC_PER_SEC	 1000000000ULL
#define ICMP_ECHO	 8
#define ICMPV6_ECHO_REQUEST 128
#define IP_MF		 0x2000
#define IP_OFFSET	 0x1fff
#define IP6_MORE	 0x0001
#define IP6_OFFSET	 0xfff8
#define MAX_VLAN_TAGS	 2
#define MAX_IPV4_OPTIONS 40
#define MAX_IPV6_HEADERS 6
#define SIZE_SLOTS	 16

#define __unused __attribute__((unused))

/* What was decided and why: the key of `verdicts`, and part of an event. */
enum verdict {
	PASS_ALLOWED,
	PASS_NOT_IP,
	DROP_MALFORMED,
	DROP_TINY_FRAGMENT,
	DROP_SOURCE_ROUTE,
	DROP_BLOCK_LIST,
	DROP_SYN_RATE,
	DROP_ECHO_RATE,
	DROP_PORT,
	REJECT_PORT,
	ABORT_INTERNAL,
	VERDICTS,
};

enum block_action {
	BLOCK_DROP,
	BLOCK_ALLOW,
};

enum port_action {
	PORT_DROP = 1,
	PORT_REJECT,
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

enum network {
	NET_OTHER,
	NET_ARP,
	NET_IPV4,
	NET_IPV6,
};

struct protocol {
	enum network network;
	__u16 l4;   /* IPPROTO_*, 0 when not IP */
	__u16 tags; /* of VLANs */
};

/* An IPv6 address, or an IPv4 address mapped into one. */
struct address {
	__u8 bytes[16];
} __attribute__((aligned(4)));

struct prefix_v4 {
	__u32 prefixlen;
	__u8 addr[4];
};

struct prefix_v6 {
	__u32 prefixlen;
	struct address addr;
};

struct block {
	enum block_action action;
	__u32 hits;
};

struct source {
	__u64 window_start_ns;
	__u32 syns;
	__u32 echo_requests;
};

struct sentence {
	__u64 until_ns;
	enum verdict reason;
	__u32 packets;
};

struct event {
	__u64 time_ns;
	struct address saddr;
	struct address daddr;
	__u16 sport;
	__u16 dport;
	__u16 vlan_id;
	__u16 len;
	enum verdict verdict;
	struct protocol protocol;
	__u8 cpu;
};

/* Keeps the type of the ring buffer's records in the object's BTF. */
const struct event *event_type __unused;

struct port_rule {
	__u16 port;
	__u8 l4;
	enum port_action action;
};

static const struct port_rule port_rules[] = {
	{ 23, IPPROTO_TCP, PORT_REJECT },    /* telnet */
	{ 135, IPPROTO_TCP, PORT_DROP },     /* msrpc */
	{ 445, IPPROTO_TCP, PORT_DROP },     /* smb */
	{ 3389, IPPROTO_TCP, PORT_REJECT },  /* rdp */
	{ 1900, IPPROTO_UDP, PORT_DROP },    /* ssdp */
	{ 11211, IPPROTO_UDP, PORT_DROP },   /* memcached */
	{ 11211, IPPROTO_TCP, PORT_REJECT },
};

/* Settings a loader may change before loading. */
const volatile __u32 syn_limit = 30;	     /* a second and source */
const volatile __u32 echo_limit = 40;	     /* a second and source */
const volatile __u64 block_ns = 10 * NSEC_PER_SEC;
const volatile _Bool answer_rejected = 1;

__u64 events_lost;
__u64 sources_blocked;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct prefix_v4);
	__type(value, struct block);
} block_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct prefix_v6);
	__type(value, struct block);
} block_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct address);
	__type(value, struct source);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct address);
	__type(value, struct sentence);
} blocked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, VERDICTS);
	__type(key, enum verdict);
	__type(value, struct counter);
} verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 256);
	__type(key, struct protocol);
	__type(value, struct counter);
} protocols SEC(".maps");

/* Frames by size: slot n counts those of 2^n to 2^(n+1)-1 bytes. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SIZE_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} frame_sizes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} events SEC(".maps");

struct vlan_tag {
	__be16 tci;
	__be16 ethertype;
};

/* What the parser learnt of a packet. Offsets count from the first byte. */
struct packet {
	struct address saddr;
	struct address daddr;
	__u16 l3_off;
	__u16 l4_off;
	__u16 vlan_id;
	__u16 sport;
	__u16 dport;
	struct protocol protocol;
	_Bool later_fragment; /* without its first bytes: no ports to see */
	_Bool first_fragment;
	_Bool syn;
	_Bool echo_request;
};

/* LEN bytes at OFF of the packet, or NULL when it ends before. */
static __always_inline void *packet_at(struct xdp_md *ctx, __u32 off, __u32 len)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *at = (void *)(long)ctx->data;

	/* The verifier follows offsets below 64 KiB only, and the pointer that is checked must be the one used. */
	barrier_var(off);
	at += off & 0x7fff;
	barrier_var(at);
	return at + len > data_end ? NULL : at;
}

static __always_inline void map_v4(struct address *to, const __be32 *addr)
{
	__builtin_memset(to->bytes, 0, 10);
	__builtin_memset(to->bytes + 10, 0xff, 2);
	__builtin_memcpy(to->bytes + 12, addr, sizeof(*addr));
}

/* Loose and strict source routes are not for strangers to choose (RFC 7126). */
static __always_inline enum verdict check_ipv4_options(struct xdp_md *ctx, __u16 off, __u16 end)
{
	for (int i = 0; i < MAX_IPV4_OPTIONS && off < end; i++) {
		__u8 *option = packet_at(ctx, off, 1);

		if (!option)
			return DROP_MALFORMED;
		if (*option == IPOPT_END)
			return PASS_ALLOWED;
		if (*option == IPOPT_LSRR || *option == IPOPT_SSRR)
			return DROP_SOURCE_ROUTE;
		if (*option == IPOPT_NOOP) {
			off++;
			continue;
		}
		option = packet_at(ctx, off, 2);
		if (!option || option[1] < 2)
			return DROP_MALFORMED;
		off += option[1];
	}
	return off > end ? DROP_MALFORMED : PASS_ALLOWED;
}

static __always_inline enum verdict parse_ipv4(struct xdp_md *ctx, struct packet *p)
{
	struct iphdr *ip = packet_at(ctx, p->l3_off, sizeof(*ip));
	__u32 header_len, frag;

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return DROP_MALFORMED;
	header_len = ip->ihl * 4;
	if (bpf_ntohs(ip->tot_len) < header_len)
		return DROP_MALFORMED;
	map_v4(&p->saddr, &ip->saddr);
	map_v4(&p->daddr, &ip->daddr);
	p->protocol.l4 = ip->protocol;
	p->l4_off = p->l3_off + header_len;

	frag = bpf_ntohs(ip->frag_off);
	p->later_fragment = (frag & IP_OFFSET) != 0;
	p->first_fragment = !p->later_fragment && (frag & IP_MF);
	/* A second piece at 8 bytes would overwrite the TCP flags that were judged (RFC 1858). */
	if ((frag & IP_OFFSET) == 1 && ip->protocol == IPPROTO_TCP)
		return DROP_TINY_FRAGMENT;

	return check_ipv4_options(ctx, p->l3_off + sizeof(*ip), p->l4_off);
}

static __always_inline enum verdict parse_ipv6(struct xdp_md *ctx, struct packet *p)
{
	struct ipv6hdr *ip = packet_at(ctx, p->l3_off, sizeof(*ip));
	__u16 off = p->l3_off + sizeof(*ip);
	__u8 next;
	int i;

	if (!ip || ip->version != 6)
		return DROP_MALFORMED;
	__builtin_memcpy(&p->saddr, &ip->saddr, sizeof(p->saddr));
	__builtin_memcpy(&p->daddr, &ip->daddr, sizeof(p->daddr));
	next = ip->nexthdr;

	for (i = 0; i < MAX_IPV6_HEADERS; i++) {
		struct {
			__u8 next;
			__u8 len;
			__be16 frag_off;
			__be32 id;
		} *header;

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT && next != IPPROTO_AH)
			break;
		header = packet_at(ctx, off, sizeof(*header));
		if (!header)
			return DROP_MALFORMED;
		/* Routing header type 0 is deprecated for what it allows (RFC 5095). */
		if (next == IPPROTO_ROUTING && (bpf_ntohs(header->frag_off) >> 8) == 0)
			return DROP_SOURCE_ROUTE;
		if (next == IPPROTO_FRAGMENT) {
			__u16 frag = bpf_ntohs(header->frag_off);

			p->later_fragment = (frag & IP6_OFFSET) != 0;
			p->first_fragment = !p->later_fragment && (frag & IP6_MORE);
			off += 8;
		} else if (next == IPPROTO_AH) {
			off += (header->len + 2) * 4;
		} else {
			off += (header->len + 1) * 8;
		}
		next = header->next;
		if (p->later_fragment)
			break;
	}
	if (i == MAX_IPV6_HEADERS)
		return DROP_MALFORMED;
	p->protocol.l4 = next;
	p->l4_off = off;
	return PASS_ALLOWED;
}

static __always_inline enum verdict parse_l4(struct xdp_md *ctx, struct packet *p)
{
	enum verdict too_short = p->first_fragment ? DROP_TINY_FRAGMENT : DROP_MALFORMED;

	if (p->later_fragment)
		return PASS_ALLOWED;

	switch (p->protocol.l4) {
	case IPPROTO_TCP: {
		struct tcphdr *tcp = packet_at(ctx, p->l4_off, sizeof(*tcp));

		if (!tcp || tcp->doff < 5)
			return too_short;
		p->sport = bpf_ntohs(tcp->source);
		p->dport = bpf_ntohs(tcp->dest);
		p->syn = tcp->syn && !tcp->ack;
		return PASS_ALLOWED;
	}
	case IPPROTO_UDP: {
		struct udphdr *udp = packet_at(ctx, p->l4_off, sizeof(*udp));

		if (!udp || bpf_ntohs(udp->len) < sizeof(*udp))
			return too_short;
		p->sport = bpf_ntohs(udp->source);
		p->dport = bpf_ntohs(udp->dest);
		return PASS_ALLOWED;
	}
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: {
		struct {
			__u8 type, code;
			__be16 checksum, id, sequence;
		} *icmp = packet_at(ctx, p->l4_off, sizeof(*icmp));

		if (!icmp)
			return too_short;
		p->echo_request = icmp->type == (p->protocol.l4 == IPPROTO_ICMP ? ICMP_ECHO : ICMPV6_ECHO_REQUEST);
		return PASS_ALLOWED;
	}
	default:
		return PASS_ALLOWED;
	}
}

static __always_inline enum verdict parse(struct xdp_md *ctx, struct packet *p)
{
	struct ethhdr *eth = packet_at(ctx, 0, sizeof(*eth));
	__u32 off = sizeof(*eth);
	enum verdict verdict;
	__be16 ethertype;
	int i;

	if (!eth)
		return DROP_MALFORMED;
	ethertype = eth->h_proto;
	for (i = 0; i < MAX_VLAN_TAGS; i++) {
		struct vlan_tag *tag;

		if (ethertype != bpf_htons(ETH_P_8021Q) && ethertype != bpf_htons(ETH_P_8021AD))
			break;
		tag = packet_at(ctx, off, sizeof(*tag));
		if (!tag)
			return DROP_MALFORMED;
		p->protocol.tags++;
		p->vlan_id = bpf_ntohs(tag->tci) & 0x0fff;
		ethertype = tag->ethertype;
		off += sizeof(*tag);
	}
	p->l3_off = off;

	switch (ethertype) {
	case bpf_htons(ETH_P_IP):
		p->protocol.network = NET_IPV4;
		verdict = parse_ipv4(ctx, p);
		break;
	case bpf_htons(ETH_P_IPV6):
		p->protocol.network = NET_IPV6;
		verdict = parse_ipv6(ctx, p);
		break;
	case bpf_htons(ETH_P_ARP):
		p->protocol.network = NET_ARP;
		return PASS_NOT_IP;
	default:
		return PASS_NOT_IP;
	}
	return verdict == PASS_ALLOWED ? parse_l4(ctx, p) : verdict;
}

static __always_inline enum verdict check_block_lists(struct packet *p)
{
	struct block *block;

	if (p->protocol.network == NET_IPV4) {
		struct prefix_v4 key = { .prefixlen = 32 };

		__builtin_memcpy(key.addr, &p->saddr.bytes[12], sizeof(key.addr));
		block = bpf_map_lookup_elem(&block_v4, &key);
	} else {
		struct prefix_v6 key = { .prefixlen = 128, .addr = p->saddr };

		block = bpf_map_lookup_elem(&block_v6, &key);
	}
	if (!block)
		return PASS_ALLOWED;
	__sync_fetch_and_add(&block->hits, 1);
	return block->action == BLOCK_DROP ? DROP_BLOCK_LIST : PASS_ALLOWED;
}

/* Blocks the source for block_ns. Rare: this is what the trace shows. */
static __noinline void convict(const struct address *saddr, enum verdict reason, __u64 now)
{
	struct sentence sentence = { .until_ns = now + block_ns, .reason = reason };

	if (!saddr || bpf_map_update_elem(&blocked, saddr, &sentence, BPF_ANY))
		return;
	__sync_fetch_and_add(&sources_blocked, 1);
	bpf_printk("firewall: blocked %pI6 for %s", saddr, reason == DROP_SYN_RATE ? "SYN rate" : "echo rate");
}

static __always_inline enum verdict check_rates(struct packet *p)
{
	struct sentence *sentence = bpf_map_lookup_elem(&blocked, &p->saddr);
	__u64 now = bpf_ktime_get_ns();
	struct source *source;

	if (sentence) {
		if (now < sentence->until_ns) {
			__sync_fetch_and_add(&sentence->packets, 1);
			return sentence->reason;
		}
		bpf_map_delete_elem(&blocked, &p->saddr);
	}
	if (!p->syn && !p->echo_request)
		return PASS_ALLOWED;

	source = bpf_map_lookup_elem(&sources, &p->saddr);
	if (!source) {
		struct source fresh = { .window_start_ns = now, .syns = p->syn, .echo_requests = p->echo_request };

		return bpf_map_update_elem(&sources, &p->saddr, &fresh, BPF_ANY) ? ABORT_INTERNAL : PASS_ALLOWED;
	}
	if (now - source->window_start_ns >= NSEC_PER_SEC) {
		source->window_start_ns = now;
		source->syns = 0;
		source->echo_requests = 0;
	}
	source->syns += p->syn;
	source->echo_requests += p->echo_request;
	if (source->syns > syn_limit) {
		convict(&p->saddr, DROP_SYN_RATE, now);
		return DROP_SYN_RATE;
	}
	if (source->echo_requests > echo_limit) {
		convict(&p->saddr, DROP_ECHO_RATE, now);
		return DROP_ECHO_RATE;
	}
	return PASS_ALLOWED;
}

static __always_inline enum verdict check_ports(const struct packet *p)
{
	for (int i = 0; i < (int)(sizeof(port_rules) / sizeof(port_rules[0])); i++) {
		const struct port_rule *rule = &port_rules[i];

		if (rule->port == p->dport && rule->l4 == p->protocol.l4)
			return rule->action == PORT_REJECT ? REJECT_PORT : DROP_PORT;
	}
	return PASS_ALLOWED;
}

static __always_inline void count(void *map, const void *key, __u32 bytes)
{
	struct counter first = { .packets = 1, .bytes = bytes };
	struct counter *counter = bpf_map_lookup_elem(map, key);

	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	} else {
		bpf_map_update_elem(map, key, &first, BPF_NOEXIST);
	}
}

static __always_inline void account(const struct packet *p, enum verdict verdict, __u32 len)
{
	__u32 slot = 0;
	__u64 *frames;

	count(&verdicts, &verdict, len);
	count(&protocols, &p->protocol, len);
	while (slot < SIZE_SLOTS - 1 && len >> (slot + 1))
		slot++;
	frames = bpf_map_lookup_elem(&frame_sizes, &slot);
	if (frames)
		++*frames;
}

static __always_inline void report(const struct packet *p, enum verdict verdict, __u32 len)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		__sync_fetch_and_add(&events_lost, 1);
		return;
	}
	*event = (struct event){
		.time_ns = bpf_ktime_get_ns(),
		.saddr = p->saddr,
		.daddr = p->daddr,
		.sport = p->sport,
		.dport = p->dport,
		.vlan_id = p->vlan_id,
		.len = len,
		.verdict = verdict,
		.protocol = p->protocol,
		.cpu = bpf_get_smp_processor_id(),
	};
	bpf_ringbuf_submit(event, 0);
}

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * Turns the SYN into the RST that the closed port would have sent: addresses and ports swapped, options
 * and payload cut off, lengths and checksums new (RFC 9293, 3.10.7.1). IPv4 without options only; what
 * can't be answered is dropped.
 */
static __always_inline int answer_with_reset(struct xdp_md *ctx, const struct packet *p, __u32 frame_len)
{
	struct {
		__be32 saddr, daddr;
		__u8 zero, l4;
		__be16 len;
	} pseudo = { .l4 = IPPROTO_TCP, .len = bpf_htons(sizeof(struct tcphdr)) };
	__u32 len = p->l3_off + sizeof(struct iphdr) + sizeof(struct tcphdr);
	struct ethhdr *eth;
	struct iphdr *ip;
	struct tcphdr *tcp;
	__u8 mac[ETH_ALEN];
	__be32 saddr, seq;
	__be16 source;
	__s64 sum;

	if (!answer_rejected || !p->syn || p->protocol.network != NET_IPV4 ||
	    p->l4_off != p->l3_off + sizeof(*ip))
		return XDP_DROP;
	if (bpf_xdp_adjust_tail(ctx, (int)len - (int)frame_len))
		return XDP_DROP;
	eth = packet_at(ctx, 0, sizeof(*eth));
	ip = packet_at(ctx, p->l3_off, sizeof(*ip) + sizeof(*tcp));
	if (!eth || !ip)
		return XDP_ABORTED;
	tcp = (void *)(ip + 1);

	__builtin_memcpy(mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);

	saddr = ip->saddr;
	ip->saddr = pseudo.saddr = ip->daddr;
	ip->daddr = pseudo.daddr = saddr;
	ip->tot_len = bpf_htons(sizeof(*ip) + sizeof(*tcp));
	ip->ttl = 64;
	ip->check = 0;
	ip->check = fold(bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));

	source = tcp->source;
	seq = tcp->seq;
	__builtin_memset((void *)tcp, 0, sizeof(*tcp));
	tcp->source = bpf_htons(p->dport);
	tcp->dest = source;
	tcp->ack_seq = bpf_htonl(bpf_ntohl(seq) + 1);
	tcp->doff = sizeof(*tcp) / 4;
	tcp->rst = 1;
	tcp->ack = 1;
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	tcp->check = fold(bpf_csum_diff(NULL, 0, (__be32 *)tcp, sizeof(*tcp), sum));
	return XDP_TX;
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	__u64 len = (void *)(long)ctx->data_end - (void *)(long)ctx->data;
	struct packet p = {};
	enum verdict verdict = parse(ctx, &p);

	if (verdict == PASS_ALLOWED)
		verdict = check_block_lists(&p);
	if (verdict == PASS_ALLOWED)
		verdict = check_rates(&p);
	if (verdict == PASS_ALLOWED)
		verdict = check_ports(&p);

	account(&p, verdict, len);
	switch (verdict) {
	case PASS_ALLOWED:
	case PASS_NOT_IP:
		return XDP_PASS;
	case ABORT_INTERNAL:
		return XDP_ABORTED;
	case REJECT_PORT:
		report(&p, verdict, len);
		return answer_with_reset(ctx, &p, len);
	default:
		report(&p, verdict, len);
		return XDP_DROP;
	}
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
