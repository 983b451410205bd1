/* Straight on, with many small branches and some 4,000 instructions: the size of a real program. */
#include "bench.h"

/* Each step has constants of its own, so that none can be shared. */
#define STEP STEP_(__COUNTER__)
#define STEP_(n) STEP__(n)
#define STEP__(n)                                           \
	x ^= x >> (5 + (n) % 23);                           \
	x *= 0x9e3779b1u + 2 * (n);                          \
	y += *(u32_any *)(mem + (n) * 7 % 1400) ^ (u32)x;   \
	if (y & (1u << (n) % 29))                            \
		x += y;                                     \
	else                                                \
		x ^= (n) * 0x01000193u;                     \
	if ((u32)x > 0x80000000u + 977 * (n))                \
		y ^= 0x5bd1e995 + (n);

#define STEPS4 STEP STEP STEP STEP
#define STEPS16 STEPS4 STEPS4 STEPS4 STEPS4
#define STEPS64 STEPS16 STEPS16 STEPS16 STEPS16

PROGRAM(large)
{
	u64 x = *(u64_any *)mem;
	u32 y = (u32)len;

	STEPS64 STEPS64 STEPS16 STEPS4 STEPS4
	return x ^ y;
}
KERNEL_LEN(large, 1500)
