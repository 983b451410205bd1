/* What programs ask of helpers and maps, a thousand times a run. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define TIMES 1000
#define ENTRIES 1024

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, __u64);
	__type(value, __u64);
} flows SEC(".maps");

/* A cheap helper that is a call everywhere. */
SEC("xdp")
int helper_call(struct xdp_md *ctx)
{
	__u64 sum = 0;

	for (int i = 0; i < TIMES; i++)
		sum += bpf_get_numa_node_id();
	return sum == ~0ull;
}

SEC("xdp")
int array_lookup(struct xdp_md *ctx)
{
	for (__u32 i = 0; i < TIMES; i++) {
		__u64 *count = bpf_map_lookup_elem(&counts, &i);

		if (count)
			*count += 1;
	}
	return 2;
}

SEC("xdp")
int hash_lookup(struct xdp_md *ctx)
{
	int found = 0;

	for (__u64 i = 0; i < TIMES; i++) {
		__u64 key = i * 0x9e3779b97f4a7c15;
		__u64 *count = bpf_map_lookup_elem(&flows, &key);

		if (count) {
			*count += 1;
			found++;
		}
	}
	return found;
}

SEC("xdp")
int hash_update(struct xdp_md *ctx)
{
	for (__u64 i = 0; i < TIMES; i++) {
		__u64 key = i * 0x9e3779b97f4a7c15;

		bpf_map_update_elem(&flows, &key, &i, BPF_ANY);
	}
	return 2;
}

char license_[] SEC("license") = "Dual MIT/GPL";
