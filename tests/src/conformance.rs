//! Conformance: bare instructions with known answers, and how to run them without a verifier, as the public bpf_conformance
//! suite wants it: r1 = memory, r2 = its length, r0 is the answer.
//!
//! The cases are data in `tests/conformance/`: `.case` files of small programs, and `.table` files that stand for many
//! programs of one instruction.

use mimic_abi::{AluOp, ByteOrder, Cond, Imm64, Insn, Operand, RawInsn, Reg, Width, asm};
use mimic_linux::{Linux, World};
use mimic_object::{MapSpec, Object, Program, Ref, RefTarget, Target};
use mimic_vm::{Checks, Engine, Limits, Outcome, RawContext, Vm};

use crate::engines::engines;

/// Instructions that one run may take: more than any conformance program needs, and soon over.
const INSNS_MAX: u64 = 100_000_000;

/// The one function that the public suite calls as a runtime's own (`call` with source 2): BTF id 42, no arguments, answers 0.
const RUNTIME_FUNCTION: (i32, &str) = (42, "conformance_runtime");

/// A program and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it shows, with the line it stands on.
    pub name: String,
    /// What r1 points at.
    pub memory: Vec<u8>,
    /// The program.
    pub code: Vec<RawInsn>,
    /// What r0 is at the end.
    pub r0: u64,
    /// Why Linux's verifier refuses it, if it does.
    pub kernel_refuses: Option<String>,
}

/// Runs instructions of the host's byte order on a copy of `memory`. The error is what a person can act on.
pub fn run_bytes(program: &[u8], memory: &[u8]) -> Result<u64, String> {
    let code = RawInsn::parse_all(program, ByteOrder::Little).map_err(|error| error.to_string())?;
    run(linked(code, ByteOrder::Little), &[], memory)
}

/// Runs a program that refers to nothing but its own functions.
pub fn run_code(code: Vec<RawInsn>, memory: &[u8]) -> Result<u64, String> {
    run(linked(code, ByteOrder::NATIVE), &[], memory)
}

/// Runs the first program of an object, with its maps.
pub fn run_object(object: &[u8], memory: &[u8]) -> Result<u64, String> {
    let object = Object::parse(object).map_err(|errors| errors.to_string())?;
    let spec = object.programs.first().ok_or("the object has no program")?;
    let target = Target { btf: object.btf.clone(), ..Target::default() };
    let linked = object.link_spec(spec, &target).map_err(|errors| errors.to_string())?;
    run(linked, &object.maps, memory)
}

/// Reads a `.case` file.
///
/// A case is a line `case NAME`, an optional line `mem BYTES`, the program in assembly, an optional line `kernel-refuses
/// WHY`, and a line `r0 NUMBER`. Lines that start with `#` are comments. The error names the line.
pub fn parse_cases(text: &str) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    let mut lines = (1..).zip(text.lines()).peekable();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |what: &str| format!("line {number}: {what}");
        let name = line.strip_prefix("case ").ok_or_else(|| fail("expected `case NAME`"))?;
        let (mut memory, mut text, mut kernel_refuses) = (Vec::new(), String::new(), None);
        let r0 = loop {
            let (_, line) = lines.next().ok_or_else(|| fail("the case ends without `r0 NUMBER`"))?;
            if let Some(bytes) = line.strip_prefix("mem ") {
                memory = hex_bytes(bytes).map_err(|error| fail(&error))?;
            } else if let Some(why) = line.strip_prefix("kernel-refuses ") {
                kernel_refuses = Some(why.to_owned());
            } else if let Some(value) = line.strip_prefix("r0 ") {
                break number_of(value).map_err(|error| fail(&error))?;
            } else {
                text.push_str(line);
                text.push('\n');
            }
        };
        let code = asm::assemble(&text, &()).map_err(|errors| fail(&errors.to_string()))?.slots;
        cases.push(Case { name: format!("line {number}: {name}"), memory, code, r0, kernel_refuses });
    }
    Ok(cases)
}

/// Reads `alu.table`: for each line a case with the second operand in a register, and one with an immediate if it fits.
pub fn parse_alu(text: &str) -> Result<Vec<Case>, String> {
    parse_operands(text, |name, width, dst, src, result| {
        let op = AluOp::ALL.iter().copied().find(|op| op.name() == name)?;
        let insn = |src| Insn::Alu { op, width, dst: Reg::R0, src };
        let code = |src| {
            [load(Reg::R0, dst), load(Reg::R1, src_of(src)), vec![insn(operand(src))], vec![Insn::Exit]]
                .concat()
        };
        Some((code(Source::Reg(src)), immediate(src).map(|imm| code(Source::Imm(imm))), result))
    })
}

/// Reads `branch.table`: r0 is 1 when the branch is taken.
pub fn parse_branches(text: &str) -> Result<Vec<Case>, String> {
    parse_operands(text, |name, width, dst, src, result| {
        let cond = Cond::ALL.iter().copied().find(|cond| cond.name() == name)?;
        let branch = |src| Insn::Branch { cond, width, dst: Reg::R2, src, off: 1 };
        let code = |src| {
            let start = [load(Reg::R2, dst), load(Reg::R1, src_of(src)), load(Reg::R0, 1)].concat();
            [start, vec![branch(operand(src))], vec![constant(Reg::R0, 0), Insn::Exit]].concat()
        };
        Some((code(Source::Reg(src)), immediate(src).map(|imm| code(Source::Imm(imm))), result))
    })
}

/// Reads `refuse.table`: slots that must not decode, with what is wrong with them.
pub fn parse_refused(text: &str) -> Result<Vec<(String, RawInsn)>, String> {
    let mut refused = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#')) {
        let (bytes, why) =
            line.split_once('#').ok_or_else(|| format!("line {number}: expected BYTES # WHY"))?;
        let bytes = hex_bytes(bytes).map_err(|error| format!("line {number}: {error}"))?;
        let slot = bytes.try_into().map_err(|_| format!("line {number}: expected 8 bytes"))?;
        refused
            .push((format!("line {number}: {}", why.trim()), RawInsn::from_bytes(slot, ByteOrder::Little)));
    }
    Ok(refused)
}

#[derive(Clone, Copy)]
enum Source {
    Reg(u64),
    Imm(i32),
}

fn operand(source: Source) -> Operand {
    match source {
        Source::Reg(_) => Operand::Reg(Reg::R1),
        Source::Imm(imm) => Operand::Imm(imm),
    }
}

/// What r1 holds: something else than the operand where that is an immediate.
fn src_of(source: Source) -> u64 {
    match source {
        Source::Reg(value) => value,
        Source::Imm(imm) => !(imm as u64),
    }
}

fn immediate(value: u64) -> Option<i32> {
    let imm = value as i32;
    (imm as i64 as u64 == value).then_some(imm)
}

fn load(dst: Reg, value: u64) -> Vec<Insn> {
    vec![Insn::LdImm64 { dst, value: Imm64::Const(value) }]
}

fn constant(dst: Reg, imm: i32) -> Insn {
    Insn::Alu { op: AluOp::Mov, width: Width::W64, dst, src: Operand::Imm(imm) }
}

type Programs = (Vec<Insn>, Option<Vec<Insn>>, u64);

fn parse_operands(
    text: &str,
    programs: impl Fn(&str, Width, u64, u64, u64) -> Option<Programs>,
) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#')) {
        let fail = |what: String| format!("line {number}: {what}");
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[name, dst, src, "=", result] = words.as_slice() else {
            return Err(fail("expected NAME DST SRC = RESULT".into()));
        };
        let (op, width) = match (name.strip_suffix("32"), name.strip_suffix("64")) {
            (Some(op), _) => (op, Width::W32),
            (_, Some(op)) => (op, Width::W64),
            _ => return Err(fail(format!("{name} has no width"))),
        };
        let value = |text: &str| number_of(text).map_err(fail);
        let found = programs(op, width, value(dst)?, value(src)?, value(result)?);
        let (register, immediate, r0) = found.ok_or_else(|| fail(format!("no operation {op}")))?;
        for (kind, insns) in [("", Some(register)), (" (immediate)", immediate)] {
            let Some(insns) = insns else { continue };
            let kernel_refuses = insns.iter().find_map(refused_constant);
            let name = format!("line {number}: {line}{kind}");
            cases.push(Case { name, memory: Vec::new(), code: encode(&insns), r0, kernel_refuses });
        }
    }
    Ok(cases)
}

/// What Linux's verifier refuses of constants.
fn refused_constant(insn: &Insn) -> Option<String> {
    let Insn::Alu { op, width, src: Operand::Imm(imm), .. } = *insn else { return None };
    match op {
        AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod if imm == 0 => Some("a division by 0".into()),
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh if !(0..width.bits() as i32).contains(&imm) => {
            Some("a shift by more than the width".into())
        }
        _ => None,
    }
}

fn encode(insns: &[Insn]) -> Vec<RawInsn> {
    let slots = |insn: &Insn| {
        let (first, second) = insn.encode();
        std::iter::once(first).chain(second)
    };
    insns.iter().flat_map(slots).collect()
}

fn number_of(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("{text:?} is not a number"))
}

fn hex_bytes(text: &str) -> Result<Vec<u8>, String> {
    let byte =
        |byte| u8::from_str_radix(byte, 16).map_err(|_| format!("{byte:?} is not a byte in hexadecimal"));
    text.split_whitespace().map(byte).collect()
}

/// A linked program of these slots, in which pointers to its own functions and calls of the runtime's are references.
fn linked(mut code: Vec<RawInsn>, byte_order: ByteOrder) -> Program {
    const LD_IMM64: u8 = 0x18;
    const PSEUDO_FUNC: u8 = 4;
    const CALL: u8 = 0x85;
    const PSEUDO_KFUNC: u8 = 2;
    let mut refs = Vec::new();
    for (pc, insn) in (0u32..).zip(&mut code) {
        let target = match (insn.opcode, insn.src, insn.imm) {
            (LD_IMM64, PSEUDO_FUNC, off) => {
                insn.imm = 0;
                RefTarget::Func(pc.wrapping_add(1).wrapping_add_signed(off))
            }
            (CALL, PSEUDO_KFUNC, id) if id == RUNTIME_FUNCTION.0 => {
                RefTarget::Kfunc { name: RUNTIME_FUNCTION.1.into(), weak: false, btf_id: id as u32 }
            }
            _ => continue,
        };
        refs.push(Ref { pc, target });
    }
    let bare = Program::from_code("main", code, byte_order);
    Program { section: ".text".into(), license: "GPL".into(), refs, ..bare }
}

/// Runs the program on all engines. An error too if they differ.
fn run(linked: Program, maps: &[MapSpec], memory: &[u8]) -> Result<u64, String> {
    let engines = engines(linked.byte_order);
    let run = |engine| run_on(engine, linked.clone(), maps, memory);
    let first = run(engines[0]);
    for &engine in &engines[1..] {
        // Compiled code in a cage does not notice every fault.
        let (other, unnoticed) = (run(engine), engine.1 == Checks::Cage && first.is_err());
        if other != first && !unnoticed {
            return Err(format!("the interpreter: {first:?}, {engine:?}: {other:?}"));
        }
    }
    first.map(|outcome| outcome.r0)
}

fn run_on(
    (engine, checks): (Engine, Checks),
    linked: Program,
    maps: &[MapSpec],
    memory: &[u8],
) -> Result<Outcome, String> {
    let limits = Limits { insns_max: INSNS_MAX, ..Limits::default() };
    let vm = Vm::builder(Linux::new(World::default())).byte_order(linked.byte_order).limits(limits);
    let vm = vm
        .helper(RUNTIME_FUNCTION.1, |_, _| Ok(0))
        .engine(engine)
        .checks(checks)
        .build()
        .map_err(|error| error.to_string())?;
    let maps = vm.load_maps(maps).map_err(|error| error.to_string())?;
    let program = vm.add(linked, &maps).map_err(|error| error.to_string())?;
    let mut process = vm.process(&program, 0).map_err(|error| error.to_string())?;
    process.run(&mut RawContext::with_len(memory)).map_err(|error| error.to_string())
}
