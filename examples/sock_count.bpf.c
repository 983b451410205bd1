// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * A socket filter that counts packets by protocol: the smallest program that is of use.
 *
 * Written as the first eBPF programs were: the packet is read with the legacy packet instructions
 * (LD_ABS), which end the program by themselves when the packet is too short, and the count is an
 * atomic add into an array. Offsets are relative to the link and network headers, so that it
 * does not matter whether the socket shows the former. The filter returns 0: it wants no packet.
 *
 *   mimic run examples/sock_count.bpf.o --pcap examples/traffic.pcap
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

/* Clang turns these names into LD_ABS; they return what is at an offset in host byte order. */
unsigned long long load_byte(void *skb, unsigned long long off) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long off) asm("llvm.bpf.load.half");

#define SKF_NET_OFF	     -0x100000 /* of linux/filter.h */
#define SKF_LL_OFF	     -0x200000
#define ETHERTYPE_OFF	     (SKF_LL_OFF + 12)
#define IPV4_PROTOCOL_OFF    (SKF_NET_OFF + 9)
#define IPV6_NEXT_HEADER_OFF (SKF_NET_OFF + 6)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} bytes SEC(".maps");

__u64 not_ip;

SEC("socket")
int count_protocols(struct __sk_buff *skb)
{
	__u64 ethertype = load_half(skb, ETHERTYPE_OFF);
	__u32 protocol;
	__u64 *value;

	if (ethertype == ETH_P_IP) {
		protocol = load_byte(skb, IPV4_PROTOCOL_OFF);
	} else if (ethertype == ETH_P_IPV6) {
		protocol = load_byte(skb, IPV6_NEXT_HEADER_OFF);
	} else {
		__sync_fetch_and_add(&not_ip, 1);
		return 0;
	}
	value = bpf_map_lookup_elem(&packets, &protocol);
	if (value)
		__sync_fetch_and_add(value, 1);
	value = bpf_map_lookup_elem(&bytes, &protocol);
	if (value)
		__sync_fetch_and_add(value, skb->len);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
