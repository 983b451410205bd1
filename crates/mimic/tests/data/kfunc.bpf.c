// SPDX-License-Identifier: MIT OR GPL-2.0
/* Calls two functions that no kernel has: whoever embeds the program supplies them. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern __u32 plugin_score(const void *data, __u32 data__sz, int bias) __ksym;
extern void plugin_log(const char *text__str, __u64 value) __ksym;

SEC("xdp")
int score(struct xdp_md *ctx)
{
	__u8 head[4] = {};
	__u32 score;

	if (bpf_xdp_load_bytes(ctx, 0, head, sizeof(head)))
		return XDP_ABORTED;
	score = plugin_score(head, sizeof(head), -2);
	plugin_log("score", score);
	return score > 1 ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
