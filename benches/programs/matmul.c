/* The product of two 24 x 24 matrices of 32-bit numbers, in memory. Answers the sum of its elements. */
#include "bench.h"

#define N 24
/* Three matrices of 1024 words each: 576 are used. */
#define AT(matrix, index) words[(matrix) * 1024 + BELOW(index, 1024)]

PROGRAM(matmul)
{
	u32 *words = (u32 *)mem;
	u64 sum = 0;

	for (u32 i = ZERO; i < N * N; i++) {
		LOOP_MAY_END(filled);
		AT(0, i) = i * 2654435761u;
		AT(1, i) = i * 40503u + 12345;
	}
	LOOP_END(filled)
	for (u32 i = ZERO; i < N; i++) {
		LOOP_MAY_END(done);
		for (u32 j = ZERO; j < N; j++) {
			u32 cell = 0;

			LOOP_MAY_END(row);
			for (u32 k = ZERO; k < N; k++) {
				LOOP_MAY_END(cell_done);
				cell += AT(0, i * N + k) * AT(1, k * N + j);
			}
			LOOP_END(cell_done)
			AT(2, i * N + j) = cell;
			sum += cell;
		}
		LOOP_END(row);
	}
	LOOP_END(done)
	return sum;
}
KERNEL_SCRATCH(matmul, 12288)
