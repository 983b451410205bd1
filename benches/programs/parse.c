/* A packet parser: Ethernet, VLAN tags, IPv4 or IPv6, TCP or UDP. Answers a digest of the flow, 0 for what is malformed. */
#include "bench.h"

#define BE16(at) ((u32)(at)[0] << 8 | (at)[1])
#define BE32(at) ((u32)(at)[0] << 24 | (u32)(at)[1] << 16 | (u32)(at)[2] << 8 | (at)[3])
#define NEED(bytes)                      \
	do {                             \
		if (at + (bytes) > end)  \
			return 0;        \
	} while (0)

INLINE u64 parse_packet(u8 *mem, u8 *end)
{
	u8 *at = mem;
	u32 type, proto, src, dst, ports = 0, flags = 0;

	NEED(14);
	type = BE16(at + 12);
	at += 14;
#pragma unroll
	for (int tags = 0; tags < 2; tags++) {
		if (type != 0x8100 && type != 0x88a8)
			break;
		NEED(4);
		type = BE16(at + 2);
		at += 4;
	}
	if (type == 0x0800) {
		u32 header;

		NEED(20);
		header = (at[0] & 15) * 4;
		if (at[0] >> 4 != 4 || header < 20)
			return 0;
		proto = at[9];
		src = BE32(at + 12);
		dst = BE32(at + 16);
		if (BE16(at + 6) & 0x1fff)
			return (u64)src << 32 | dst;
		at += header;
	} else if (type == 0x86dd) {
		NEED(40);
		if (at[0] >> 4 != 6)
			return 0;
		proto = at[6];
		src = BE32(at + 8) ^ BE32(at + 12) ^ BE32(at + 16) ^ BE32(at + 20);
		dst = BE32(at + 24) ^ BE32(at + 28) ^ BE32(at + 32) ^ BE32(at + 36);
		at += 40;
	} else {
		return type;
	}
	if (proto == 6) {
		NEED(20);
		ports = BE32(at);
		flags = at[13];
	} else if (proto == 17) {
		NEED(8);
		ports = BE32(at);
	}
	return ((u64)src << 32 | dst) ^ ((u64)ports << 16 | flags << 8 | proto);
}

#ifdef KERNEL
SECTION("xdp") int kernel(struct xdp_md *ctx)
{
	return (int)parse_packet((u8 *)(u64)ctx->data, (u8 *)(u64)ctx->data_end);
}
#else
PROGRAM(parse)
{
	return parse_packet(mem, mem + len);
}
#endif
