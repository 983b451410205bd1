//! Ops that stand for themselves and their followers: one function for two to four instructions.
//!
//! Which sequences are worth it was counted in the programs of `benches/`. What makes them fast is less the calls saved than that a value
//! goes from one instruction to the next in a register of the machine; for that the instructions have to be about the same register, which
//! is looked at here, once. Every register that the instructions name has afterwards what it would have.

use super::steps::*;
use super::{Access, Branch, Env, Run, Step, ThreadedOp, Value, jump, next, steps};
use crate::op::{Code, Op};
use crate::process::State;

/// The function of the first of these ops: the longest sequence that they begin with.
pub(super) fn run_of(ops: &[Op]) -> Run {
    let codes: [Option<Code>; 4] = core::array::from_fn(|at| ops.get(at).map(|op| op.code));
    rotation(ops).or_else(|| fused(codes, ops)).unwrap_or_else(|| steps::run_of(ops[0].code))
}

/// All are arithmetic on the register that the first writes, and none but the first reads it as its source.
fn same_target(ops: &[Op]) -> bool {
    ops[1..].iter().all(|op| op.dst == ops[0].dst && (op.src != op.dst || !reads_source(op.code)))
}

/// Whether the last has the register that the others write as its base, or the left side of its comparison.
fn target_is(ops: &[Op], of_last: impl Fn(&Op) -> u8, other: impl Fn(&Op) -> Option<u8>) -> bool {
    let [init @ .., last] = ops else { return false };
    same_target(init) && of_last(last) == init[0].dst && other(last) != Some(init[0].dst)
}

/// Whether the second reads what the first writes, as its source, and writes something else.
fn feeds(ops: &[Op]) -> bool {
    ops[1].src == ops[0].dst && ops[1].dst != ops[0].dst
}

fn compared(op: &Op) -> Option<u8> {
    reads_source(op.code).then_some(op.src)
}

fn no_other(_: &Op) -> Option<u8> {
    None
}

fn stored(op: &Op) -> Option<u8> {
    Some(op.src)
}

/// `a = b; a >>= n; b <<= bits - n; b |= a`, which is how compilers rotate.
fn rotation(ops: &[Op]) -> Option<Run> {
    let [copy, right, left, or, ..] = ops else { return None };
    let (run, bits): (Run, u64) = match (copy.code, right.code, left.code, or.code) {
        (Code::Mov64R, Code::Rsh64I, Code::Lsh64I, Code::Or64R) => (rotate64, 64),
        (Code::Mov32R, Code::Rsh32I, Code::Lsh32I, Code::Or32R) => (rotate32, 32),
        _ => return None,
    };
    let [a, b] = [copy.dst, copy.src];
    let named = a != b && right.dst == a && left.dst == b && or.dst == b && or.src == a;
    let whole = right.imm < bits && left.imm < bits && right.imm + left.imm == bits;
    (named && whole).then_some(run)
}

macro_rules! sequences {
    (
        accumulate2 { $($a2:ident $b2:ident,)* }
        accumulate3 { $($a3:ident $b3:ident $c3:ident,)* }
        branch1 { $($v1:ident $j1:ident,)* }
        branch2 { $($v2:ident $w2:ident $j2:ident,)* }
        load1 { $($lv:ident $l1:ident,)* }
        load2 { $($lv2:ident $lw2:ident $l2:ident,)* }
        store2 { $($sv2:ident $sw2:ident $s2:ident,)* }
        feed { $($f:ident $g:ident,)* }
        load_feed { $($lf:ident $lg:ident,)* }
        load_branch { $($lb:ident $lj:ident,)* }
        pairs { $($p:ident $q:ident,)* }
        pair_branch { $($pb:ident $pj:ident,)* }
    ) => {
        fn fused(codes: [Option<Code>; 4], ops: &[Op]) -> Option<Run> {
            let [Some(first), Some(second), third, _] = codes else { return None };
            if let Some(third) = third {
                let ops = &ops[..3];
                match (first, second, third) {
                    $((Code::$a3, Code::$b3, Code::$c3) if same_target(ops) => return Some(accumulate3::<$a3, $b3, $c3>),)*
                    $((Code::$v2, Code::$w2, Code::$j2) if target_is(ops, |op| op.dst, compared) => {
                        return Some(branch2::<$v2, $w2, $j2>)
                    })*
                    $((Code::$lv2, Code::$lw2, Code::$l2) if target_is(ops, |op| op.src, no_other) => {
                        return Some(access2::<$lv2, $lw2, $l2>)
                    })*
                    $((Code::$sv2, Code::$sw2, Code::$s2) if target_is(ops, |op| op.dst, stored) => {
                        return Some(access2::<$sv2, $sw2, $s2>)
                    })*
                    _ => {}
                }
            }
            let ops = &ops[..2];
            match (first, second) {
                $((Code::$a2, Code::$b2) if same_target(ops) => return Some(accumulate2::<$a2, $b2>),)*
                $((Code::$v1, Code::$j1) if target_is(ops, |op| op.dst, compared) => return Some(branch1::<$v1, $j1>),)*
                $((Code::$lv, Code::$l1) if target_is(ops, |op| op.src, no_other) => return Some(access1::<$lv, $l1>),)*
                $((Code::$f, Code::$g) if feeds(ops) => return Some(feed::<$f, $g>),)*
                $((Code::$lf, Code::$lg) if feeds(ops) => return Some(load_feed::<$lf, $lg>),)*
                $((Code::$lb, Code::$lj) if ops[0].dst == ops[1].dst && compared(&ops[1]) != Some(ops[0].dst) => {
                    return Some(load_branch::<$lb, $lj>)
                })*
                $((Code::$p, Code::$q) => return Some(pair::<$p, $q>),)*
                $((Code::$pb, Code::$pj) => return Some(pair_branch::<$pb, $pj>),)*
                _ => {}
            }
            None
        }
    };
}

sequences! {
    accumulate2 {
        Mov64R Add64R, Mov64R Add64I, Mov64R Rsh64I, Mov64R Lsh64I, Mov64R And64R, Mov64R Xor64R, Mov64R Mul64R, Mov64R And64I,
        Mov32R Rsh32I, Mov32R And32I, Mov32R Xor32R, Mov32R Add32R, Mov32R Add32I, Mov32R Lsh32I, Mov32R Or32R, Mov32R Mul32I,
        Lsh32I Or32R, Lsh64I Or64R, Rsh32I Or32R, Rsh64I Or64R, Xor64R Mul64R, Xor32R Add32R, Mul32I Add32I, Add32R Add32I,
        Add64R Add64I, Add64I Add64R, Rsh32I And32I, Rsh64I And64I, Lsh64I Rsh64I, Lsh64I Arsh64I, Lsh32I Xor32R, Rsh32I Xor32R,
        Mul64R Add64R, Add64R Xor64R, Mov64I Mov64R,
    }
    accumulate3 {
        Mov64R Rsh64I Xor64R, Mov64R Lsh64I Xor64R, Mov64R Lsh64I Or64R, Mov64R Rsh64I Or64R, Mov64R Rsh64I And64I,
        Mov32R Rsh32I Xor32R, Mov32R Rsh32I And32I, Mov32R Lsh32I Or32R, Mov32R Rsh32I Or32R, Mov64R Add64R Add64I,
        Xor64R Mul32I Add32I,
    }
    branch1 {
        Add64I Jne64I, Add64I Jeq64I, Add64I Jlt64R, Add64I Jlt64I, Add64I Jne64R, Add64R Jlt64I, Add64R Jgt64R, Add64R Jlt64R,
        And32I Jeq32I, And32I Jne32I, And64I Jeq64I, And64I Jne64I, Add32I Jne32I, Add32I Jgt32I, Add32I Jlt32I,
        Mov32R Jeq32I, Mov32R Jne32I,
    }
    branch2 {
        Mov32R And32I Jeq32I, Mov32R And32I Jne32I, Mov64R And64I Jeq64I, Mov64R And64I Jne64I, Mov64R Add64I Jgt64R,
        Mov64R Add64I Jlt64R, Mov32R Add32I Jgt32I, Mov32R Add32I Jlt32I, Mul64R Add64I Jlt64R,
    }
    load1 {
        Add64R LoadB, Add64R LoadW, Add64R LoadDw, Mov64R LoadB, Mov64R LoadW, Mov64R LoadDw, Add64I LoadB, Add64I LoadW,
    }
    load2 {
        Mov64R Add64R LoadB, Mov64R Add64R LoadH, Mov64R Add64R LoadW, Mov64R Add64R LoadDw, Lsh64I Add64R LoadW, Mov64R Add64I LoadW,
    }
    store2 {
        Mov64R Add64R StoreB, Mov64R Add64R StoreW, Mov64R Add64R StoreDw,
    }
    feed {
        Rsh64I Xor64R, Lsh64I Xor64R, Rsh32I Xor32R, Rsh32I Add32R, Lsh64I Or64R, Rsh64I Or64R, Lsh32I Or32R, Mul32R Add32R, Add64R Xor64R,
        Add32R Xor32R, Xor32R Add32R, Mov32R Mov32R, And32I Or32R, Lsh64I Add64R, And32I Xor32R, And64I Add64R,
    }
    load_feed {
        LoadB Xor64R, LoadB Or32R, LoadB Or64R, LoadB Add64R, LoadW Mul32R, LoadW Xor32R, LoadW Xor64R, LoadW Add32R, LoadW Add64R,
        LoadDw Xor64R, LoadDw Add64R, LoadH Xor64R, LoadH Or64R, FpLoadW Add32R, FpLoadW Xor32R, FpLoadDw Xor64R, FpLoadDw Add64R,
    }
    load_branch {
        LoadB Jeq32I, LoadB Jne32I, LoadB Jeq64I, LoadB Jne64I, LoadB Jsgt32I, LoadH Jeq32I, LoadH Jne32I, LoadH Jne64I, LoadH Jeq64I,
        LoadW Jeq32I, LoadW Jne32I, LoadDw Jne64I, LoadDw Jeq64I, FpLoadDw Jeq64I, FpLoadDw Jne64I,
    }
    pairs {
        LoadB Lsh32I, Lsh32I LoadB, LoadW LoadW, LoadB LoadB, Add32R FpStoreW, Add32R Mov32R, Xor32R Mov32R, Xor64R Mov64R, Or32R Mov32R,
        Or64R Mov64R, Or64R Add64R, Add64I Add64I, Add64I Mov32R, Add64I Mov64R, Add64R Mov64R, Add32I Mov32R, Mov64R Mov64R,
        Mov32R FpLoadW, Mov64R FpLoadDw, FpStoreW Xor32R, FpStoreDw FpStoreDw, FpLoadDw FpLoadDw, FpStoreW FpStoreW,
        FpLoadW FpLoadW, Or32R Add32I, Or32R LoadB, Mov64I Mov64I, LoadW Rsh32I, StoreB Add64I, StoreW Add64I, Mov64R Mov64I,
        Add32R Add64I, Xor64R Xor64R, Add64R Xor64R, Rsh64I Lsh64I, Rsh32I Lsh32I, Lsh64I Mov64R, Rsh64I Mov64R, Mov32R Rsh32I,
        FpStoreW Mov32R, FpStoreDw Mov64R, Mov64R Add64R, Mov64R Add64I, Mov64R Rsh64I, Mov64R Lsh64I, Xor32R Add32R,
    }
    pair_branch {
        Mov32R Jeq64I, Mov32R Jeq32I, Mov64R Jeq64I, Add64I Jlt64R, Add64I Jne64I, Mov32I Jeq32I, Mov64I Jeq64I, StoreB Jne64I,
    }
}

/// What a register that `ops` write holds before them.
#[inline(always)]
fn target(state: &State, op: &ThreadedOp) -> u64 {
    state.regs[op.dst as usize]
}

fn accumulate2<A: Value, B: Value>(
    state: &mut State,
    env: &Env<'_>,
    op: &ThreadedOp,
    rest: &[ThreadedOp],
) -> usize {
    let [b, rest @ ..] = rest else { return rest.len() + 1 };
    let value = B::value(state, b, A::value(state, op, target(state, op)));
    state.regs[op.dst as usize] = value;
    next!(state, env, rest)
}

fn accumulate3<A: Value, B: Value, C: Value>(
    state: &mut State,
    env: &Env<'_>,
    op: &ThreadedOp,
    rest: &[ThreadedOp],
) -> usize {
    let [b, c, rest @ ..] = rest else { return rest.len() + 1 };
    let value = C::value(state, c, B::value(state, b, A::value(state, op, target(state, op))));
    state.regs[op.dst as usize] = value;
    next!(state, env, rest)
}

fn branch1<A: Value, C: Branch>(
    state: &mut State,
    env: &Env<'_>,
    op: &ThreadedOp,
    rest: &[ThreadedOp],
) -> usize {
    let [b, rest @ ..] = rest else { return rest.len() + 1 };
    let value = A::value(state, op, target(state, op));
    state.regs[op.dst as usize] = value;
    if C::holds(state, b, value) { jump!(state, env, b, rest) } else { next!(state, env, rest) }
}

fn branch2<A: Value, B: Value, C: Branch>(
    state: &mut State,
    env: &Env<'_>,
    op: &ThreadedOp,
    rest: &[ThreadedOp],
) -> usize {
    let [b, c, rest @ ..] = rest else { return rest.len() + 1 };
    let value = B::value(state, b, A::value(state, op, target(state, op)));
    state.regs[op.dst as usize] = value;
    if C::holds(state, c, value) { jump!(state, env, c, rest) } else { next!(state, env, rest) }
}

fn access1<A: Value, L: Access>(
    state: &mut State,
    env: &Env<'_>,
    op: &ThreadedOp,
    rest: &[ThreadedOp],
) -> usize {
    let [b, rest @ ..] = rest else { return rest.len() + 1 };
    let value = A::value(state, op, target(state, op));
    state.regs[op.dst as usize] = value;
    if !L::access(state, env.memory, b, value) {
        return rest.len() + 1;
    }
    next!(state, env, rest)
}

fn access2<A: Value, B: Value, L: Access>(
    state: &mut State,
    env: &Env<'_>,
    op: &ThreadedOp,
    rest: &[ThreadedOp],
) -> usize {
    let [b, c, rest @ ..] = rest else { return rest.len() + 1 };
    let value = B::value(state, b, A::value(state, op, target(state, op)));
    state.regs[op.dst as usize] = value;
    if !L::access(state, env.memory, c, value) {
        return rest.len() + 1;
    }
    next!(state, env, rest)
}

fn feed<A: Value, B: Value>(state: &mut State, env: &Env<'_>, op: &ThreadedOp, rest: &[ThreadedOp]) -> usize {
    let [b, rest @ ..] = rest else { return rest.len() + 1 };
    let other = target(state, b);
    let value = A::value(state, op, target(state, op));
    state.regs[op.dst as usize] = value;
    state.regs[b.dst as usize] = B::combine(other, value);
    next!(state, env, rest)
}

fn load_feed<L: Step, B: Value>(
    state: &mut State,
    env: &Env<'_>,
    op: &ThreadedOp,
    rest: &[ThreadedOp],
) -> usize {
    let [b, rest @ ..] = rest else { return rest.len() + 1 };
    let other = target(state, b);
    if !L::step(state, env.memory, op) {
        return rest.len() + 2;
    }
    let value = target(state, op);
    state.regs[b.dst as usize] = B::combine(other, value);
    next!(state, env, rest)
}

fn load_branch<L: Step, C: Branch>(
    state: &mut State,
    env: &Env<'_>,
    op: &ThreadedOp,
    rest: &[ThreadedOp],
) -> usize {
    let [b, rest @ ..] = rest else { return rest.len() + 1 };
    if !L::step(state, env.memory, op) {
        return rest.len() + 2;
    }
    let value = target(state, op);
    if C::holds(state, b, value) { jump!(state, env, b, rest) } else { next!(state, env, rest) }
}

fn pair<A: Step, B: Step>(state: &mut State, env: &Env<'_>, op: &ThreadedOp, rest: &[ThreadedOp]) -> usize {
    let [b, rest @ ..] = rest else { return rest.len() + 1 };
    if !A::step(state, env.memory, op) {
        return rest.len() + 2;
    }
    if !B::step(state, env.memory, b) {
        return rest.len() + 1;
    }
    next!(state, env, rest)
}

fn pair_branch<A: Step, C: Branch>(
    state: &mut State,
    env: &Env<'_>,
    op: &ThreadedOp,
    rest: &[ThreadedOp],
) -> usize {
    let [b, rest @ ..] = rest else { return rest.len() + 1 };
    if !A::step(state, env.memory, op) {
        return rest.len() + 2;
    }
    if C::holds(state, b, target(state, b)) { jump!(state, env, b, rest) } else { next!(state, env, rest) }
}

fn rotate64(state: &mut State, env: &Env<'_>, op: &ThreadedOp, rest: &[ThreadedOp]) -> usize {
    let [right, _, _, rest @ ..] = rest else { return rest.len() + 1 };
    let value = state.regs[op.src as usize];
    state.regs[op.dst as usize] = value >> (right.imm & 63);
    state.regs[op.src as usize] = value.rotate_right(right.imm as u32 & 63);
    next!(state, env, rest)
}

fn rotate32(state: &mut State, env: &Env<'_>, op: &ThreadedOp, rest: &[ThreadedOp]) -> usize {
    let [right, _, _, rest @ ..] = rest else { return rest.len() + 1 };
    let value = state.regs[op.src as usize] as u32;
    state.regs[op.dst as usize] = (value >> (right.imm & 31)).into();
    state.regs[op.src as usize] = value.rotate_right(right.imm as u32 & 31).into();
    next!(state, env, rest)
}
