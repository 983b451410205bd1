//! Five mixes of instructions, for the cost of one instruction.

/// A mix: its name and the program, in the assembler's language. r1 is 1,500 bytes, r2 their length.
pub(crate) struct Mix {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// The mixes.
pub(crate) const MIXES: &[Mix] = &[
    Mix {
        name: "alu64",
        text: "r0 = 88172645463325252 ll; r2 = 20000
               again: r3 = r0; r3 <<= 13; r0 ^= r3; r3 = r0; r3 >>= 7; r0 ^= r3; r3 = r0; r3 <<= 17; r0 ^= r3
               r2 += -1; if r2 != 0 goto again; exit",
    },
    Mix {
        name: "alu32",
        text: "w0 = 1; r2 = 20000
               again: w3 = w0; w3 *= 1664525; w3 += 1013904223; w0 ^= w3; w3 >>= 5; w0 += w3; w0 &= 0x7fffffff
               r2 += -1; if r2 != 0 goto again; exit",
    },
    Mix {
        name: "branch",
        text: "r0 = 0; r2 = 20000; r4 = 12345
               again: r4 *= 1103515245; r4 += 12345; r3 = r4; r3 >>= 16; r3 &= 7
               if r3 == 0 goto a; if r3 == 1 goto b; if r3 > 5 goto c; r0 += 1; goto next
               a: r0 += 2; goto next
               b: r0 += 3; goto next
               c: r0 ^= 4
               next: r2 += -1; if r2 != 0 goto again; exit",
    },
    Mix {
        name: "packet",
        text: "r0 = 0; r6 = r1; r2 = 200
               outer: r3 = r6; r4 = 90
               inner: r5 = *(u8 *)(r3 + 0); r0 += r5; r5 = *(u16 *)(r3 + 2); r0 ^= r5; r5 = *(u32 *)(r3 + 4); r0 += r5; r3 += 8
               r4 += -1; if r4 != 0 goto inner
               r2 += -1; if r2 != 0 goto outer; exit",
    },
    Mix {
        name: "stack",
        text: "r0 = 0; r2 = 20000
               again: *(u64 *)(r10 - 8) = r2; *(u32 *)(r10 - 16) = r2; r3 = *(u64 *)(r10 - 8); r4 = *(u32 *)(r10 - 16)
               r5 = r10; r5 += -16; r3 += r4; r4 = *(u16 *)(r5 + 0); r0 += r3; r0 ^= r4
               r2 += -1; if r2 != 0 goto again; exit",
    },
];
