//! `Backend`: what the translator asks of a machine's assembler, in eBPF's terms.

use super::label::Label;
use super::state::Reason;
use crate::map::ArrayLayout;
use mimic_abi::{AluOp, AtomicOp, Cond, Size, Width};

/// A second operand: a register by its number, or a sign-extended immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Src {
    Reg(u8),
    Imm(u64),
}

/// What an access is held against when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing: the base is r10 and the bytes are the frame's, or the base was found to be in the cage.
    Known,
    /// The base register's window; `Label` is where to go if it lies outside.
    Window(Label),
    /// Nothing, but the base is cut to 32 bits.
    Cage,
}

/// A memory operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) base: u8,
    pub(super) off: i32,
    pub(super) size: Size,
    pub(super) check: Check,
}

/// Emits code. Registers are eBPF's by number.
pub(super) trait Backend: Sized {
    /// Said first: the registers that the program has anything in, and whether it touches memory. A back end that saves and loads all
    /// whatever the program does need not know.
    fn uses(&mut self, regs: u16, memory: bool) {
        let _ = (regs, memory);
    }

    fn label(&mut self) -> Label;
    fn bind(&mut self, label: Label);
    /// Bytes emitted so far.
    fn offset(&self) -> u32;
    /// Makes the head of a loop begin where fetching it is cheap.
    fn align_loop(&mut self);
    /// Control may come here from elsewhere: nothing is known of scratch registers.
    fn forget(&mut self);

    fn alu(&mut self, op: AluOp, width: Width, dst: u8, src: Src);
    fn neg(&mut self, width: Width, dst: u8);
    fn mov_sx(&mut self, width: Width, bits: u8, dst: u8, src: u8);
    /// Swaps the low bits and zero-extends.
    fn swap(&mut self, bits: u8, dst: u8);
    /// `dst` = the low `bits` of `src`.
    fn zero_extend(&mut self, bits: u8, dst: u8, src: u8);
    fn constant(&mut self, dst: u8, value: u64);
    /// `dst = src` rotated left.
    fn rotate(&mut self, width: Width, dst: u8, src: u8, count: u8);
    /// `dst = a + b`, on 64 bits.
    fn add3(&mut self, dst: u8, a: u8, b: Src);

    fn load(&mut self, access: Access, sext: bool, dst: u8);
    fn store(&mut self, access: Access, src: Src);
    /// Read-modify-write, aligned or not; `Check::Window` is for the write. False if there is no such form: nothing was emitted.
    fn atomic(&mut self, op: AtomicOp, fetch: bool, access: Access, src: u8, misaligned: Label) -> bool;

    /// A load that acquires, aligned or not.
    fn load_acquire(&mut self, access: Access, dst: u8, misaligned: Label);
    /// A store that releases, aligned or not.
    fn store_release(&mut self, access: Access, src: u8, misaligned: Label);

    fn branch(&mut self, cond: Cond, width: Width, dst: u8, src: Src, to: Label);
    fn jump(&mut self, to: Label);
    /// Counts `may_goto` down, or goes to the label if it is spent.
    fn may_goto(&mut self, to: Label);
    /// Takes instructions off the budget, or puts some back.
    fn spend(&mut self, insns: i32);
    /// Takes some off, and goes to the label if that overdraws it.
    fn spend_or(&mut self, insns: u32, overdrawn: Label);

    /// Goes to the label if no frame is left.
    fn need_frame(&mut self, none: Label);
    /// Calls a function of the program in a frame of its own; answers the offset to which it returns.
    fn call(&mut self, to: Label, may_goto: bool) -> u32;
    /// Calls a helper. `keep` are the registers of r1 to r5 that are read afterwards; `spill` says that it looks at all registers.
    fn helper(&mut self, call: HelperCall, trapped: Label);
    /// r0 = the number of the CPU that the process runs on. False if there is no form: nothing was emitted.
    fn cpu(&mut self) -> bool {
        false
    }
    /// r0 = the address of an array's element, or goes to the label if there is none. False if there is no form.
    fn array_lookup(&mut self, lookup: Lookup, layout: ArrayLayout, none: Label) -> bool {
        let _ = (lookup, layout, none);
        false
    }
    /// r0 = what a map's lookup answers for a key of 4, 8 or 16 bytes, by a call. `map` is the host's address of the [`crate::MapRef`]. False if
    /// there is no form.
    fn map_lookup(&mut self, lookup: Lookup, map: usize, key_size: u32, keep: u16, trapped: Label) -> bool {
        let _ = (lookup, map, key_size, keep, trapped);
        false
    }
    fn ret(&mut self);
    /// Runs the op in Rust, with all registers in the state, and goes on.
    fn op_in_rust(&mut self, op: u32);
    /// Leaves compiled code for good; the op tells where.
    fn leave(&mut self, reason: Reason, op: u32);

    /// What comes after a program's own code: ways in and out.
    fn finish(self, main: Label) -> Result<Finished, TooLong>;
}

/// How far conditional jumps have to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// As far as is cheap on the machine.
    Near,
    /// As far as other jumps.
    Far,
}

/// Code is longer than its jumps reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// A helper call.
#[derive(Clone, Copy, Debug)]
pub(super) struct HelperCall {
    pub(super) op: u32,
    /// The address of what is called by it.
    pub(super) helper: usize,
    /// The registers of r1 to r5 that are read afterwards.
    pub(super) keep: u16,
    /// It looks at all registers.
    pub(super) looks: bool,
}

/// A lookup in a map that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    /// The host's address of a byte that is 0 as long as the map's address names it.
    pub(super) removed: usize,
    /// Where to go if it does not, with all registers as they are.
    pub(super) slow: Label,
    /// Where in the frame the key is: bytes from r10.
    pub(super) key: i32,
}

/// Machine code that is ready to be put in place.
pub(super) struct Finished {
    pub(super) code: Vec<u8>,
    /// Offset of the way in for a fresh run.
    pub(super) enter: u32,
    /// Offset of the way in at any op.
    pub(super) resume: u32,
    /// Offset of where the signal handler leads.
    pub(super) faulted: u32,
}
