/* Nothing: what a call costs. */
#include "bench.h"

PROGRAM(empty)
{
	return 2;
}
KERNEL_LEN(empty, 64)
