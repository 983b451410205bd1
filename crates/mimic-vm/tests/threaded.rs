//! Threaded code against the precise loop: a probe that only looks keeps a run in the latter, so both must end the same way.

use mimic_abi::{ByteOrder, RawInsn};
use mimic_object::Program;
use mimic_vm::{At, Emulator, Flow, Helper, Limits, Probe, RawContext, RunError, Vm};

struct NoHelpers;

impl Emulator for NoHelpers {
    fn helper(&self, _id: u32) -> Option<&Helper> {
        None
    }
}

struct Looks;

impl Probe for Looks {
    fn insn(&mut self, _at: &At<'_>) -> Flow {
        Flow::Go
    }
}

/// How a run ended: outcome or fault, instructions, registers, memory.
#[derive(Debug, PartialEq)]
struct End {
    result: Result<u64, String>,
    pc: u32,
    insns: u64,
    regs: [u64; 11],
    bytes: Vec<u8>,
}

fn run(code: &[RawInsn], insns_max: u64, probed: bool) -> End {
    let limits = Limits { insns_max, ..Limits::default() };
    let vm = Vm::builder(NoHelpers).byte_order(ByteOrder::NATIVE).limits(limits).build().unwrap();
    let program = Program::from_code("p", code.to_vec(), ByteOrder::NATIVE);
    let program = vm.add(program, &[]).unwrap();
    let mut process = vm.process(&program, 0).unwrap();
    let mut context = RawContext::with_len((0..64u32).map(|n| (n * 5) as u8).collect::<Vec<u8>>());
    let result = if probed {
        process.run_probed(&mut context, &mut Looks).map(Option::unwrap)
    } else {
        process.run(&mut context)
    };
    let result = match result {
        Ok(outcome) => Ok(outcome.r0),
        Err(RunError::Fault(fault)) => Err(fault.to_string()),
        Err(RunError::Context(error)) => panic!("{error}"),
    };
    let at = process.at();
    End { result, pc: at.pc, insns: process.insns(), regs: *at.regs, bytes: context.bytes }
}

/// Fails with the program if its two runs differ.
fn check(code: &[RawInsn], insns_max: u64) -> End {
    let (threaded, precise) = (run(code, insns_max, false), run(code, insns_max, true));
    assert_eq!(threaded, precise, "at most {insns_max} instructions of {code:#?}");
    threaded
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % bound
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> RawInsn {
    let mut bytes = [0; 8];
    bytes[0] = opcode;
    bytes[1] = if ByteOrder::NATIVE == ByteOrder::Little { dst | src << 4 } else { dst << 4 | src };
    bytes[2..4].copy_from_slice(&off.to_ne_bytes());
    bytes[4..].copy_from_slice(&imm.to_ne_bytes());
    RawInsn::from_bytes(bytes, ByteOrder::NATIVE)
}

/// The upper four bits of arithmetic that occurs, and of conditions.
const ALU: [u8; 11] = [0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xb0, 0xc0];
const COND: [u8; 11] = [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0];
const SIZES: [u8; 4] = [0x10, 0x08, 0x00, 0x18];

/// A program of `len` instructions or some more, which are often about the register that the one before wrote.
fn program(random: &mut Random, len: usize) -> Vec<RawInsn> {
    // r6 stays a pointer to the 64 bytes, as does r1.
    let mut code = vec![insn(0xbf, 6, 1, 0, 0), insn(0xb7, 2, 0, 0, 17)];
    let mut last = 0;
    while code.len() < len {
        let dst = if random.below(2) == 0 { last } else { random.pick(&[0, 2, 3, 4, 5]) };
        let src = if random.below(3) == 0 { last } else { random.pick(&[0, 2, 3, 4, 5, 6, 10]) };
        let imm = random.below(70) as i32;
        let size = random.pick(&SIZES);
        let off = random.below(80) as i16 - 8;
        match random.below(14) {
            0..5 => {
                let form = random.pick(&[0x07, 0x0f, 0x04, 0x0c]);
                let op = random.pick(&ALU);
                let imm = if matches!(op, 0x60 | 0x70 | 0xc0) { imm % 32 } else { imm };
                let (src, imm) = if form & 8 == 0 { (0, imm) } else { (src, 0) };
                code.push(insn(op | form, dst, src, 0, imm));
            }
            5 => code.push(insn(0x61 | size, dst, random.pick(&[1, 6]), off, 0)),
            6 => code.push(insn(0x61 | size, dst, 10, -8 * (1 + random.below(8) as i16), 0)),
            7 => code.push(insn(0x63 | size, 10, src, -8 * (1 + random.below(8) as i16), 0)),
            8 => {
                let (form, src, imm) = random.pick(&[(0x63, 2, 0), (0x63, src, 0), (0x62, 0, imm)]);
                code.push(insn(form | size, 6, src, off, imm));
            }
            9 => {
                // An element of the 64 bytes, or beyond.
                code.push(insn(0xb7, 2, 0, 0, random.below(66) as i32));
                code.push(insn(0xbf, 3, random.pick(&[1, 6]), 0, 0));
                code.push(insn(0x0f, 3, 2, 0, 0));
                let store = random.below(2) == 0;
                code.push(if store {
                    insn(0x63 | size, 3, src, 0, 0)
                } else {
                    insn(0x61 | size, dst, 3, 0, 0)
                });
            }
            10 => {
                // A rotation, or nearly one.
                let (form, bits) = random.pick(&[(0x0f, 64), (0x0c, 32)]);
                let by = random.below(bits) as i32;
                let left = if random.below(4) == 0 { by } else { (bits as i32 - by) % bits as i32 };
                code.push(insn(0xb0 | form, dst, src, 0, 0));
                code.push(insn(0x70 | form & 7, dst, 0, 0, by));
                code.push(insn(0x60 | form & 7, if src > 5 { 0 } else { src }, 0, 0, left));
                code.push(insn(0x40 | form, if src > 5 { 0 } else { src }, dst, 0, 0));
            }
            _ => {
                let form = random.pick(&[0x05, 0x0d, 0x06, 0x0e]);
                let (src, imm) = if form & 8 == 0 { (0, imm) } else { (src, 0) };
                code.push(insn(random.pick(&COND) | form, dst, src, random.below(12) as i16 - 4, imm));
            }
        }
        last = dst;
    }
    code.extend((0..12).map(|_| insn(0x95, 0, 0, 0, 0)));
    for (at, slot) in code.iter_mut().enumerate() {
        // Nothing leads before the start.
        if matches!(slot.opcode & 7, 5 | 6) && slot.opcode != 0x95 {
            slot.off = slot.off.max(-(at as i16) - 1);
        }
    }
    code
}

#[test]
fn random_programs_end_as_in_the_precise_loop() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut exits, mut faults) = (0, 0);
    for _ in 0..1500 {
        let len = 10 + random.below(50) as usize;
        let end = check(&program(&mut random, len), 5000);
        if end.result.is_ok() { exits += 1 } else { faults += 1 }
    }
    assert!(exits > 300 && faults > 300, "{exits} exits, {faults} faults");
}

#[test]
fn the_budget_ends_at_the_same_instruction() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..60 {
        let code = program(&mut random, 30);
        for insns_max in 1..25 {
            check(&code, insns_max);
        }
    }
}

#[test]
fn long_straight_runs_and_loops_are_whole() {
    // More than a piece of straight code, and more iterations than a chain of calls has.
    let mut code = vec![insn(0xb7, 0, 0, 0, 0), insn(0xb7, 2, 0, 0, 100)];
    code.extend((0..3000).map(|at| insn(if at % 3 == 0 { 0x67 } else { 0x07 }, 0, 0, 0, 1 + at % 5)));
    code.extend([insn(0x07, 2, 0, 0, -1), insn(0x55, 2, 0, -3002, 0), insn(0x95, 0, 0, 0, 0)]);
    let end = check(&code, 1 << 30);
    assert_eq!(end.insns, 2 + 100 * 3002 + 1);
}
