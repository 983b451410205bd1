// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Two programs that are made of the things a compiler and a loader do together: BPF-to-BPF calls
 * (static, global and weak functions), global variables in every kind of section, an extern that
 * the loader fills in, and CO-RE accesses, whose offsets the loader takes from the running kernel's types.
 *
 * meter_flows meters packets by flow in plain global variables; current_task reads the task that is
 * running. No map is declared: the sections of the object become the maps.
 *
 *   mimic run examples/core_globals.bpf.o --prog meter_flows --pcap examples/traffic.pcap
 */
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define __core __attribute__((preserve_access_index))

/*
 * Headers of packets: laid out as on the wire up to what is read, so that the program also runs where no kernel's types
 * are at hand to relocate it for.
 */
struct iphdr {
	__u8 ihl : 4;
	__u8 version : 4;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__be32 saddr;
	__be32 daddr;
} __core;

struct ipv6hdr {
	__u8 priority : 4;
	__u8 version : 4;
	__u8 flow_lbl[3];
	__be16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
} __core;

/*
 * Types of the kernel's own as far as they are used here. Names and types of the members matter, order
 * and offsets do not: those come from the kernel that the program is loaded into.
 */
struct task_struct {
	int tgid;
	int pid;
	char comm[16];
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	const struct cred *cred;
} __core;

struct cred {
	struct {
		__u32 val;
	} uid;
} __core;

/* Before 5.14 the state of a task was called state. */
struct task_struct___new {
	unsigned int __state;
} __core;

struct task_struct___old {
	long state;
} __core;

#define FLOWS 64

struct flow {
	__be32 saddr;
	__be32 daddr;
	__u8 protocol;
	__u8 version;
	__u16 hash;
	__u32 packets;
	__u64 bytes;
};

extern int LINUX_KERNEL_VERSION __kconfig;

/* .rodata: settings, fixed when the program is loaded. */
const volatile __u32 sample_every = 4;

/* .data: variables with a first value. */
__u32 hash_seed = 0x9e3779b9;
__u64 smallest_packet = ~0ULL;

/* .bss: variables that begin as zero. */
struct flow flows[FLOWS];
__u64 packets_seen;
__u64 packets_sampled;
__u64 sample_gap;
__u64 packets_unknown;
__u64 largest_packet;
__u64 flow_collisions;

/* A section of its own becomes a map of its own. */
__u32 length_histogram[16] SEC(".data.histogram");

struct task {
	int tgid;
	int pid;
	int parent_tgid;
	__u32 uid;
	__u64 state;
	_Bool state_known;
	char comm[16];
} last_task;

struct {
	int kernel_version;
	_Bool has_ringbuf;
	__u32 sizeof_task_struct;
} kernel;

/* A global function: the verifier looks at it alone, so that it has to check what it is given. */
__noinline int mix(__u32 a, __u32 b)
{
	a ^= b * 0x85ebca6b;
	a = (a << 13) | (a >> 19);
	return a * 5 + 0xe6546b64;
}

__noinline int flow_hash(const struct flow *flow)
{
	if (!flow)
		return 0;
	return mix(mix(hash_seed, flow->saddr ^ flow->daddr), flow->protocol);
}

/* A weak function gives way to another file's when objects are linked. */
__weak int wants_sample(__u64 number)
{
	return sample_every && number % sample_every == 0;
}

/* A static function: the verifier follows the call with what it knows of the arguments. */
static __noinline int parse(struct __sk_buff *skb, struct flow *flow)
{
	void *data_end = (void *)(long)skb->data_end;
	void *data = (void *)(long)skb->data;

	if (data + ETH_HLEN + 40 > data_end && bpf_skb_pull_data(skb, ETH_HLEN + 40))
		return -1;
	data_end = (void *)(long)skb->data_end;
	data = (void *)(long)skb->data;
	if (data + ETH_HLEN + 40 > data_end)
		return -1;

	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP): {
		struct iphdr *ip = data + ETH_HLEN;

		flow->version = 4;
		flow->protocol = ip->protocol;
		flow->saddr = ip->saddr;
		flow->daddr = ip->daddr;
		return 0;
	}
	case bpf_htons(ETH_P_IPV6): {
		struct ipv6hdr *ip = data + ETH_HLEN;
		__be32 *addr = data + ETH_HLEN + 8;

		flow->version = 6;
		flow->protocol = ip->nexthdr;
		flow->saddr = addr[0] ^ addr[1] ^ addr[2] ^ addr[3];
		flow->daddr = addr[4] ^ addr[5] ^ addr[6] ^ addr[7];
		return 0;
	}
	default:
		return -1;
	}
}

static __noinline void meter(struct flow *seen, __u32 len)
{
	__u16 hash = flow_hash(seen);
	struct flow *flow = &flows[hash % FLOWS];

	if (flow->packets && (flow->saddr != seen->saddr || flow->daddr != seen->daddr ||
			      flow->protocol != seen->protocol)) {
		flow_collisions++;
		return;
	}
	flow->saddr = seen->saddr;
	flow->daddr = seen->daddr;
	flow->protocol = seen->protocol;
	flow->version = seen->version;
	flow->hash = hash;
	flow->packets++;
	flow->bytes += len;
}

static __noinline __u32 log2_of(__u32 value)
{
	__u32 slot = 0;

	for (int i = 0; i < 15; i++)
		if (value >> (i + 1))
			slot = i + 1;
	return slot;
}

SEC("tc")
int meter_flows(struct __sk_buff *skb)
{
	static __u64 since_sample;
	struct flow seen = {};
	__u32 len = skb->len;

	packets_seen++;
	since_sample++;
	if (len < smallest_packet)
		smallest_packet = len;
	if (len > largest_packet)
		largest_packet = len;
	length_histogram[log2_of(len) & 15]++;

	if (parse(skb, &seen)) {
		packets_unknown++;
		return TC_ACT_OK;
	}
	meter(&seen, len);
	if (wants_sample(packets_seen)) {
		packets_sampled++;
		sample_gap = since_sample;
		since_sample = 0;
	}
	return TC_ACT_OK;
}

SEC("raw_tp/sys_enter")
int current_task(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	kernel.kernel_version = LINUX_KERNEL_VERSION;
	kernel.has_ringbuf = bpf_core_enum_value_exists(enum bpf_map_type, BPF_MAP_TYPE_RINGBUF);
	kernel.sizeof_task_struct = bpf_core_type_size(struct task_struct);

	last_task.tgid = BPF_CORE_READ(task, tgid);
	last_task.pid = BPF_CORE_READ(task, pid);
	last_task.parent_tgid = BPF_CORE_READ(task, real_parent, tgid);
	last_task.uid = BPF_CORE_READ(task, cred, uid.val);
	BPF_CORE_READ_STR_INTO(&last_task.comm, task, comm);

	if (bpf_core_field_exists(struct task_struct___new, __state)) {
		struct task_struct___new *new = (void *)task;

		last_task.state = BPF_CORE_READ(new, __state);
		last_task.state_known = 1;
	} else if (bpf_core_field_exists(struct task_struct___old, state)) {
		struct task_struct___old *old = (void *)task;

		last_task.state = BPF_CORE_READ(old, state);
		last_task.state_known = 1;
	}
	bpf_printk("task %d (%s)", last_task.tgid, last_task.comm);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
