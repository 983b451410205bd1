//! The frame of a random program: its main function's beginning and end, its subprograms, and how they are put together.

use mimic_abi::{AluOp, Callee, Cond, Imm64, Insn, Operand, RawInsn, Reg, Size, Width};

use super::block::{Function, Limits};
use super::rng::Rng;
use super::state::{Kind, Object, SPILLS, State};
use super::{PACKET_LEN, RandomKind, RandomMap};

/// The most bytes of scratch area on main's stack.
pub(super) const MAX_AREA: usize = 96;

/// Bytes of scratch area that every function has at least, and may hand to what it calls.
pub(super) const SHARED_AREA: usize = 32;

/// What a subprogram takes.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub(super) args: Vec<Param>,
    /// It is handed to bpf_loop, and so answers 0 or 1.
    pub(super) callback: bool,
}

/// One argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Param {
    Scalar,
    /// The first [`SHARED_AREA`] bytes of the caller's scratch area.
    Area,
}

/// A whole program: main first, then the subprograms, calls resolved.
pub(super) fn program(rng: &mut Rng, kind: RandomKind, maps: &[RandomMap]) -> Vec<RawInsn> {
    let count = rng.pick(&[0, 0, 0, 1, 1, 2, 3]);
    let signatures: Vec<Signature> = (0..count).map(|_| Signature::random(rng)).collect();
    let subprograms: Vec<_> = (0..count).map(|index| subprogram(rng, maps, &signatures, index)).collect();
    // The verifier refuses functions that nobody calls.
    let uncalled: Vec<usize> =
        (0..count).filter(|index| !subprograms.iter().any(|code| calls(code, *index))).collect();
    let mut code = main(rng, kind, maps, &signatures, &uncalled);
    let mut starts = Vec::new();
    for subprogram in subprograms {
        starts.push(code.len());
        code.extend(subprogram);
    }
    for (pc, insn) in code.iter_mut().enumerate().filter(|(_, insn)| names_function(insn)) {
        insn.imm = starts[insn.imm as usize] as i32 - (pc as i32 + 1);
    }
    code
}

/// The slots at which functions begin, main's first, as calls and function pointers say.
pub(super) fn starts(code: &[RawInsn]) -> Vec<u32> {
    let target = |(pc, insn): (u32, &RawInsn)| (pc + 1).wrapping_add_signed(insn.imm);
    let mut starts: Vec<u32> = (0..).zip(code).filter(|(_, insn)| names_function(insn)).map(target).collect();
    starts.push(0);
    starts.sort_unstable();
    starts.dedup();
    starts
}

fn calls(code: &[RawInsn], index: usize) -> bool {
    code.iter().any(|insn| names_function(insn) && insn.imm as usize == index)
}

/// Calls a subprogram, or loads its address.
pub(super) fn names_function(insn: &RawInsn) -> bool {
    insn.opcode == CALL && insn.src == PSEUDO_CALL || insn.opcode == LD_IMM64 && insn.src == PSEUDO_FUNC
}

const CALL: u8 = 0x85;
const PSEUDO_CALL: u8 = 1;
const LD_IMM64: u8 = 0x18;
const PSEUDO_FUNC: u8 = 4;

/// A call whose offset is, until everything has its place, the subprogram's index.
pub(super) fn unresolved_call(index: usize) -> Insn {
    Insn::Call(Callee::Subprog(index as i32))
}

/// A function pointer, resolved as `unresolved_call` is.
pub(super) fn unresolved_pointer(dst: Reg, index: usize) -> Insn {
    Insn::LdImm64 { dst, value: Imm64::Func(index as i32) }
}

fn main(
    rng: &mut Rng,
    kind: RandomKind,
    maps: &[RandomMap],
    signatures: &[Signature],
    uncalled: &[usize],
) -> Vec<RawInsn> {
    let area = 8 * rng.range(SHARED_AREA / 8, MAX_AREA / 8);
    // Legacy packet loads end the program when out of bounds, which the kernel refuses to mix with subprograms.
    let packet_loads = kind == RandomKind::SchedCls && signatures.is_empty() && rng.chance(30);
    let limits =
        Limits { area, maps, signatures, first_callee: 0, packet_loads, statements: rng.range(6, 32) };
    let mut function = Function::new(rng, limits);
    let mut state = State::empty();
    state.set(Reg::R1, Kind::Ptr(Object::Ctx, 0));
    if packet_loads {
        function.push(mov(Reg::R6, Reg::R1));
        state.set(Reg::R6, Kind::Ptr(Object::Ctx, 0));
        function.lock(Reg::R6);
    }
    find_packet(&mut function, &mut state, kind);
    function.init(&mut state);
    function.statements(&mut state, 0);
    for index in uncalled.iter().filter(|index| !calls(function.code(), **index)).copied().collect::<Vec<_>>()
    {
        function.subprogram(&mut state, index);
    }
    results(&mut function, &state);
    function.into_code()
}

fn subprogram(rng: &mut Rng, maps: &[RandomMap], signatures: &[Signature], index: usize) -> Vec<RawInsn> {
    let area = 8 * rng.range(SHARED_AREA / 8, SHARED_AREA / 8 + 1);
    let limits = Limits {
        area,
        maps,
        signatures,
        first_callee: index + 1,
        packet_loads: false,
        statements: rng.range(3, 12),
    };
    let mut function = Function::new(rng, limits);
    let mut state = State::empty();
    for (arg, param) in signatures[index].args.iter().enumerate() {
        state.regs[arg + 1] = match param {
            Param::Scalar => Kind::Scalar,
            Param::Area => Kind::Ptr(Object::Caller, 0),
        };
    }
    function.init(&mut state);
    function.statements(&mut state, 1);
    let scalars = state.scalars();
    if state.kind(Reg::R0) != Kind::Scalar {
        let result = function.operand(&scalars);
        function.push(Insn::Alu { op: AluOp::Mov, width: Width::W64, dst: Reg::R0, src: result });
    }
    for reg in scalars.into_iter().filter(|reg| *reg != Reg::R0) {
        function.push(alu(AluOp::Xor, Reg::R0, Operand::Reg(reg)));
    }
    if signatures[index].callback {
        function.push(alu(AluOp::And, Reg::R0, Operand::Imm(1)));
    }
    function.push(Insn::Exit);
    function.into_code()
}

/// r7 (or another) points at the packet from here on, of which `PACKET_LEN` bytes may be accessed.
fn find_packet(function: &mut Function<'_>, state: &mut State, kind: RandomKind) {
    let (data, data_end) = kind.packet_fields();
    let packet = function.rng.pick(&[Reg::R7, Reg::R8, Reg::R9, Reg::R5]);
    let load = |dst, off| Insn::Load { size: Size::W, sext: false, dst, base: Reg::R1, off };
    function.push(load(packet, data));
    function.push(load(Reg::R3, data_end));
    function.push(mov(Reg::R2, packet));
    function.push(alu(AluOp::Add, Reg::R2, Operand::Imm(PACKET_LEN as i32)));
    let fits =
        Insn::Branch { cond: Cond::Le, width: Width::W64, dst: Reg::R2, src: Operand::Reg(Reg::R3), off: 2 };
    function.push(fits);
    function.push(alu(AluOp::Mov, Reg::R0, Operand::Imm(0)));
    function.push(Insn::Exit);
    state.set(packet, Kind::Ptr(Object::Packet, 0));
    state.set(Reg::R1, Kind::Unknown);
}

/// Stores all that can be read into the results map, and a mix of it into r0.
fn results(function: &mut Function<'_>, state: &State) {
    let area = function.area();
    let saved = |reg: Reg| -((area + 8 * SPILLS + 8 * (reg.index() + 1)) as i16);
    let scalars = state.scalars();
    for reg in &scalars {
        let src = Operand::Reg(*reg);
        function.push(Insn::Store { size: Size::Dw, base: Reg::R10, off: saved(*reg), src });
    }
    function.push(Insn::LdImm64 { dst: Reg::R1, value: Imm64::MapIdxValue { idx: 0, off: 0 } });
    function.push(alu(AluOp::Mov, Reg::R0, Operand::Imm(0)));
    let registers = scalars.iter().map(|reg| (saved(*reg), 8 * reg.index() as i16));
    let words = (0..area / 8).map(|word| (8 * word as i16 - area as i16, 80 + 8 * word as i16));
    for (from, to) in registers.chain(words) {
        function.push(Insn::Load { size: Size::Dw, sext: false, dst: Reg::R2, base: Reg::R10, off: from });
        function.push(Insn::Store { size: Size::Dw, base: Reg::R1, off: to, src: Operand::Reg(Reg::R2) });
        function.push(alu(AluOp::Mul, Reg::R0, Operand::Imm(0x0100_0193)));
        function.push(alu(AluOp::Xor, Reg::R0, Operand::Reg(Reg::R2)));
    }
    function.push(mov(Reg::R2, Reg::R0));
    function.push(alu(AluOp::Rsh, Reg::R2, Operand::Imm(32)));
    function.push(alu(AluOp::Xor, Reg::R0, Operand::Reg(Reg::R2)));
    function.push(Insn::Exit);
}

pub(super) fn mov(dst: Reg, src: Reg) -> Insn {
    alu(AluOp::Mov, dst, Operand::Reg(src))
}

pub(super) fn alu(op: AluOp, dst: Reg, src: Operand) -> Insn {
    Insn::Alu { op, width: Width::W64, dst, src }
}

impl Signature {
    fn random(rng: &mut Rng) -> Signature {
        if rng.chance(15) {
            return Signature { args: vec![Param::Scalar, Param::Area], callback: true };
        }
        let param = |_| if rng.chance(25) { Param::Area } else { Param::Scalar };
        let mut args: Vec<Param> = (0..5).map(param).collect();
        args.truncate(rng.range(0, 5));
        Signature { args, callback: false }
    }
}
