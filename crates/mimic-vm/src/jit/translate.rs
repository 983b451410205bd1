//! The translator: a walk over a program's ops that emits code through a [`Backend`].
//!
//! What is rare (accesses outside a window, overdrawn budgets, faults) is put behind the program's code, out of the way of what is not.

use super::backend::{Access, Backend, Check, Finished, Src, TooLong};
use super::ctx::{self, Fact};
use super::flow::{Flow, Next, RegSet, next};
use super::label::Label;
use super::state::Reason;
use super::values::Values;
use super::{Checks, Mode};
use crate::op::{Code, Kind, Op};
use crate::program::LoadedProgram;
use mimic_abi::{AluOp, Insn, Reg, Size, Width};

mod count;
mod helper;

use count::Count;

/// Not a place that can be entered.
pub(super) const NO_ENTRY: u32 = u32::MAX;

/// What a program was made into.
pub(super) struct Translation {
    pub(super) finished: Finished,
    /// Where each op's code begins, by rising offset.
    pub(super) starts: Box<[u32]>,
    /// Where it can be entered, or [`NO_ENTRY`].
    pub(super) entries: Box<[u32]>,
    /// Where functions return to: the offset, and the op that it is.
    pub(super) returns: Box<[(u32, u32)]>,
    /// For each op, how many before it are not counted when control comes there.
    pub(super) pending: Box<[u32]>,
    /// Functions that the program has the addresses of.
    pub(super) functions: Box<[usize]>,
}

pub(super) fn translate<B: Backend>(
    program: &LoadedProgram,
    mode: &Mode,
    backend: B,
) -> Result<Translation, TooLong> {
    let flow = Flow::new(program);
    let bases = mode.ctx.map(|_| ctx::bases(program, &flow));
    let ops = &program.ops.ops;
    let mut b = backend;
    b.uses(flow.used, flow.memory);
    let count = Count::new(ops, &flow);
    let labels = flow.targets.iter().map(|target| target.then(|| b.label())).collect();
    let translator = Translator {
        program,
        mode,
        b,
        labels,
        bases,
        flow,
        cold: Vec::new(),
        exact: 0,
        values: Values::new(),
        starts: Vec::with_capacity(ops.len()),
        entries: vec![NO_ENTRY; ops.len()],
        returns: Vec::new(),
        pending: Vec::with_capacity(ops.len()),
        count,
    };
    translator.run()
}

/// Code that is put behind the rest.
enum Cold {
    /// Runs an op in Rust, and goes on.
    Op { here: Label, op: usize, back: Label },
    /// Calls a helper, and goes on.
    Helper { here: Label, op: usize, back: Label },
    /// Has 0 in r0, and goes on.
    Zero { here: Label, back: Label },
    /// Leaves.
    Leave { here: Label, op: usize, reason: Reason },
    /// A jump back when the budget is overdrawn: the whole of it, and a fault if it is taken.
    Overdrawn { here: Label, op: usize, back: Label },
}

struct Translator<'a, B> {
    program: &'a LoadedProgram,
    mode: &'a Mode,
    b: B,
    labels: Vec<Option<Label>>,
    /// What is known of address registers; none if there is no need to know.
    bases: Option<Box<[Fact]>>,
    flow: Flow,
    cold: Vec<Cold>,
    count: Count,
    /// Registers whose upper half is known to be zero.
    exact: RegSet,
    values: Values,
    starts: Vec<u32>,
    entries: Vec<u32>,
    returns: Vec<(u32, u32)>,
    pending: Vec<u32>,
}

impl<B: Backend> Translator<'_, B> {
    fn run(mut self) -> Result<Translation, TooLong> {
        let program = self.program;
        let ops = &program.ops.ops;
        let mut at = 0;
        while at < ops.len() {
            self.begin(at);
            self.mark();
            let taken = self.fused(at).unwrap_or_else(|| {
                self.op(at, &ops[at]);
                1
            });
            ops[at..at + taken].iter().for_each(|op| self.values.step(op));
            for last in at..at + taken {
                if last > at {
                    self.mark();
                }
                if next(&ops[last]) == Next::On {
                    self.count.step();
                }
            }
            at += taken;
        }
        self.put_cold();
        let main = self.labels[0].expect("the first op is a target");
        Ok(Translation {
            finished: self.b.finish(main)?,
            starts: self.starts.into(),
            entries: self.entries.into(),
            returns: self.returns.into(),
            pending: self.pending.into(),
            functions: self.flow.entries,
        })
    }

    /// What comes before an op's own code.
    fn begin(&mut self, at: usize) {
        let ops = &self.program.ops.ops;
        if let Some(label) = self.labels[at] {
            let falls = at > 0 && !matches!(next(&ops[at - 1]), Next::Jump(_) | Next::Leave);
            self.count_at(at, falls);
            if self.flow.loops[at] {
                self.b.align_loop();
            }
            self.b.bind(label);
            self.values = Values::new();
        }
        if self.labels[at].is_some() || at > 0 && may_leave(self.program, &ops[at - 1]) {
            self.b.forget();
            self.exact = 0;
            self.entries[at] = self.b.offset();
        }
    }

    /// An op's code begins, or has begun with that of the ops before.
    fn mark(&mut self) {
        self.starts.push(self.b.offset());
        self.pending.push(self.count.pending());
    }

    fn leave(&mut self, op: usize, reason: Reason) -> Label {
        let here = self.b.label();
        self.cold.push(Cold::Leave { here, op, reason });
        here
    }

    fn op(&mut self, at: usize, op: &Op) {
        let (dst, src) = (op.dst & 15, op.src & 15);
        match op.code.kind() {
            Kind::Alu(alu, width, imm) => {
                let src = if imm { Src::Imm(op.imm) } else { Src::Reg(src) };
                self.b.alu(alu, width, dst, src);
                self.alu_known(alu, width, dst, src);
            }
            Kind::Branch(..) => self.branch(at, op),
            Kind::Other(code) => self.other(at, op, code, dst, src),
        }
    }

    /// Follows what is known of upper halves.
    fn alu_known(&mut self, alu: AluOp, width: Width, dst: u8, src: Src) {
        let exact = match (alu, width, src) {
            (_, Width::W32, _) => true,
            (AluOp::Mov, Width::W64, Src::Reg(src)) => self.exact & 1 << src != 0 || src == 10,
            (AluOp::Mov | AluOp::And, Width::W64, Src::Imm(imm)) if imm >> 32 == 0 => true,
            (AluOp::And, Width::W64, Src::Reg(src)) => self.exact & (1 << src | 1 << dst) != 0,
            (AluOp::And | AluOp::Rsh, Width::W64, Src::Imm(_)) => self.exact & 1 << dst != 0,
            (AluOp::Rsh, Width::W64, Src::Reg(_)) => self.exact & 1 << dst != 0,
            (AluOp::Or | AluOp::Xor, Width::W64, Src::Reg(src)) => {
                self.exact & 1 << dst != 0 && self.exact & 1 << src != 0
            }
            _ => false,
        };
        self.set_exact(dst, exact);
    }

    fn set_exact(&mut self, dst: u8, exact: bool) {
        self.exact = self.exact & !(1 << dst) | RegSet::from(exact) << dst;
    }

    fn other(&mut self, at: usize, op: &Op, code: Code, dst: u8, src: u8) {
        match code {
            Code::Neg64 => {
                self.b.neg(Width::W64, dst);
                self.set_exact(dst, false);
            }
            Code::Neg32 => {
                self.b.neg(Width::W32, dst);
                self.set_exact(dst, true);
            }
            Code::MovSx64 => {
                self.b.mov_sx(Width::W64, op.imm as u8, dst, src);
                self.set_exact(dst, false);
            }
            Code::MovSx32 => {
                self.b.mov_sx(Width::W32, op.imm as u8, dst, src);
                self.set_exact(dst, true);
            }
            Code::Bswap => {
                self.b.swap(op.imm as u8, dst);
                self.set_exact(dst, op.imm < 64);
            }
            Code::Trunc if op.imm < 64 => {
                self.b.zero_extend(op.imm as u8, dst, dst);
                self.set_exact(dst, true);
            }
            Code::Trunc => {}
            Code::LdImm64 => {
                self.b.constant(dst, op.imm);
                self.set_exact(dst, op.imm >> 32 == 0);
            }
            Code::FpLoadB | Code::FpLoadH | Code::FpLoadW | Code::FpLoadDw => self.load(at, op, 10, true),
            Code::LoadB | Code::LoadH | Code::LoadW | Code::LoadDw => self.load(at, op, src, false),
            Code::LoadSxB | Code::LoadSxH | Code::LoadSxW => self.load(at, op, src, false),
            Code::FpStoreB | Code::FpStoreH | Code::FpStoreW | Code::FpStoreDw => {
                self.store(at, op, 10, Src::Reg(src), true);
            }
            Code::StoreB | Code::StoreH | Code::StoreW | Code::StoreDw => {
                self.store(at, op, dst, Src::Reg(src), false);
            }
            Code::StoreImmB | Code::StoreImmH | Code::StoreImmW | Code::StoreImmDw => {
                self.store(at, op, dst, Src::Imm(op.imm), false);
            }
            Code::Rare => self.rare(at, op),
            Code::Goto | Code::MayGoto => self.branch(at, op),
            Code::CallHelper => self.helper(at),
            Code::CallSubprog => self.call(at, op),
            Code::Exit => {
                let overdrawn = self.leave(at, Reason::Budget);
                self.count_all(overdrawn);
                self.b.ret();
            }
            Code::CallX | Code::WriteR10 | Code::End => self.b.leave(Reason::Op, at as u32),
            _ => unreachable!("arithmetic and branches are done elsewhere"),
        }
    }

    /// What an access is held against: none if only the table of objects can tell.
    fn check(&mut self, at: usize, base: u8, off: i32, size: Size, store: bool) -> Option<Check> {
        // Loads from nothing give zero in some programs: what is nothing is known to the table of objects only.
        let precise =
            self.mode.checks == Checks::Precise || self.program.probe_loads || self.program.arena.is_some();
        match (self.bases.as_ref().map_or(Fact::No, |bases| bases[at]), self.mode.ctx) {
            (Fact::At(start), Some(layout)) => {
                let off = u32::try_from(i64::from(start) + i64::from(off)).ok();
                let allowed = off.is_some_and(|off| {
                    layout.allows(off, size.bytes() as u32, store)
                        && (!store || layout.kept(off, u64::MAX) == Some(u64::MAX))
                });
                allowed.then_some(Check::Known)
            }
            (Fact::Maybe, Some(_)) => Some(Check::Window(self.b.label())),
            _ if precise => Some(Check::Window(self.b.label())),
            _ if base == 10 || self.exact & 1 << base != 0 => Some(Check::Known),
            _ => Some(Check::Cage),
        }
    }

    /// Puts the way to the slow path behind the code, if the check has one.
    fn slow(&mut self, at: usize, check: Check) {
        if let Check::Window(here) = check {
            let back = self.b.label();
            self.b.bind(back);
            self.cold.push(Cold::Op { here, op: at, back });
        }
    }

    fn load(&mut self, at: usize, op: &Op, base: u8, known: bool) {
        let (size, sext) = op.code.access().expect("a load has a size");
        let dst = op.dst & 15;
        let check = if known { Some(Check::Known) } else { self.check(at, base, op.off, size, false) };
        match check {
            Some(check) => {
                self.b.load(Access { base, off: op.off, size, check }, sext, dst);
                self.slow(at, check);
            }
            None => self.b.op_in_rust(at as u32),
        }
        self.set_exact(dst, !sext && size != Size::Dw);
    }

    fn store(&mut self, at: usize, op: &Op, base: u8, src: Src, known: bool) {
        let (size, _) = op.code.access().expect("a store has a size");
        let check = if known { Some(Check::Known) } else { self.check(at, base, op.off, size, true) };
        match check {
            Some(check) => {
                self.b.store(Access { base, off: op.off, size, check }, src);
                self.slow(at, check);
            }
            None => self.b.op_in_rust(at as u32),
        }
    }

    fn rare(&mut self, at: usize, op: &Op) {
        match self.program.ops.rare[op.imm as usize] {
            Insn::Packet { .. } => self.b.leave(Reason::Op, at as u32),
            Insn::Atomic { op, fetch, size, base, off, src } => {
                let src = src.index() as u8;
                self.ordered(at, base, off, size, true, |b, access, slow| {
                    b.atomic(op, fetch, access, src, slow)
                });
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                let dst = dst.index() as u8;
                self.ordered(at, base, off, size, false, |b, access, slow| {
                    b.load_acquire(access, dst, slow);
                    true
                });
            }
            Insn::StoreRelease { size, base, off, src } => {
                let src = src.index() as u8;
                self.ordered(at, base, off, size, true, |b, access, slow| {
                    b.store_release(access, src, slow);
                    true
                });
            }
            _ => {
                self.b.op_in_rust(at as u32);
                self.exact = 0;
            }
        }
    }

    /// An access that has to be aligned. `emit` answers whether there is a form of it; the label is where to go for what Rust has to do.
    fn ordered(
        &mut self,
        at: usize,
        base: Reg,
        off: i16,
        size: Size,
        write: bool,
        emit: impl FnOnce(&mut B, Access, Label) -> bool,
    ) {
        let (base, off) = (base.index() as u8, off.into());
        let here = self.b.label();
        let check = match self.check(at, base, off, size, write) {
            Some(Check::Window(_)) => Some(Check::Window(here)),
            other => other,
        };
        if check.is_some_and(|check| emit(&mut self.b, Access { base, off, size, check }, here)) {
            self.slow(at, Check::Window(here));
        } else {
            self.b.op_in_rust(at as u32);
        }
        self.exact = 0;
    }

    fn branch(&mut self, at: usize, op: &Op) {
        let target = op.off as u32 as usize;
        let to = self.labels[target].expect("the target of a jump is one");
        if target > at {
            self.count_jump(at, target);
            if target == at + 1 && op.code != Code::MayGoto {
                return;
            }
            return self.jump(op, to);
        }
        if op.code == Code::Goto {
            let here = self.leave(at, Reason::Budget);
            self.count_all(here);
            return self.b.jump(to);
        }
        let (here, back) = (self.b.label(), self.b.label());
        self.count_all(here);
        self.jump(op, to);
        self.b.bind(back);
        self.cold.push(Cold::Overdrawn { here, op: at, back });
    }

    fn jump(&mut self, op: &Op, to: Label) {
        match op.code.kind() {
            Kind::Branch(cond, width, imm) => {
                let src = if imm { Src::Imm(op.imm) } else { Src::Reg(op.src & 15) };
                self.b.branch(cond, width, op.dst & 15, src, to);
            }
            Kind::Other(Code::MayGoto) => self.b.may_goto(to),
            _ => self.b.jump(to),
        }
    }

    fn call(&mut self, at: usize, op: &Op) {
        if self.mode.frames_outside {
            return self.b.leave(Reason::Op, at as u32);
        }
        let to = self.labels[op.off as u32 as usize].expect("the target of a call is one");
        let (none, overdrawn) = (self.leave(at, Reason::CallDepth), self.leave(at, Reason::Budget));
        self.b.need_frame(none);
        self.count_all(overdrawn);
        let back = self.b.call(to, self.flow.may_goto);
        self.returns.push((back, at as u32 + 1));
    }

    fn put_cold(&mut self) {
        let ops = &self.program.ops.ops;
        let mut at = 0;
        // Overdrawn jumps add some of their own.
        while at < self.cold.len() {
            match self.cold[at] {
                Cold::Op { here, op, back } => {
                    self.b.bind(here);
                    self.b.op_in_rust(op as u32);
                    self.b.jump(back);
                }
                Cold::Helper { here, op, back } => {
                    self.b.bind(here);
                    self.helper_call(op);
                    self.b.jump(back);
                }
                Cold::Zero { here, back } => {
                    self.b.bind(here);
                    self.b.constant(0, 0);
                    self.b.jump(back);
                }
                Cold::Leave { here, op, reason } => {
                    self.b.bind(here);
                    self.b.leave(reason, op as u32);
                }
                Cold::Overdrawn { here, op, back } => {
                    self.b.bind(here);
                    let taken = self.leave(op, Reason::Budget);
                    self.jump(&ops[op], taken);
                    self.b.jump(back);
                }
            }
            at += 1;
        }
    }

    /// Emits several ops as one, where that is known to be better; answers how many.
    fn fused(&mut self, at: usize) -> Option<usize> {
        None.or_else(|| self.rotation_of_copies(at)).or_else(|| self.rotation(at)).or_else(|| self.moved(at))
    }

    /// Whether the next ops run straight on from the first.
    fn window<const N: usize>(&self, at: usize) -> Option<[Op; N]> {
        let ops = self.program.ops.ops.get(at..at + N)?;
        let straight = self.flow.leads[at + 1..at + N].iter().all(|leads| !leads);
        straight.then(|| *ops.first_chunk().expect("there are N"))
    }

    /// `t = x; t <<= k; x >>= n - k; x |= t` and its like, when only one result is read afterwards.
    fn rotation(&mut self, at: usize) -> Option<usize> {
        let [copy, first, second, join] = self.window::<4>(at)?;
        let Kind::Alu(AluOp::Mov, width, false) = copy.code.kind() else { return None };
        let (t, x) = (copy.dst, copy.src);
        let shift = |op: &Op| match op.code.kind() {
            Kind::Alu(alu @ (AluOp::Lsh | AluOp::Rsh), of, true) if of == width => {
                Some((alu, op.dst, op.imm))
            }
            _ => None,
        };
        let (one, other) = (shift(&first)?, shift(&second)?);
        let Kind::Alu(AluOp::Or | AluOp::Xor | AluOp::Add, of, false) = join.code.kind() else { return None };
        let (bits, result, dead) = (if width == Width::W64 { 64 } else { 32 }, join.dst, join.src);
        let registers = (one.1, other.1) == (t, x) || (one.1, other.1) == (x, t);
        let joined = (result, dead) == (t, x) || (result, dead) == (x, t);
        let whole = one.0 != other.0 && one.2 + other.2 == bits && one.2 > 0 && other.2 > 0;
        let read = self.flow.live_after[at + 3] & 1 << dead != 0;
        if t == x || of != width || !registers || !joined || !whole || read {
            return None;
        }
        let left = if one.0 == AluOp::Lsh { one.2 } else { other.2 };
        self.b.rotate(width, result, x, left as u8);
        self.set_exact(result, width == Width::W32);
        // What it would hold is not computed.
        self.set_exact(dead, false);
        Some(4)
    }

    /// `a = x; a >>= n - k; b = x; b <<= k; b |= a` and its like, when `a` is not read afterwards.
    fn rotation_of_copies(&mut self, at: usize) -> Option<usize> {
        let [copy_a, shift_a, copy_b, shift_b, join] = self.window::<5>(at)?;
        let (a, b, x) = (copy_a.dst, copy_b.dst, copy_a.src);
        let Kind::Alu(AluOp::Mov, width, false) = copy_a.code.kind() else { return None };
        let Kind::Alu(AluOp::Or | AluOp::Xor | AluOp::Add, of, false) = join.code.kind() else { return None };
        let shift = |op: &Op| match op.code.kind() {
            Kind::Alu(alu @ (AluOp::Lsh | AluOp::Rsh), of, true) if of == width => {
                Some((alu, op.dst, op.imm))
            }
            _ => None,
        };
        let (first, second) = (shift(&shift_a)?, shift(&shift_b)?);
        let bits = if width == Width::W64 { 64 } else { 32 };
        let copies = copy_b.code == copy_a.code && copy_b.src == x && a != b && a != x && b != x;
        let shifts = (first.1, second.1) == (a, b) && first.0 != second.0;
        let whole = first.2 + second.2 == bits && first.2 > 0 && second.2 > 0;
        let joined = of == width && (join.dst, join.src) == (b, a);
        if !(copies && shifts && whole && joined) || self.flow.live_after[at + 4] & 1 << a != 0 {
            return None;
        }
        let left = if first.0 == AluOp::Lsh { first.2 } else { second.2 };
        self.b.rotate(width, b, x, left as u8);
        self.set_exact(b, width == Width::W32);
        // What it would hold is not computed.
        self.set_exact(a, false);
        Some(5)
    }

    /// `d = s` and an addition, a mask, or two shifts that cut.
    fn moved(&mut self, at: usize) -> Option<usize> {
        let [copy, op] = self.window::<2>(at)?;
        let d = copy.dst;
        if op.dst != d {
            return None;
        }
        match (copy.code, op.code) {
            (Code::Mov64R, Code::Add64I) if copy.src != d => {
                self.b.add3(d, copy.src, Src::Imm(op.imm));
                self.set_exact(d, false);
            }
            (Code::Mov64R, Code::Add64R) if copy.src != d && op.src != d => {
                self.b.add3(d, copy.src, Src::Reg(op.src));
                self.set_exact(d, false);
            }
            (Code::Mov64R | Code::Mov32R, Code::And64I | Code::And32I) if matches!(op.imm, 0xff | 0xffff) => {
                self.b.zero_extend(if op.imm == 0xff { 8 } else { 16 }, d, copy.src);
                self.set_exact(d, true);
            }
            (Code::Lsh64I, Code::Rsh64I) if copy.imm == 32 && op.imm == 32 => {
                self.b.zero_extend(32, d, d);
                self.set_exact(d, true);
            }
            (Code::Lsh64I, Code::Arsh64I) if copy.imm == 32 && op.imm == 32 => {
                self.b.mov_sx(Width::W64, 32, d, d);
                self.set_exact(d, false);
            }
            _ => return None,
        }
        Some(2)
    }
}

/// Whether the process may come back behind this op from outside of compiled code.
fn may_leave(program: &LoadedProgram, op: &Op) -> bool {
    match op.code {
        Code::CallHelper | Code::CallSubprog | Code::CallX => true,
        Code::Rare => matches!(program.ops.rare[op.imm as usize], Insn::Packet { .. }),
        _ => false,
    }
}
