// SPDX-License-Identifier: MIT OR GPL-2.0
/* A program with functions to replace and to trace, replacements that fit or do not, and programs that trace it. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} calls SEC(".maps");

static __always_inline void count(__u64 by)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&calls, &key);

	if (value)
		*value += by;
}

__attribute__((noinline)) int weigh(int len, long bias)
{
	count(1);
	return len + bias;
}

static __attribute__((noinline)) int hidden(int len)
{
	volatile int twice = len;

	return twice * 2;
}

__attribute__((noinline)) int of_frame(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

SEC("xdp")
int filter(struct xdp_md *ctx)
{
	int len = of_frame(ctx);

	return weigh(len, 7) + hidden(1);
}

SEC("freplace/weigh")
int weigh_other(int len, long bias)
{
	count(100);
	return len * 10 + bias;
}

SEC("freplace/weigh")
int weigh_few(int len)
{
	return len;
}

SEC("freplace/weigh")
int weigh_typed(int len, int bias)
{
	return len;
}

SEC("freplace/hidden")
int hidden_other(int len)
{
	return len;
}

SEC("freplace/filter")
int filter_other(struct xdp_md *ctx)
{
	return of_frame(ctx) * 2;
}

SEC("freplace/of_frame")
int of_frame_skb(struct __sk_buff *ctx)
{
	return 1;
}

struct xdp_buff {
	void *data;
	void *data_end;
} __attribute__((preserve_access_index));

__s64 seen[16];
__u32 seen_used;

static __always_inline void see(__s64 value)
{
	__u32 at = seen_used++;

	seen[at & 15] = value;
}

SEC("fentry/weigh")
int BPF_PROG(weigh_begins, int len, long bias)
{
	see(len);
	see(bias);
	return 0;
}

SEC("fexit/weigh")
int BPF_PROG(weigh_ends, int len, long bias, int ret)
{
	see(ret);
	return 0;
}

SEC("fexit/filter")
int BPF_PROG(filter_ends, struct xdp_buff *xdp, int ret)
{
	see((long)(xdp->data_end - xdp->data));
	see(ret);
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} events SEC(".maps");

SEC("fexit/filter")
int BPF_PROG(filter_shown, struct xdp_buff *xdp, int ret)
{
	__u64 mark = 0x1122334455667788;

	see(100 + bpf_xdp_output(xdp, &events, 0 | 4ULL << 32, &mark, sizeof(mark)));
	see(bpf_xdp_output(xdp, &events, 0 | 65ULL << 32, &mark, sizeof(mark)));
	see(bpf_xdp_output(xdp, &events, 1ULL << 60, &mark, sizeof(mark)));
	return 0;
}

char _license[] SEC("license") = "GPL";
