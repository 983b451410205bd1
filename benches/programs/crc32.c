/* CRC-32 by nibbles, with the table on the stack. */
#include "bench.h"

PROGRAM(crc32)
{
	u32 table[16];
	u32 crc = 0xffffffff;

	table[0] = 0x00000000, table[1] = 0x1db71064, table[2] = 0x3b6e20c8, table[3] = 0x26d930ac;
	table[4] = 0x76dc4190, table[5] = 0x6b6b51f4, table[6] = 0x4db26158, table[7] = 0x5005713c;
	table[8] = 0xedb88320, table[9] = 0xf00f9344, table[10] = 0xd6d6a3e8, table[11] = 0xcb61b38c;
	table[12] = 0x9b64c2b0, table[13] = 0x86d3d2d4, table[14] = 0xa00ae278, table[15] = 0xbdbdf21c;
	/* Else compilers that know the values put them elsewhere. */
	asm volatile("" : : "r"(table) : "memory");
	for (u64 at = 0; at < len; at++) {
		crc = table[(crc ^ mem[at]) & 15] ^ crc >> 4;
		crc = table[(crc ^ mem[at] >> 4) & 15] ^ crc >> 4;
	}
	return (u32)~crc;
}
KERNEL_LEN(crc32, 1500)
