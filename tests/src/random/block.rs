//! The statements of a random function: each adds instructions and says what registers hold afterwards.
//!
//! Jumps are structured (if, if-else, counted loop), so what is known at a point is what holds on every way to it. In a
//! loop's body a register that held a number at its head still does at its end, and one that pointed somewhere is left
//! alone; only registers that were unknown at the head may come to hold anything else.

use mimic_abi::{AluOp, AtomicOp, Callee, Cond, Imm64, Insn, Operand, RawInsn, Reg, Size, Swap, Width};

use super::function::{Param, SHARED_AREA, Signature, alu, mov, unresolved_call, unresolved_pointer};
use super::rng::Rng;
use super::state::{Kind, Object, SPILLS, State, writable};
use super::{PACKET_LEN, RandomMap};

/// What a function may do.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    /// Bytes of its scratch area, at the top of its frame, a multiple of 8.
    pub(super) area: usize,
    pub(super) maps: &'a [RandomMap],
    /// All subprograms; it may call those from `first_callee` on.
    pub(super) signatures: &'a [Signature],
    pub(super) first_callee: usize,
    /// Whether LD_ABS and LD_IND may be used; the context is in r6 then.
    pub(super) packet_loads: bool,
    /// Statements at its outermost level; half as many one level down, and so on.
    pub(super) statements: usize,
}

/// A function in the making.
#[derive(Debug)]
pub(super) struct Function<'a> {
    pub(super) rng: &'a mut Rng,
    limits: Limits<'a>,
    code: Vec<RawInsn>,
    /// Registers that must stay as they are, one bit each.
    locked: u16,
    /// Registers that may come to hold a pointer or nothing.
    loose: u16,
    /// Whether r0 to r5 may be clobbered here.
    calls: bool,
    loops: usize,
}

/// A place in memory: `base + off`.
#[derive(Clone, Copy)]
struct Place {
    base: Reg,
    off: i16,
    size: Size,
}

const HELPER_LOOKUP: u32 = 1;
const HELPER_UPDATE: u32 = 2;
const HELPER_DELETE: u32 = 3;
const HELPER_SMP_PROCESSOR_ID: u32 = 8;
const HELPER_PUSH: u32 = 87;
const HELPER_POP: u32 = 88;
const HELPER_PEEK: u32 = 89;
const HELPER_LOOP: u32 = 181;

/// How deep blocks nest, and loops in each other.
const MAX_DEPTH: usize = 3;
const MAX_LOOPS: usize = 2;

impl<'a> Function<'a> {
    pub(super) fn new(rng: &'a mut Rng, limits: Limits<'a>) -> Function<'a> {
        Function { rng, limits, code: Vec::new(), locked: 0, loose: u16::MAX, calls: true, loops: 0 }
    }

    pub(super) fn into_code(self) -> Vec<RawInsn> {
        self.code
    }

    pub(super) fn code(&self) -> &[RawInsn] {
        &self.code
    }

    pub(super) fn area(&self) -> usize {
        self.limits.area
    }

    pub(super) fn push(&mut self, insn: Insn) {
        let (first, second) = insn.encode();
        self.code.push(first);
        self.code.extend(second);
    }

    pub(super) fn lock(&mut self, reg: Reg) {
        self.locked |= bit(reg);
    }

    /// Gives most registers a number and the whole scratch area a content.
    pub(super) fn init(&mut self, state: &mut State) {
        let free: Vec<Reg> = writable().filter(|reg| state.kind(*reg) == Kind::Unknown).collect();
        for reg in free {
            if self.rng.chance(70) {
                self.number(state, reg);
            }
        }
        for off in (1..=self.limits.area / 8).map(|slot| -(8 * slot as i16)) {
            let src = self.operand(&state.scalars());
            self.push(Insn::Store { size: Size::Dw, base: Reg::R10, off, src });
        }
    }

    /// As many statements as the depth is worth.
    pub(super) fn statements(&mut self, state: &mut State, depth: usize) {
        let most = (self.limits.statements >> depth).max(1);
        for _ in 0..self.rng.range(1, most) {
            self.statement(state, depth);
        }
    }

    /// A number register or an immediate.
    pub(super) fn operand(&mut self, scalars: &[Reg]) -> Operand {
        if scalars.is_empty() || self.rng.chance(35) {
            Operand::Imm(self.rng.imm())
        } else {
            Operand::Reg(self.rng.pick(scalars))
        }
    }

    fn statement(&mut self, state: &mut State, depth: usize) {
        match self.rng.below(100) {
            0..28 => self.binary(state),
            28..33 => self.constant(state),
            33..40 => self.unary(state),
            40..51 => self.load(state),
            51..61 => self.store(state),
            61..69 => self.atomic(state),
            69..72 => self.ordered(state),
            72..80 if depth < MAX_DEPTH => self.branch(state, depth),
            80..83 if depth < MAX_DEPTH && self.loops < MAX_LOOPS => self.counted_loop(state, depth),
            83..91 if self.calls => self.helper(state, depth),
            91..94 if self.calls => self.any_subprogram(state),
            94..96 => self.spill_or_fill(state),
            96..97 => self.copy_pointer(state),
            97..99 => self.variable_offset(state),
            99 if self.calls && self.limits.packet_loads => self.packet_load(state),
            _ => self.binary(state),
        }
    }

    // ---- numbers

    fn binary(&mut self, state: &mut State) {
        let Some(dst) = self.number_to_change(state) else { return self.constant(state) };
        let op = self.rng.pick(AluOp::ALL);
        let width = self.width();
        let src = match (op, self.operand(&state.scalars())) {
            (AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod, Operand::Imm(0)) => Operand::Imm(-1),
            (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Operand::Imm(imm)) => {
                Operand::Imm(imm & (width.bits() as i32 - 1))
            }
            (_, src) => src,
        };
        self.push(Insn::Alu { op, width, dst, src });
    }

    fn unary(&mut self, state: &mut State) {
        let Some(dst) = self.number_to_change(state) else { return self.constant(state) };
        let src = self.rng.pick(&state.scalars());
        let width = self.width();
        let insn = match self.rng.below(3) {
            0 => Insn::Neg { width, dst },
            1 => {
                let op = self.rng.pick(&[Swap::ToLe, Swap::ToBe, Swap::Bswap]);
                Insn::Swap { op, bits: self.rng.pick(&[16, 32, 64]), dst }
            }
            _ => {
                let bits =
                    if width == Width::W64 { self.rng.pick(&[8, 16, 32]) } else { self.rng.pick(&[8, 16]) };
                Insn::MovSx { width, bits, dst, src }
            }
        };
        self.push(insn);
    }

    fn constant(&mut self, state: &mut State) {
        if let Some(dst) = self.target(state) {
            self.number(state, dst);
        }
    }

    /// Puts some number into `dst`: a constant, or eight bytes of the packet, of which the verifier knows nothing.
    fn number(&mut self, state: &mut State, dst: Reg) {
        let packet = state.pointers().into_iter().find(|(_, object, _)| *object == Object::Packet);
        let insn = match (packet, self.rng.below(4)) {
            (Some((base, _, at)), 0..=1) => {
                let off = self.rng.below(PACKET_LEN - 7) as i16 - at;
                Insn::Load { size: Size::Dw, sext: false, dst, base, off }
            }
            (_, 2) => Insn::LdImm64 { dst, value: Imm64::Const(self.rng.value()) },
            _ => {
                let src = Operand::Imm(self.rng.imm());
                Insn::Alu { op: AluOp::Mov, width: self.width(), dst, src }
            }
        };
        self.push(insn);
        state.set(dst, Kind::Scalar);
    }

    // ---- memory

    fn load(&mut self, state: &mut State) {
        let Some(place) = self.place(state, &Size::ALL, |_| true, false) else { return };
        let Some(dst) = self.target(state) else { return };
        let sext = place.size != Size::Dw && self.rng.chance(30);
        self.push(Insn::Load { size: place.size, sext, dst, base: place.base, off: place.off });
        state.set(dst, Kind::Scalar);
    }

    fn store(&mut self, state: &mut State) {
        let Some(Place { base, off, size }) = self.place(state, &Size::ALL, |_| true, false) else { return };
        let src = self.operand(&state.scalars());
        self.push(Insn::Store { size, base, off, src });
    }

    fn atomic(&mut self, state: &mut State) {
        let Some(src) = self.number_to_change(state) else { return };
        let atomics = |object| object != Object::Packet;
        let Some(Place { base, off, size }) = self.place(state, &[Size::W, Size::Dw], atomics, true) else {
            return;
        };
        let op = self.rng.pick(AtomicOp::ALL);
        if op == AtomicOp::Cmpxchg && !self.r0_is_a_number(state, base) {
            return;
        }
        let fetch = op.always_fetches() || self.rng.chance(50);
        if fetch && !matches!(state.kind(base), Kind::Ptr(Object::Value(_), _)) {
            // Linux 6.18 follows what a fetch from the stack yields, but not where it came from when it looks for what a branch
            // depended on, and so drops code that is live. Bytes of no known value are not followed.
            let src = Operand::Imm(0x5a);
            self.push(Insn::Store { size: Size::B, base, off: off + 1, src });
        }
        self.push(Insn::Atomic { op, fetch, size, base, off, src });
    }

    /// Load-acquire and store-release.
    fn ordered(&mut self, state: &mut State) {
        let atomics = |object| object != Object::Packet;
        let Some(Place { base, off, size }) = self.place(state, &Size::ALL, atomics, true) else { return };
        let scalars = state.scalars();
        if !scalars.is_empty() && self.rng.chance(50) {
            let src = self.rng.pick(&scalars);
            self.push(Insn::StoreRelease { size, base, off, src });
        } else if let Some(dst) = self.target(state) {
            self.push(Insn::LoadAcquire { size, dst, base, off });
            state.set(dst, Kind::Scalar);
        }
    }

    /// Through a pointer plus a masked number.
    fn variable_offset(&mut self, state: &mut State) {
        let pointers = self.pointers(state, |object| object != Object::Packet);
        let (from, object, at) = self.rng.pick(&pointers);
        let size = self.rng.pick(&Size::ALL);
        let Some(last) = self.len(object).checked_sub(size.bytes()) else { return };
        let Some(index) = self.number_to_change(state) else { return };
        let free: Vec<Reg> = writable()
            .filter(|reg| self.may_point(*reg) && *reg != index && *reg != from)
            .filter(|reg| state.kind(*reg) != Kind::Ptr(Object::Packet, 0))
            .collect();
        if free.is_empty() {
            return;
        }
        let base = self.rng.pick(&free);
        // The largest mask of low bits that keeps a whole, aligned access inside.
        let low_bits = (last + 1).next_power_of_two() >> usize::from(!(last + 1).is_power_of_two());
        let mask = (low_bits - 1) & !(size.bytes() - 1);
        self.push(alu(AluOp::And, index, Operand::Imm(mask as i32)));
        self.push(mov(base, from));
        self.push(alu(AluOp::Add, base, Operand::Reg(index)));
        let off = self.start(object) - at;
        state.set(base, Kind::Unknown);
        let scalars = state.scalars();
        if self.rng.chance(50) {
            let src = self.operand(&scalars);
            self.push(Insn::Store { size, base, off, src });
        } else {
            self.push(Insn::Load { size, sext: false, dst: base, base, off });
            state.set(base, Kind::Scalar);
        }
    }

    fn spill_or_fill(&mut self, state: &mut State) {
        let slot = self.rng.below(SPILLS);
        let off = -((self.limits.area + 8 * (slot + 1)) as i16);
        let held = state.spills[slot];
        if held != Kind::Unknown && self.rng.chance(60) {
            let Some(dst) = self.target(state) else { return };
            if held == Kind::Scalar || self.may_point(dst) {
                self.push(Insn::Load { size: Size::Dw, sext: false, dst, base: Reg::R10, off });
                state.set(dst, held);
            }
        } else if self.loops == 0 {
            let known: Vec<Reg> = writable().filter(|reg| state.kind(*reg) != Kind::Unknown).collect();
            if !known.is_empty() {
                let reg = self.rng.pick(&known);
                self.push(Insn::Store { size: Size::Dw, base: Reg::R10, off, src: Operand::Reg(reg) });
                state.spills[slot] = state.kind(reg);
            }
        }
    }

    fn copy_pointer(&mut self, state: &mut State) {
        let pointers = self.pointers(state, |_| true);
        let (from, object, at) = self.rng.pick(&pointers);
        let free: Vec<Reg> =
            writable().filter(|reg| self.may_point(*reg) && state.kind(*reg) == Kind::Unknown).collect();
        if free.is_empty() {
            return;
        }
        let dst = self.rng.pick(&free);
        let to = self.start(object) + self.rng.below(self.len(object)) as i16;
        self.push(mov(dst, from));
        self.push(alu(AluOp::Add, dst, Operand::Imm(i32::from(to - at))));
        state.set(dst, Kind::Ptr(object, to));
    }

    // ---- control flow

    fn branch(&mut self, state: &mut State, depth: usize) {
        let scalars = state.scalars();
        if scalars.is_empty() {
            return;
        }
        let insn = Insn::Branch {
            cond: self.rng.pick(Cond::ALL),
            width: self.width(),
            dst: self.rng.pick(&scalars),
            src: self.operand(&scalars),
            off: 0,
        };
        let skip_then = self.forward(insn);
        let mut then = state.clone();
        self.statements(&mut then, depth + 1);
        if self.rng.chance(50) {
            let long = self.rng.chance(20);
            let skip_else = self.forward(Insn::Goto { off: 0, long });
            self.land(skip_then);
            self.statements(state, depth + 1);
            self.land(skip_else);
        } else {
            self.land(skip_then);
        }
        state.meet(&then);
    }

    fn counted_loop(&mut self, state: &mut State, depth: usize) {
        let calls = self.calls && self.rng.chance(50);
        let free: Vec<Reg> = writable()
            .filter(|reg| self.locked & bit(*reg) == 0 && !(calls && reg.index() <= 5))
            .filter(|reg| matches!(state.kind(*reg), Kind::Scalar) || self.loose & bit(*reg) != 0)
            .filter(|reg| !matches!(state.kind(*reg), Kind::Ptr(..)))
            .collect();
        if free.is_empty() {
            return;
        }
        let counter = self.rng.pick(&free);
        let (locked, loose, outer_calls) = (self.locked, self.loose, self.calls);
        if calls {
            state.regs[0] = Kind::Unknown;
            state.clobber();
            self.forget_stale(state);
        }
        self.push(alu(AluOp::Mov, counter, Operand::Imm(0)));
        state.set(counter, Kind::Scalar);
        for reg in writable() {
            match state.kind(reg) {
                Kind::Ptr(..) => self.locked |= bit(reg),
                Kind::Scalar => self.loose &= !bit(reg),
                Kind::Unknown => {}
            }
        }
        self.locked |= bit(counter);
        self.calls = calls;
        self.loops += 1;
        let head = self.code.len();
        self.statements(state, depth + 1);
        self.push(alu(AluOp::Add, counter, Operand::Imm(1)));
        let off = head as i16 - (self.code.len() as i16 + 1);
        let cond = self.rng.pick(&[Cond::Lt, Cond::Ne, Cond::Slt]);
        let times = Operand::Imm(self.rng.range(1, 6) as i32);
        let width = self.width();
        self.push(Insn::Branch { cond, width, dst: counter, src: times, off });
        (self.locked, self.loose, self.calls) = (locked, loose, outer_calls);
        self.loops -= 1;
    }

    // ---- calls

    fn helper(&mut self, state: &mut State, depth: usize) {
        let index = self.rng.range(1, self.limits.maps.len() - 1);
        let map = &self.limits.maps[index];
        if self.rng.chance(8) {
            self.call(state, HELPER_SMP_PROCESSOR_ID);
        } else if map.kind.is_queue() {
            self.queue_helper(state, index);
        } else {
            self.write_key(state, map.key_size as usize);
            self.map_arg(index);
            match self.rng.below(10) {
                0..6 => self.lookup(state, index, depth),
                6..9 => {
                    self.area_arg(Reg::R3, map.value_size as usize);
                    let flags = self.rng.pick(&[0, 0, 0, 1, 2, 3]);
                    self.push(alu(AluOp::Mov, Reg::R4, Operand::Imm(flags)));
                    self.call(state, HELPER_UPDATE);
                }
                _ => self.call(state, HELPER_DELETE),
            }
        }
    }

    fn queue_helper(&mut self, state: &mut State, index: usize) {
        let helper = self.rng.pick(&[HELPER_PUSH, HELPER_POP, HELPER_PEEK]);
        self.map_arg(index);
        self.area_arg(Reg::R2, self.limits.maps[index].value_size as usize);
        if helper == HELPER_PUSH {
            let flags = self.rng.pick(&[0, 0, 2, 1]);
            self.push(alu(AluOp::Mov, Reg::R3, Operand::Imm(flags)));
        }
        self.call(state, helper);
    }

    /// The lookup itself, the null check, and statements that may use the value.
    fn lookup(&mut self, state: &mut State, index: usize, depth: usize) {
        self.push(Insn::Call(Callee::Helper(HELPER_LOOKUP)));
        state.clobber();
        state.set(Reg::R0, Kind::Unknown);
        let null =
            Insn::Branch { cond: Cond::Eq, width: Width::W64, dst: Reg::R0, src: Operand::Imm(0), off: 0 };
        let skip = self.forward(null);
        let mut found = state.clone();
        found.set(Reg::R0, Kind::Ptr(Object::Value(index), 0));
        for _ in 0..self.rng.range(1, 3) {
            match self.rng.below(4) {
                0 => self.load(&mut found),
                1 => self.store(&mut found),
                2 => self.atomic(&mut found),
                _ => self.statement(&mut found, depth + 1),
            }
        }
        self.land(skip);
        // Null is a number to the verifier, but what else the way through the value made of r0 is not.
        state.meet(&found);
    }

    /// Stores a key that may well exist somewhere in the scratch area and points r2 at it.
    fn write_key(&mut self, state: &State, key_size: usize) {
        let at = self.area_place(key_size);
        let key = match self.operand(&state.scalars()) {
            Operand::Imm(imm) => Operand::Imm(imm & 7),
            Operand::Reg(reg) => {
                self.push(mov(Reg::R2, reg));
                self.push(alu(AluOp::And, Reg::R2, Operand::Imm(7)));
                Operand::Reg(Reg::R2)
            }
        };
        self.push(Insn::Store { size: Size::W, base: Reg::R10, off: at, src: key });
        for off in (4..key_size).step_by(4) {
            let zero = Operand::Imm(0);
            self.push(Insn::Store { size: Size::W, base: Reg::R10, off: at + off as i16, src: zero });
        }
        self.frame_arg(Reg::R2, at);
    }

    fn map_arg(&mut self, index: usize) {
        self.push(Insn::LdImm64 { dst: Reg::R1, value: Imm64::MapIdx(index as i32) });
    }

    /// Points `reg` at `len` bytes of the scratch area.
    fn area_arg(&mut self, reg: Reg, len: usize) {
        let at = self.area_place(len);
        self.frame_arg(reg, at);
    }

    fn frame_arg(&mut self, reg: Reg, at: i16) {
        self.push(mov(reg, Reg::R10));
        self.push(alu(AluOp::Add, reg, Operand::Imm(i32::from(at))));
    }

    fn area_place(&mut self, len: usize) -> i16 {
        let slots = (self.limits.area - len) / 8;
        8 * self.rng.range(0, slots) as i16 - self.limits.area as i16
    }

    /// A call that answers a number, and may have deleted or replaced any entry.
    fn call(&mut self, state: &mut State, helper: u32) {
        self.push(Insn::Call(Callee::Helper(helper)));
        state.clobber();
        state.set(Reg::R0, Kind::Scalar);
        self.forget_stale(state);
    }

    fn any_subprogram(&mut self, state: &mut State) {
        let callees = self.limits.first_callee..self.limits.signatures.len();
        if !callees.is_empty() {
            let callee = callees.start + self.rng.below(callees.len());
            self.subprogram(state, callee);
        }
    }

    /// Calls the subprogram with this index.
    pub(super) fn subprogram(&mut self, state: &mut State, callee: usize) {
        let signature = self.limits.signatures[callee].clone();
        if signature.callback {
            return self.call_back(state, callee);
        }
        // The arguments' own registers are written one after another, so none of them is a source.
        let sources: Vec<Reg> =
            state.scalars().into_iter().filter(|reg| !(1..=5).contains(&reg.index())).collect();
        for (dst, param) in Reg::all().skip(1).zip(&signature.args) {
            match param {
                Param::Scalar => {
                    let src = self.operand(&sources);
                    self.push(alu(AluOp::Mov, dst, src));
                }
                Param::Area => self.frame_arg(dst, -(self.limits.area as i16)),
            }
        }
        self.push(unresolved_call(callee));
        state.clobber();
        state.set(Reg::R0, Kind::Scalar);
        self.forget_stale(state);
    }

    /// Has bpf_loop call the subprogram with this index.
    fn call_back(&mut self, state: &mut State, callee: usize) {
        match self.operand(&state.scalars()) {
            Operand::Imm(imm) => self.push(alu(AluOp::Mov, Reg::R1, Operand::Imm(imm & 3))),
            Operand::Reg(reg) => {
                self.push(mov(Reg::R1, reg));
                self.push(alu(AluOp::And, Reg::R1, Operand::Imm(3)));
            }
        }
        // A callback that the verifier knows is never called is dropped, and the pointer to it is "a verifier bug".
        self.push(alu(AluOp::Or, Reg::R1, Operand::Imm(1)));
        self.push(unresolved_pointer(Reg::R2, callee));
        self.frame_arg(Reg::R3, -(self.limits.area as i16));
        let flags = self.rng.pick(&[0, 0, 0, 1]);
        self.push(alu(AluOp::Mov, Reg::R4, Operand::Imm(flags)));
        self.call(state, HELPER_LOOP);
    }

    fn packet_load(&mut self, state: &mut State) {
        let size = self.rng.pick(&[Size::B, Size::H, Size::W]);
        // One in a few reaches past the end, which ends the program with 0.
        let imm = self.rng.below(PACKET_LEN + 1) as i32;
        let index = if self.rng.chance(50) { self.number_to_change(state) } else { None };
        if let Some(index) = index {
            self.push(alu(AluOp::And, index, Operand::Imm(7)));
        }
        self.push(Insn::Packet { size, index, imm });
        state.clobber();
        state.set(Reg::R0, Kind::Scalar);
    }

    // ---- what may be used

    /// A place inside of an object that `wanted` likes, for one access of one of `sizes`.
    fn place(
        &mut self,
        state: &State,
        sizes: &[Size],
        wanted: impl Fn(Object) -> bool,
        aligned: bool,
    ) -> Option<Place> {
        let pointers = self.pointers(state, wanted);
        // Map values are rarer and more interesting than the stack.
        let values: Vec<_> =
            pointers.iter().copied().filter(|(_, object, _)| matches!(object, Object::Value(_))).collect();
        let from = if !values.is_empty() && self.rng.chance(60) { values } else { pointers };
        let (base, object, at) = self.rng.pick(&from);
        let size = self.rng.pick(sizes);
        let last = self.len(object).checked_sub(size.bytes())?;
        let mut position = self.rng.range(0, last);
        let stack = matches!(object, Object::Frame | Object::Caller);
        if aligned || stack || self.rng.chance(85) {
            position -= position % size.bytes();
        }
        Some(Place { base, off: self.start(object) + position as i16 - at, size })
    }

    /// What can be accessed by offset; the frame pointer at least, if it is wanted.
    fn pointers(&self, state: &State, wanted: impl Fn(Object) -> bool) -> Vec<(Reg, Object, i16)> {
        let accessible = |object| object != Object::Ctx && wanted(object);
        state.pointers().into_iter().filter(|(_, object, _)| accessible(*object)).collect()
    }

    /// A register for a number: seldom one that points somewhere.
    fn target(&mut self, state: &State) -> Option<Reg> {
        let free: Vec<Reg> = writable().filter(|reg| self.locked & bit(*reg) == 0).collect();
        let numbers: Vec<Reg> =
            free.iter().copied().filter(|reg| !matches!(state.kind(*reg), Kind::Ptr(..))).collect();
        let from = if numbers.is_empty() || self.rng.chance(4) { free } else { numbers };
        if from.is_empty() { None } else { Some(self.rng.pick(&from)) }
    }

    /// A register that holds a number and may hold another.
    fn number_to_change(&mut self, state: &State) -> Option<Reg> {
        let numbers: Vec<Reg> =
            state.scalars().into_iter().filter(|reg| self.locked & bit(*reg) == 0).collect();
        if numbers.is_empty() { None } else { Some(self.rng.pick(&numbers)) }
    }

    /// Makes r0 hold a number, unless it is locked or the base of an access to come.
    fn r0_is_a_number(&mut self, state: &mut State, base: Reg) -> bool {
        if self.locked & bit(Reg::R0) != 0 || base == Reg::R0 {
            return false;
        }
        if state.kind(Reg::R0) != Kind::Scalar {
            self.number(state, Reg::R0);
        }
        true
    }

    fn may_point(&self, reg: Reg) -> bool {
        self.loose & !self.locked & bit(reg) != 0
    }

    /// The lowest accessible byte of an object, from where its pointers are counted.
    fn start(&self, object: Object) -> i16 {
        if object == Object::Frame { -(self.limits.area as i16) } else { 0 }
    }

    fn len(&self, object: Object) -> usize {
        match object {
            Object::Frame => self.limits.area,
            Object::Caller => SHARED_AREA,
            Object::Value(map) => self.limits.maps[map].value_size as usize,
            Object::Packet => PACKET_LEN,
            Object::Ctx => 0,
        }
    }

    fn forget_stale(&self, state: &mut State) {
        let maps = self.limits.maps;
        state.forget(|object| matches!(object, Object::Value(map) if maps[map].kind.is_hash()));
    }

    fn width(&mut self) -> Width {
        if self.rng.chance(50) { Width::W32 } else { Width::W64 }
    }

    /// Adds a jump whose target is not known yet.
    fn forward(&mut self, insn: Insn) -> usize {
        self.push(insn);
        self.code.len() - 1
    }

    /// The jump at `pc` comes here.
    fn land(&mut self, pc: usize) {
        const GOTO_LONG: u8 = 0x06;
        let off = self.code.len() - (pc + 1);
        let insn = &mut self.code[pc];
        if insn.opcode == GOTO_LONG { insn.imm = off as i32 } else { insn.off = off as i16 }
    }
}

fn bit(reg: Reg) -> u16 {
    1 << reg.index()
}
