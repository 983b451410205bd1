/* Primes below 8192: byte stores in nested loops. */
#include "bench.h"

#define BOUND 8192

PROGRAM(sieve)
{
	u64 primes = 0;

	for (u64 n = ZERO; n < BOUND; n++) {
		LOOP_MAY_END(cleared);
		mem[BELOW(n, BOUND)] = 0;
		/* Or it becomes a call of memset, which not all have. */
		asm volatile("" : : : "memory");
	}
	LOOP_END(cleared)
	for (u64 n = ZERO + 2; n < BOUND; n += 1 + ZERO) {
		LOOP_MAY_END(done);
		if (mem[BELOW(n, BOUND)])
			continue;
		primes++;
		for (u64 multiple = 2 * n; multiple < BOUND; multiple += n) {
			LOOP_MAY_END(next);
			mem[BELOW(multiple, BOUND)] = 1;
		}
		LOOP_END(next);
	}
	LOOP_END(done)
	return primes;
}
KERNEL_SCRATCH(sieve, BOUND)
