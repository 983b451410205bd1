//! Threaded code: the interpreter's fast path. Each op holds the function that does it, which calls the next op's.
//!
//! It does what is frequent and succeeds: arithmetic, branches, accesses inside a register's window. At anything else (calls, accesses
//! that need a look at the objects, the budget's end) it stops *before* the op, and the loop in `interp` does that op, precisely. So this
//! file decides nothing: no fault, no count, no right of access has a second definition here.
//!
//! The calls are in tail position and of one type, and optimizing compilers make jumps of them. Nothing depends on that: a chain of
//! calls ends after [`CHAIN_MAX`] instructions, so that the host's stack is bounded where they stay calls.
//!
//! An op can stand for itself and its followers ([`fused`]): it reads theirs beside it, and jumps into the middle find them unchanged.

mod fused;
mod steps;

use crate::memory::Memory;
use crate::op::Op;
use crate::process::State;

/// Instructions, about, after which a chain of calls returns.
const CHAIN_MAX: u64 = 1024;
/// Every so many ops a straight run is interrupted: it has no jumps that look at [`CHAIN_MAX`].
const STRAIGHT_MAX: usize = 512;

/// Does an op and what follows. Answers how many ops of the program are left, from the one before which it stopped.
type Run = fn(&mut State, &Env<'_>, &ThreadedOp, &[ThreadedOp]) -> usize;

/// What does not change while a program runs.
struct Env<'a> {
    memory: &'a Memory,
    ops: &'a [ThreadedOp],
}

/// A register's index, in a form that needs no check.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
#[rustfmt::skip]
enum R { R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, R11, R12, R13, R14, R15 }

impl R {
    const ALL: [R; 16] = [
        R::R0,
        R::R1,
        R::R2,
        R::R3,
        R::R4,
        R::R5,
        R::R6,
        R::R7,
        R::R8,
        R::R9,
        R::R10,
        R::R11,
        R::R12,
        R::R13,
        R::R14,
        R::R15,
    ];

    fn new(index: u8) -> R {
        R::ALL[usize::from(index & 15)]
    }
}

/// An op with its function.
struct ThreadedOp {
    run: Run,
    imm: u64,
    off: i32,
    dst: R,
    src: R,
}

/// A program's ops, at the same indices as [`crate::op::Ops::ops`].
pub(crate) struct Threaded(Box<[ThreadedOp]>);

impl Threaded {
    /// Gives each op its function.
    pub(crate) fn new(ops: &[Op]) -> Threaded {
        // The ops of one piece; the op after it stops, so no sequence may step over that.
        let piece =
            |at: usize| &ops[at..(at / STRAIGHT_MAX * STRAIGHT_MAX + STRAIGHT_MAX - 1).min(ops.len())];
        let threaded = |(at, op): (usize, &Op)| ThreadedOp {
            run: if at % STRAIGHT_MAX == STRAIGHT_MAX - 1 { stop } else { fused::run_of(piece(at)) },
            imm: op.imm,
            off: op.off,
            dst: R::new(op.dst),
            src: R::new(op.src),
        };
        Threaded(ops.iter().enumerate().map(threaded).collect())
    }

    /// Runs from op `pc` on; answers the op before which it stopped. `state.insns` counts what was run. The guest's byte order is the host's.
    #[inline]
    pub(crate) fn run(&self, state: &mut State, memory: &Memory, pc: usize) -> usize {
        let ops = &*self.0;
        let Some((op, rest)) = ops.get(pc..).and_then(<[_]>::split_first) else { return pc };
        // While it runs, the count is less the index of the op that is next: only jumps have to change it.
        state.insns = state.insns.wrapping_sub(pc as u64);
        state.chain_end = state.insns.wrapping_add(CHAIN_MAX + pc as u64).min(state.insns_max);
        let left = (op.run)(state, &Env { memory, ops }, op, rest);
        let pc = ops.len() - left;
        state.insns = state.insns.wrapping_add(pc as u64);
        pc
    }
}

/// Goes on with the first of `rest`.
macro_rules! next {
    ($state:expr, $env:expr, $rest:expr) => {
        match $rest {
            [op, rest @ ..] => (op.run)($state, $env, op, rest),
            [] => 0,
        }
    };
}

/// Stops before `op`.
fn stop(_: &mut State, _: &Env<'_>, _: &ThreadedOp, rest: &[ThreadedOp]) -> usize {
    rest.len() + 1
}

/// Goes to `op`'s target, if the budget and the chain allow it.
macro_rules! jump {
    ($state:expr, $env:expr, $op:expr, $rest:expr) => {{
        let (state, env, op, rest) = ($state, $env, $op, $rest);
        let target = op.off as u32 as usize;
        let next_pc = env.ops.len() - rest.len();
        let insns = state.insns.wrapping_add(next_pc as u64);
        if insns > state.chain_end {
            return rest.len() + 1;
        }
        state.insns = insns.wrapping_sub(target as u64);
        match env.ops.get(target..) {
            Some(rest) => next!(state, env, rest),
            None => 0,
        }
    }};
}
use {jump, next};

/// An op that goes on with the next one. False: it did nothing, and the precise loop has to do it.
trait Step {
    fn step(state: &mut State, memory: &Memory, op: &ThreadedOp) -> bool;
}

/// Arithmetic, as a function of what its target holds.
trait Value {
    fn value(state: &State, op: &ThreadedOp, target: u64) -> u64;
    /// The same for the forms that read a source register, whose value the caller has.
    fn combine(target: u64, source: u64) -> u64;
}

/// A load or store, as a function of what its base register holds. As for [`Step`], false: it did nothing.
trait Access {
    fn access(state: &mut State, memory: &Memory, op: &ThreadedOp, base: u64) -> bool;
}

/// A conditional jump, as a function of what its first register holds.
trait Branch {
    fn holds(state: &State, op: &ThreadedOp, left: u64) -> bool;
}

fn one<A: Step>(state: &mut State, env: &Env<'_>, op: &ThreadedOp, rest: &[ThreadedOp]) -> usize {
    if !A::step(state, env.memory, op) {
        return rest.len() + 1;
    }
    next!(state, env, rest)
}

fn branch<C: Branch>(state: &mut State, env: &Env<'_>, op: &ThreadedOp, rest: &[ThreadedOp]) -> usize {
    if C::holds(state, op, state.regs[op.dst as usize]) {
        jump!(state, env, op, rest)
    } else {
        next!(state, env, rest)
    }
}

fn goto(state: &mut State, env: &Env<'_>, op: &ThreadedOp, rest: &[ThreadedOp]) -> usize {
    jump!(state, env, op, rest)
}
