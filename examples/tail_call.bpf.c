// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * A dispatcher of tail calls: an entry program looks at the ethertype and jumps into the program
 * for it, which jumps into the one for the protocol. The slots of the program array are filled by
 * its static initialiser; a slot left empty falls through to the entry program's own ending.
 * What one program learns it hands to the next in a per-CPU scratch map.
 *
 *   mimic run examples/tail_call.bpf.o --prog classify --pcap examples/traffic.pcap
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum slot {
	SLOT_VLAN,
	SLOT_IPV4,
	SLOT_IPV6,
	SLOT_TCP,
	SLOT_UDP,
	SLOT_ICMP,
	SLOT_TUNNEL, /* left empty: tunnels are somebody else's business */
	SLOTS,
};

struct scratch {
	__u32 off;	  /* of the header that the next program looks at */
	__u32 tail_calls; /* so far */
	__be16 ethertype;
	__u8 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* Packets that ended in a slot's program; the last one counts those that reached none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS + 1);
	__type(key, __u32);
	__type(value, __u64);
} ended_in SEC(".maps");

int classify_vlan(struct xdp_md *ctx);
int classify_ipv4(struct xdp_md *ctx);
int classify_ipv6(struct xdp_md *ctx);
int count_tcp(struct xdp_md *ctx);
int count_udp(struct xdp_md *ctx);
int count_icmp(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SLOTS);
	__uint(key_size, sizeof(__u32));
	__array(values, int (struct xdp_md *));
} programs SEC(".maps") = {
	.values = {
		[SLOT_VLAN] = (void *)&classify_vlan,
		[SLOT_IPV4] = (void *)&classify_ipv4,
		[SLOT_IPV6] = (void *)&classify_ipv6,
		[SLOT_TCP] = (void *)&count_tcp,
		[SLOT_UDP] = (void *)&count_udp,
		[SLOT_ICMP] = (void *)&count_icmp,
	},
};

static __always_inline struct scratch *this_packet(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

static __always_inline int end_in(__u32 slot)
{
	__u64 *packets = bpf_map_lookup_elem(&ended_in, &slot);

	if (packets)
		__sync_fetch_and_add(packets, 1);
	return XDP_PASS;
}

/* Does not return when the slot is filled. */
static __always_inline void call(struct xdp_md *ctx, struct scratch *packet, __u32 slot)
{
	packet->tail_calls++;
	bpf_tail_call(ctx, &programs, slot);
	packet->tail_calls--;
}

static __always_inline void call_for_ethertype(struct xdp_md *ctx, struct scratch *packet)
{
	switch (packet->ethertype) {
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		call(ctx, packet, SLOT_VLAN);
		break;
	case bpf_htons(ETH_P_IP):
		call(ctx, packet, SLOT_IPV4);
		break;
	case bpf_htons(ETH_P_IPV6):
		call(ctx, packet, SLOT_IPV6);
		break;
	}
}

static __always_inline void call_for_protocol(struct xdp_md *ctx, struct scratch *packet)
{
	static const __u8 slots[256] = {
		[IPPROTO_TCP] = SLOT_TCP,     [IPPROTO_UDP] = SLOT_UDP,	    [IPPROTO_ICMP] = SLOT_ICMP,
		[IPPROTO_ICMPV6] = SLOT_ICMP, [IPPROTO_IPIP] = SLOT_TUNNEL, [IPPROTO_GRE] = SLOT_TUNNEL,
	};

	if (slots[packet->protocol])
		call(ctx, packet, slots[packet->protocol]);
}

SEC("xdp")
int classify(struct xdp_md *ctx)
{
	struct scratch *packet = this_packet();
	struct ethhdr *eth = (void *)(long)ctx->data;

	if (!packet || (void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	*packet = (struct scratch){ .off = sizeof(*eth), .ethertype = eth->h_proto };
	call_for_ethertype(ctx, packet);
	return end_in(SLOTS);
}

/* Calls itself for each further tag; the kernel ends a chain at 33 calls. */
SEC("xdp")
int classify_vlan(struct xdp_md *ctx)
{
	struct scratch *packet = this_packet();
	__be16 tag[2];

	if (!packet)
		return XDP_ABORTED;
	if (bpf_xdp_load_bytes(ctx, packet->off, tag, sizeof(tag)))
		return XDP_DROP;
	packet->off += sizeof(tag);
	packet->ethertype = tag[1];
	call_for_ethertype(ctx, packet);
	return end_in(SLOT_VLAN);
}

SEC("xdp")
int classify_ipv4(struct xdp_md *ctx)
{
	struct scratch *packet = this_packet();
	struct iphdr ip;

	if (!packet)
		return XDP_ABORTED;
	if (bpf_xdp_load_bytes(ctx, packet->off, &ip, sizeof(ip)))
		return XDP_DROP;
	packet->off += ip.ihl * 4;
	packet->protocol = ip.protocol;
	call_for_protocol(ctx, packet);
	return end_in(SLOT_IPV4);
}

SEC("xdp")
int classify_ipv6(struct xdp_md *ctx)
{
	struct scratch *packet = this_packet();
	struct ipv6hdr ip;

	if (!packet)
		return XDP_ABORTED;
	if (bpf_xdp_load_bytes(ctx, packet->off, &ip, sizeof(ip)))
		return XDP_DROP;
	packet->off += sizeof(ip);
	packet->protocol = ip.nexthdr;
	call_for_protocol(ctx, packet);
	return end_in(SLOT_IPV6);
}

SEC("xdp")
int count_tcp(struct xdp_md *ctx)
{
	return end_in(SLOT_TCP);
}

SEC("xdp")
int count_udp(struct xdp_md *ctx)
{
	return end_in(SLOT_UDP);
}

SEC("xdp")
int count_icmp(struct xdp_md *ctx)
{
	return end_in(SLOT_ICMP);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
