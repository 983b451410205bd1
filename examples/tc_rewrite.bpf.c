// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * A tc classifier that rewrites what it forwards, as a small router with a virtual server does:
 *
 *   - a VLAN tag is taken off, and frames that had one leave with the tag of the other side;
 *   - the TTL or hop limit goes down by one, an expired packet is dropped;
 *   - a service's virtual address and port become the real server's, and back for its answers;
 *   - the DSCP says how urgent the service is.
 *
 * Each change mends the checksums it touches from the difference alone, so that a checksum that was
 * wrong stays wrong. Later fragments have no ports; they keep their addresses.
 *
 *   mimic run examples/tc_rewrite.bpf.o --pcap examples/traffic.pcap --out rewritten
 */
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IP_OFFSET	 0x1fff
#define DSCP_SHIFT	 2
#define DSCP_EXPEDITED	 46
#define DSCP_BEST_EFFORT 0
#define DSCP_BULK	 8
#define IPV4(a, b, c, d) bpf_htonl((a) << 24 | (b) << 16 | (c) << 8 | (d))

struct service {
	__u8 l4;
	__u8 dscp;
	__u16 virtual_port;
	__u16 real_port;
	__be32 virtual_addr; /* 0: any, the address stays */
	__be32 real_addr;
};

static const struct service services[] = {
	{ IPPROTO_TCP, DSCP_BULK, 8080, 80, IPV4(192, 0, 2, 2), IPV4(10, 0, 0, 80) },
	{ IPPROTO_UDP, DSCP_EXPEDITED, 53, 5353, 0, 0 },
	{ IPPROTO_TCP, DSCP_EXPEDITED, 53, 5353, 0, 0 },
	{ IPPROTO_UDP, DSCP_BULK, 5201, 5201, 0, 0 },
};

const volatile __u16 vlan_out = 300;

struct totals {
	__u64 ipv4;
	__u64 ipv6;
	__u64 other;
	__u64 expired;
	__u64 translated_in;
	__u64 translated_out;
	__u64 tags_swapped;
	__u64 errors;
} totals;

#define add(field) __sync_fetch_and_add(&totals.field, 1)

enum direction {
	NEITHER,
	TO_SERVER,
	FROM_SERVER,
};

struct l4 {
	__u32 off;
	__u32 check_off;
	__u64 check_flags; /* UDP: no checksum stays no checksum */
	__be16 source;
	__be16 dest;
};

/* Reads the ports at OFF. Returns 0, or -1 when the protocol has none or the packet ends. */
static __always_inline int read_ports(struct __sk_buff *skb, __u8 protocol, __u32 off, struct l4 *l4)
{
	__be16 ports[2];

	l4->off = off;
	if (protocol == IPPROTO_TCP) {
		l4->check_off = off + offsetof(struct tcphdr, check);
		l4->check_flags = 0;
	} else if (protocol == IPPROTO_UDP) {
		l4->check_off = off + offsetof(struct udphdr, check);
		l4->check_flags = BPF_F_MARK_MANGLED_0;
	} else {
		return -1;
	}
	if (bpf_skb_load_bytes(skb, off, ports, sizeof(ports)))
		return -1;
	l4->source = ports[0];
	l4->dest = ports[1];
	return 0;
}

static __always_inline enum direction match(const struct service *service, __u8 protocol, const struct l4 *l4,
					    __be32 saddr, __be32 daddr)
{
	if (service->l4 != protocol)
		return NEITHER;
	if (l4->dest == bpf_htons(service->virtual_port) &&
	    (!service->virtual_addr || service->virtual_addr == daddr))
		return TO_SERVER;
	if (l4->source == bpf_htons(service->real_port) && (!service->real_addr || service->real_addr == saddr))
		return FROM_SERVER;
	return NEITHER;
}

static __always_inline long replace_port(struct __sk_buff *skb, const struct l4 *l4, __u32 off, __be16 from, __be16 to)
{
	if (from == to)
		return 0;
	return bpf_l4_csum_replace(skb, l4->check_off, from, to, l4->check_flags | sizeof(to)) ?:
	       bpf_skb_store_bytes(skb, off, &to, sizeof(to), 0);
}

/* An IPv4 address is in two checksums: the header's own, and the pseudo header of TCP and UDP. */
static __always_inline long replace_addr(struct __sk_buff *skb, const struct l4 *l4, __u32 l3_off, __u32 field,
					 __be32 from, __be32 to)
{
	if (from == to)
		return 0;
	return bpf_l4_csum_replace(skb, l4->check_off, from, to, l4->check_flags | BPF_F_PSEUDO_HDR | sizeof(to)) ?:
	       bpf_l3_csum_replace(skb, l3_off + offsetof(struct iphdr, check), from, to, sizeof(to)) ?:
	       bpf_skb_store_bytes(skb, l3_off + field, &to, sizeof(to), 0);
}

static __always_inline long translate_ports(struct __sk_buff *skb, const struct service *service, const struct l4 *l4,
					    enum direction direction)
{
	if (direction == TO_SERVER)
		return replace_port(skb, l4, l4->off + offsetof(struct udphdr, dest), l4->dest,
				    bpf_htons(service->real_port));
	return replace_port(skb, l4, l4->off + offsetof(struct udphdr, source), l4->source,
			    bpf_htons(service->virtual_port));
}

/* Replaces the 16-bit word at OFF of the IPv4 header, whose checksum follows. */
static __always_inline long replace_ipv4_word(struct __sk_buff *skb, __u32 l3_off, __u32 off, __be16 from, __be16 to)
{
	if (from == to)
		return 0;
	return bpf_l3_csum_replace(skb, l3_off + offsetof(struct iphdr, check), from, to, sizeof(to)) ?:
	       bpf_skb_store_bytes(skb, l3_off + off, &to, sizeof(to), 0);
}

static __always_inline long set_ipv4_dscp(struct __sk_buff *skb, __u32 l3_off, const struct iphdr *ip, __u8 dscp)
{
	__be16 from = bpf_htons((ip->version << 4 | ip->ihl) << 8 | ip->tos);
	__be16 to = bpf_htons((ip->version << 4 | ip->ihl) << 8 | (ip->tos & 3) | dscp << DSCP_SHIFT);

	return replace_ipv4_word(skb, l3_off, 0, from, to);
}

static __always_inline long rewrite_ipv4(struct __sk_buff *skb, __u32 l3_off)
{
	struct iphdr ip;
	struct l4 l4;
	long err;

	if (bpf_skb_load_bytes(skb, l3_off, &ip, sizeof(ip)))
		return -1;
	if (ip.ttl <= 1)
		return 1;
	err = replace_ipv4_word(skb, l3_off, offsetof(struct iphdr, ttl), bpf_htons(ip.ttl << 8 | ip.protocol),
				bpf_htons((ip.ttl - 1) << 8 | ip.protocol));
	if (err || (ip.frag_off & bpf_htons(IP_OFFSET)) || read_ports(skb, ip.protocol, l3_off + ip.ihl * 4, &l4))
		return err;

	for (int i = 0; i < (int)(sizeof(services) / sizeof(services[0])); i++) {
		const struct service *service = &services[i];
		enum direction direction = match(service, ip.protocol, &l4, ip.saddr, ip.daddr);

		if (direction == NEITHER)
			continue;
		if (direction == TO_SERVER) {
			add(translated_in);
			if (service->virtual_addr)
				err = replace_addr(skb, &l4, l3_off, offsetof(struct iphdr, daddr), ip.daddr,
						   service->real_addr);
		} else {
			add(translated_out);
			if (service->virtual_addr)
				err = replace_addr(skb, &l4, l3_off, offsetof(struct iphdr, saddr), ip.saddr,
						   service->virtual_addr);
		}
		return err ?: translate_ports(skb, service, &l4, direction) ?:
			      set_ipv4_dscp(skb, l3_off, &ip, service->dscp);
	}
	return 0;
}

/* IPv6 has no header checksum; services with addresses are IPv4's, the others are for both. */
static __always_inline long rewrite_ipv6(struct __sk_buff *skb, __u32 l3_off)
{
	struct ipv6hdr ip;
	struct l4 l4;
	__u8 hop_limit;

	if (bpf_skb_load_bytes(skb, l3_off, &ip, sizeof(ip)))
		return -1;
	if (ip.hop_limit <= 1)
		return 1;
	hop_limit = ip.hop_limit - 1;
	if (bpf_skb_store_bytes(skb, l3_off + offsetof(struct ipv6hdr, hop_limit), &hop_limit, 1, 0))
		return -1;
	if (read_ports(skb, ip.nexthdr, l3_off + sizeof(ip), &l4))
		return 0;

	for (int i = 0; i < (int)(sizeof(services) / sizeof(services[0])); i++) {
		const struct service *service = &services[i];
		enum direction direction;
		__be16 head;

		if (service->virtual_addr)
			continue;
		direction = match(service, ip.nexthdr, &l4, 0, 0);
		if (direction == NEITHER)
			continue;
		if (direction == TO_SERVER)
			add(translated_in);
		else
			add(translated_out);
		/* Version, traffic class, and the high bits of the flow label share these 16 bits. */
		head = bpf_htons(6 << 12 | service->dscp << (DSCP_SHIFT + 4)) | (*(__be16 *)&ip & bpf_htons(0x3f));
		return translate_ports(skb, service, &l4, direction) ?:
		       bpf_skb_store_bytes(skb, l3_off, &head, sizeof(head), 0);
	}
	return 0;
}

SEC("tc")
int rewrite(struct __sk_buff *skb)
{
	__be16 protocol = skb->protocol;
	_Bool tagged = protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD) || skb->vlan_present;
	long ret;

	if (tagged) {
		if (bpf_skb_vlan_pop(skb)) {
			add(errors);
			return TC_ACT_SHOT;
		}
		protocol = skb->protocol;
	}
	switch (protocol) {
	case bpf_htons(ETH_P_IP):
		add(ipv4);
		ret = rewrite_ipv4(skb, ETH_HLEN);
		break;
	case bpf_htons(ETH_P_IPV6):
		add(ipv6);
		ret = rewrite_ipv6(skb, ETH_HLEN);
		break;
	default:
		add(other);
		ret = 0;
	}
	if (ret > 0) {
		add(expired);
		return TC_ACT_SHOT;
	}
	if (!ret && tagged) {
		add(tags_swapped);
		ret = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), vlan_out);
	}
	if (ret) {
		add(errors);
		return TC_ACT_SHOT;
	}
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
