// SPDX-License-Identifier: MIT OR GPL-2.0
/* Tables of operations: the kernel's dummy ones, and two congestion controls of the same name. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct sock;

struct bpf_dummy_ops_state {
	int val;
};

struct bpf_dummy_ops {
	int (*test_1)(struct bpf_dummy_ops_state *cb);
	int (*test_2)(struct bpf_dummy_ops_state *cb, int a1, unsigned short a2, char a3,
		      unsigned long a4);
};

struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	__u32 (*undo_cwnd)(struct sock *sk);
	char name[16];
};

__u64 args[5];

SEC("struct_ops/test_1")
int BPF_PROG(test_1, struct bpf_dummy_ops_state *state)
{
	int val;

	if (!state)
		return 0xf2f3f4f5;
	val = state->val;
	state->val = 0x5a;
	return val;
}

SEC("struct_ops/test_2")
int BPF_PROG(test_2, struct bpf_dummy_ops_state *state, int a1, unsigned short a2, char a3,
	     unsigned long a4)
{
	args[0] = state->val;
	args[1] = a1;
	args[2] = a2;
	args[3] = a3;
	args[4] = a4;
	return 0;
}

SEC("struct_ops/ssthresh")
__u32 BPF_PROG(half, struct sock *sk)
{
	return 2;
}

SEC("struct_ops/undo_cwnd")
__u32 BPF_PROG(undo, struct sock *sk)
{
	return 10;
}

SEC(".struct_ops")
struct bpf_dummy_ops dummy = {
	.test_1 = (void *)test_1,
	.test_2 = (void *)test_2,
};

SEC(".struct_ops")
struct tcp_congestion_ops gentle = {
	.ssthresh = (void *)half,
	.undo_cwnd = (void *)undo,
	.name = "bpf_gentle",
};

SEC(".struct_ops.link")
struct tcp_congestion_ops linked = {
	.ssthresh = (void *)half,
	.undo_cwnd = (void *)undo,
	.name = "bpf_gentle",
};

char _license[] SEC("license") = "GPL";
