/* SipHash-2-4 over 1496 bytes: 64-bit additions and rotations. */
#include "bench.h"

#define SIPROUND                                                        \
	do {                                                            \
		v0 += v1, v1 = ROL64(v1, 13), v1 ^= v0, v0 = ROL64(v0, 32); \
		v2 += v3, v3 = ROL64(v3, 16), v3 ^= v2;                 \
		v0 += v3, v3 = ROL64(v3, 21), v3 ^= v0;                 \
		v2 += v1, v1 = ROL64(v1, 17), v1 ^= v2, v2 = ROL64(v2, 32); \
	} while (0)

PROGRAM(siphash)
{
	u64 k0 = 0x0706050403020100, k1 = 0x0f0e0d0c0b0a0908;
	u64 v0 = k0 ^ 0x736f6d6570736575, v1 = k1 ^ 0x646f72616e646f6d;
	u64 v2 = k0 ^ 0x6c7967656e657261, v3 = k1 ^ 0x7465646279746573;
	u64 at = 0;

	for (; at + 8 <= len; at += 8) {
		u64 word = *(u64_any *)(mem + at);

		v3 ^= word;
		SIPROUND;
		SIPROUND;
		v0 ^= word;
	}
	v3 ^= len << 56;
	SIPROUND;
	SIPROUND;
	v0 ^= len << 56;
	v2 ^= 0xff;
	SIPROUND;
	SIPROUND;
	SIPROUND;
	SIPROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}
KERNEL_LEN(siphash, 1500)
