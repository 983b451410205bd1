// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * All that a packet leaves behind is its CPU's own: counts, flows, samples, the packet itself. So packets can be run on all CPUs at once with the
 * same outcome. What it reads is the CPU's own too: number, time, random numbers. One kind of packet is a fault.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct flow {
	__be32 saddr, daddr;
	__be16 sport, dport;
};

struct seen {
	__u64 packets, last_ns, random, gaps_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow);
	__type(value, struct seen);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

SEC("xdp")
int flows_seen(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	struct seen zero = {}, *seen;
	struct flow flow = {};
	__u64 now_ns = bpf_ktime_get_ns(), *count;
	__u32 kind = 0;

	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	flow.saddr = ip->saddr;
	flow.daddr = ip->daddr;
	flow.sport = udp->source;
	flow.dport = udp->dest;
	if (udp->dest == bpf_htons(9))
		return *(volatile char *)(end + 64);
	seen = bpf_map_lookup_elem(&flows, &flow);
	if (!seen) {
		bpf_map_update_elem(&flows, &flow, &zero, BPF_NOEXIST);
		seen = bpf_map_lookup_elem(&flows, &flow);
		if (!seen)
			return XDP_ABORTED;
		kind = 1;
	}
	if (seen->last_ns)
		seen->gaps_ns += now_ns - seen->last_ns;
	seen->last_ns = now_ns;
	seen->random ^= bpf_get_prandom_u32();
	if (seen->packets++ % 8 == 0)
		bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, seen, sizeof(*seen));
	count = bpf_map_lookup_elem(&counts, &kind);
	if (count)
		++*count;
	ip->ttl = bpf_get_smp_processor_id();
	return udp->dest == bpf_htons(53) ? XDP_TX : 100 + (bpf_ntohs(udp->dest) & 3);
}

char _license[] SEC("license") = "Dual MIT/GPL";
