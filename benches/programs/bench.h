/*
 * How one source becomes a program for every engine.
 *
 * A source NAME.c defines PROGRAM(NAME) { … }: a function of the memory at `mem` and its length, which answers a number. It is compiled
 *   - to eBPF as such: r1 is `mem`, r2 is `len`;
 *   - to eBPF for the kernel, with KERNEL: an XDP program that hands its packet on, or (where it writes, or reads at computed places) an
 *     array of its own, which begins as a copy of the input;
 *   - to wasm;
 *   - natively.
 * KERNEL_LEN(NAME) or KERNEL_SCRATCH(NAME) at the end of a source says which of the two the kernel's program is.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define INLINE static inline __attribute__((always_inline))
#define ROL32(x, n) ((u32)(x) << (n) | (u32)(x) >> (32 - (n)))
#define ROL64(x, n) ((u64)(x) << (n) | (u64)(x) >> (64 - (n)))

/* Accesses of any alignment. */
typedef u16 __attribute__((aligned(1))) u16_any;
typedef u32 __attribute__((aligned(1))) u32_any;
typedef u64 __attribute__((aligned(1))) u64_any;

#ifdef KERNEL

struct xdp_md {
	u32 data, data_end;
};
#define SECTION(name) __attribute__((section(name), used))
#define PROGRAM(name) INLINE u64 name(u8 *mem, u64 len)
/* The verifier walks a loop a few times only if the kernel may leave it at any time and its counter begins with what it does not know. */
static volatile u64 zero;
#define ZERO zero
#define LOOP_MAY_END(label) asm volatile goto("may_goto %l[" #label "]" :::: label)
#define LOOP_END(label) label:
/* An index below a power of two, in a form that the verifier sees. */
#define BELOW(index, bound)                        \
	({                                         \
		u64 index_ = (index);              \
		asm volatile("%0 &= %1" : "+r"(index_) : "i"((bound) - 1)); \
		index_;                            \
	})
#define KERNEL_LEN(name, bytes)                                           \
	SECTION("xdp") int kernel(struct xdp_md *ctx)                     \
	{                                                                 \
		u8 *data = (u8 *)(u64)ctx->data;                          \
		u8 *end = (u8 *)(u64)ctx->data_end;                       \
		return data + (bytes) > end ? 0xdead : (int)name(data, bytes); \
	}
#define KERNEL_SCRATCH(name, bytes)             \
	SECTION(".data.scratch") u8 scratch[bytes]; \
	SECTION("xdp") int kernel(struct xdp_md *ctx) \
	{                                       \
		return (int)name(scratch, bytes); \
	}
SECTION("license") char license_[] = "GPL";

#else

#if defined(__bpf__)
#define PROGRAM(name) __attribute__((section("bench"), used)) u64 name(u8 *mem, u64 len)
#elif defined(__wasm__)
#define PROGRAM(name) __attribute__((export_name(#name))) u64 name(u8 *mem, u64 len)
#else
#define PROGRAM(name) u64 name(u8 *mem, u64 len)
#endif
#define ZERO 0
#define LOOP_MAY_END(label)
#define LOOP_END(label)
#define BELOW(index, bound) (index)
#define KERNEL_LEN(name, bytes)
#define KERNEL_SCRATCH(name, bytes)

#endif
