/* ChaCha20, 16 blocks: 16 live words, so most engines spill. Answers the sum of the key stream. */
#include "bench.h"

#define QUARTER(a, b, c, d)                        \
	do {                                       \
		a += b, d ^= a, d = ROL32(d, 16);  \
		c += d, b ^= c, b = ROL32(b, 12);  \
		a += b, d ^= a, d = ROL32(d, 8);   \
		c += d, b ^= c, b = ROL32(b, 7);   \
	} while (0)

PROGRAM(chacha)
{
	u32_any *key = (u32_any *)mem;
	u64 sum = 0;

	for (u32 block = 0; block < 16; block++) {
		u32 x0 = 0x61707865, x1 = 0x3320646e, x2 = 0x79622d32, x3 = 0x6b206574;
		u32 x4 = key[0], x5 = key[1], x6 = key[2], x7 = key[3];
		u32 x8 = key[4], x9 = key[5], x10 = key[6], x11 = key[7];
		u32 x12 = block, x13 = key[8], x14 = key[9], x15 = key[10];

		for (u32 round = 0; round < 10; round++) {
			QUARTER(x0, x4, x8, x12);
			QUARTER(x1, x5, x9, x13);
			QUARTER(x2, x6, x10, x14);
			QUARTER(x3, x7, x11, x15);
			QUARTER(x0, x5, x10, x15);
			QUARTER(x1, x6, x11, x12);
			QUARTER(x2, x7, x8, x13);
			QUARTER(x3, x4, x9, x14);
		}
		sum += (u64)(x0 + 0x61707865) << 32 | (x1 + 0x3320646e);
		sum += (u64)(x2 + 0x79622d32) << 32 | (x3 + 0x6b206574);
		sum += (u64)(x4 + key[0]) << 32 | (x5 + key[1]);
		sum += (u64)(x6 + key[2]) << 32 | (x7 + key[3]);
		sum += (u64)(x8 + key[4]) << 32 | (x9 + key[5]);
		sum += (u64)(x10 + key[6]) << 32 | (x11 + key[7]);
		sum += (u64)(x12 + block) << 32 | (x13 + key[8]);
		sum += (u64)(x14 + key[9]) << 32 | (x15 + key[10]);
	}
	return sum;
}
KERNEL_LEN(chacha, 1500)
