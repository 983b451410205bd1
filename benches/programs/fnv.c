/* FNV-1a, a byte at a time. */
#include "bench.h"

PROGRAM(fnv)
{
	u64 hash = 0xcbf29ce484222325;

	for (u64 at = 0; at < len; at++)
		hash = (hash ^ mem[at]) * 0x100000001b3;
	return hash;
}
KERNEL_LEN(fnv, 1500)
