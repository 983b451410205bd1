/* 64-bit xorshift and a 32-bit mix, in registers: 100,000 rounds. */
#include "bench.h"

PROGRAM(alu)
{
	u64 x = *(u64_any *)mem | 1;
	u32 y = (u32)len;

	for (u32 round = ZERO; round < 100000; round++) {
		LOOP_MAY_END(out);
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		y = y * 1664525 + 1013904223;
		y ^= y >> 15;
		y += (u32)x;
		y = ROL32(y, 11);
	}
	LOOP_END(out)
	return x ^ y;
}
KERNEL_LEN(alu, 1500)
