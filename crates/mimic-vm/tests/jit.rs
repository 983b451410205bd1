//! Compiled code against the interpreter: unverified programs of random instructions, shapes that are emitted as one, and what the host
//! sees of it.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, Insn, RawInsn};
use mimic_object::Program;
use mimic_vm::{
    Call, Checks, Emulator, Engine, FuncRef, Helper, HelperResult, Limits, Outcome, RawContext, Trap, Vm,
};
use std::process::Command;

/// Helpers: 1 adds, 2 tail calls the running program, 3 fails.
struct Small;

const ROWS: &[Helper] = &[
    Helper::new(mimic_abi::HelperSpec::new(1, "add"), add),
    Helper::new(mimic_abi::HelperSpec::new(2, "again"), |call, _, _, _, _, _| {
        Err(Trap::TailCall(call.program().clone()))
    }),
    Helper::new(mimic_abi::HelperSpec::new(3, "fail"), |_, _, _, _, _, _| {
        Err(mimic_abi::Errno::EINVAL.into())
    }),
];

fn add(_: &mut Call<'_>, a: u64, b: u64, c: u64, d: u64, e: u64) -> HelperResult {
    Ok(a.wrapping_add(b).wrapping_add(c).wrapping_add(d).wrapping_add(e))
}

impl Emulator for Small {
    fn helper(&self, id: u32) -> Option<&Helper> {
        ROWS.iter().find(|row| row.spec.id == id)
    }
}

const PRECISE: (Engine, Checks) = (Engine::Jit, Checks::Precise);
const CAGE: (Engine, Checks) = (Engine::Jit, Checks::Cage);
const INTERP: (Engine, Checks) = (Engine::Interp, Checks::Precise);

/// What a run came to, with the memory afterwards; none if the program cannot be loaded.
type Answer = (Result<Outcome, String>, Vec<u8>);

fn run(code: &[RawInsn], (engine, checks): (Engine, Checks), insns_max: u64) -> Option<Answer> {
    let limits = Limits { insns_max, ..Limits::default() };
    let vm = Vm::builder(Small).engine(engine).checks(checks).limits(limits).build().expect("address space");
    let program = vm.add(Program::from_code("test", code.to_vec(), ByteOrder::Little), &[]).ok()?;
    let mut process = vm.process(&program, 0).expect("memory");
    let mut context = RawContext::with_len((1..=64).collect::<Vec<u8>>());
    let outcome = process.run(&mut context).map_err(|error| error.to_string());
    Some((outcome, context.bytes))
}

/// Numbers that repeat.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// An instruction that decodes: any, with near jumps and small displacements more often than not.
    fn insn(&mut self, at: usize, len: usize) -> RawInsn {
        loop {
            let bits = self.next();
            let (dst, src) = ((bits & 15) as u8 % 11, (bits >> 4 & 15) as u8 % 11);
            let off = match self.below(4) {
                0 => (self.below(len as u64) as i64 - at as i64) as i16,
                1 => -8 * self.below(8) as i16,
                2 => self.below(64) as i16,
                _ => 0,
            };
            let imm = match self.below(4) {
                0 => self.below(64) as i32,
                1 => self.below(4) as i32,
                _ => self.next() as i32,
            };
            let opcode = (bits >> 8) as u8;
            let call = opcode == 0x85;
            let (src, imm) = match self.below(2) {
                0 if call => (0, 1 + self.below(3) as i32),
                _ if call => (1, self.below(len as u64) as i32 - at as i32),
                _ => (src, imm),
            };
            let off =
                if matches!(opcode & 7, 4 | 7) || call { [0, 0, 1][self.below(3) as usize] } else { off };
            let insn = RawInsn { opcode, dst, src, off, imm };
            let src_only = RawInsn { src: 0, ..insn };
            for insn in [insn, src_only, RawInsn { off: 0, imm: 0, ..insn }] {
                if opcode != 0x18 && Insn::decode(&[insn]).is_ok() {
                    return insn;
                }
            }
        }
    }

    fn program(&mut self) -> Vec<RawInsn> {
        let len = 4 + self.below(40) as usize;
        let mut code = assemble("r6 = r1; r7 = r1; r7 += 16; r8 = 7; r9 = -3; r3 = r10; r3 += -32", &())
            .expect("it is")
            .slots;
        while code.len() < len {
            let insn = self.insn(code.len(), len);
            code.push(insn);
        }
        code.extend(assemble("exit", &()).expect("it is").slots);
        code
    }
}

#[test]
fn random_instructions_do_the_same_with_precise_checks() {
    let mut dice = Dice(1);
    let (mut loaded, mut ended) = (0, 0);
    for _ in 0..4000 {
        let code = dice.program();
        let insns_max = 1000 + dice.below(64);
        let Some(expected) = run(&code, INTERP, insns_max) else { continue };
        let got = run(&code, PRECISE, insns_max).expect("it loads");
        assert_eq!(got, expected, "{code:?}");
        // Without faults the cage gives the same; with some it may not notice, but the process lives.
        let caged = run(&code, CAGE, insns_max).expect("it loads");
        if expected.0.is_ok() {
            assert_eq!(caged, expected, "{code:?}");
            ended += 1;
        }
        loaded += 1;
    }
    assert!(loaded > 1000 && ended > 300, "{loaded} loaded, {ended} ended");
}

/// Each on all engines, for some numbers in r3 and r4.
#[test]
fn shapes_that_are_emitted_as_one_compute_the_same() {
    let shapes = [
        "r0 = r3; r0 <<= 13; r3 >>= 51; r0 |= r3; r3 = 0",
        "r0 = r3; r0 >>= 51; r3 <<= 13; r3 ^= r0; r0 = r3",
        "w0 = w3; w0 <<= 7; w3 >>= 25; w3 |= w0; r0 = r3",
        "w0 = w3; w0 <<= 7; w3 >>= 25; w0 += w3; w3 = 0",
        "r2 = r3; r2 >>= 43; r0 = r3; r0 <<= 21; r0 |= r2; r0 += r3",
        "w2 = w3; w2 <<= 5; w0 = w3; w0 >>= 27; w0 |= w2; r0 += r3",
        "r2 = r3; r2 >>= 43; r0 = r3; r0 <<= 21; r0 |= r2; r0 += r2",
        "r2 = r3; r2 >>= 43; r0 = r3; r0 <<= 20; r0 |= r2",
        "r0 = r3; r0 += 77; r0 ^= r3",
        "r0 = r3; r0 += r4; r0 ^= r3",
        "r9 = r3; r8 = r9; r8 += r4; r0 = r8",
        "r8 = r3; r0 = r8; r0 += r4",
        "r0 = r3; r0 += r3",
        "r0 = r3; r0 &= 255",
        "w0 = w3; w0 &= 65535",
        "r0 = r3; r0 <<= 32; r0 >>= 32",
        "r0 = r3; r0 <<= 32; r0 s>>= 32",
        "r0 = r3; r0 /= r4; r3 %= r4; r0 += r3",
        "r0 = r3; r0 s/= r4; r3 s%= r4; r0 += r3",
        "r2 = r3; w2 /= w4; w3 %= w4; r0 = r2; r0 += r3",
        "r2 = r3; w2 s/= w4; w3 s%= w4; r0 = r2; r0 += r3",
        "r0 = r3; r0 /= 7; r3 %= 7; r0 += r3; r4 /= 64; r0 += r4; w4 %= 1024; r0 += r4",
        "r2 = r3; r2 /= 7; r0 = r2; r3 s/= -1; r0 += r3; r3 s%= -1; r0 += r3",
        "r0 = r3; r0 <<= r4; r2 = r3; r2 >>= r4; r3 s>>= r4; r0 += r2; r0 += r3",
        "r0 = r4; r0 <<= r3; r3 <<= r4; r3 <<= r3; r0 += r3",
        "w0 = w3; w0 <<= w4; w2 = w3; w2 >>= w4; w3 s>>= w4; r0 += r2; r0 += r3",
        "r1 = 1; r2 = 2; r5 = 3; call 1; r0 += r1; r0 += r2; r0 += r3; r0 += r4; r0 += r5",
        "call 3; r0 += r3",
        "*(u64 *)(r10 - 8) = r3; lock *(u64 *)(r10 - 8) += r4; r0 = r4; lock *(u32 *)(r10 - 4) |= r3; r2 = *(u64 *)(r10 - 8); r0 ^= r2",
    ];
    let numbers = [
        0,
        1,
        2,
        31,
        33,
        63,
        64,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        u64::MAX,
        1 << 63,
        0x0123_4567_89ab_cdef,
    ];
    for shape in shapes {
        for (x, y) in numbers.iter().flat_map(|x| numbers.map(|y| (*x, y))) {
            let text = format!("r3 = {x:#x} ll; r4 = {y:#x} ll; {shape}; exit");
            let code = assemble(&text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
            let expected = run(&code, INTERP, 1000);
            assert_eq!(run(&code, PRECISE, 1000), expected, "{text}");
            assert_eq!(run(&code, CAGE, 1000), expected, "{text}");
        }
    }
}

#[test]
fn the_budget_ends_runs_at_the_same_instruction() {
    let text = "r6 = 0; again: r6 += 1; call f; if r6 < 40 goto again; r0 = r6; exit; f: r7 = 3; more: r7 += -1; if r7 > 0 goto more; exit";
    let code = assemble(text, &()).expect("it is").slots;
    for insns_max in 0..420 {
        let expected = run(&code, INTERP, insns_max);
        assert_eq!(run(&code, PRECISE, insns_max), expected, "{insns_max}");
        assert_eq!(run(&code, CAGE, insns_max), expected, "{insns_max}");
    }
}

/// Longer than the conditional jumps of some machines reach, with jumps over all of it, forwards and back, and a fault at its end.
#[test]
fn long_programs_do_the_same() {
    for last in ["r0 += r6", "*(u64 *)(r6 + 0) = 1"] {
        let mut text = String::from("r7 = r1; r6 = 0; r0 = 7; again: r6 += 1; if r6 == 9 goto over; ");
        for at in 0..32_000 {
            text += ["*(u64 *)(r7 + 8) = 305419896; ", "*(u64 *)(r7 + 16) = r0; "][at % 2];
        }
        text += "if r6 < 3 goto again; if r0 > r6 goto over; r0 = 0; over: ";
        text += last;
        text += "; exit";
        let code = assemble(&text, &()).expect("it is").slots;
        let expected = run(&code, INTERP, 1 << 20).expect("it loads");
        assert_eq!(run(&code, PRECISE, 1 << 20).expect("it loads"), expected);
        assert_eq!(run(&code, CAGE, 1 << 20).expect("it loads"), expected);
    }
}

/// The cage's faults name what the interpreter's name.
#[test]
fn what_the_host_stops_is_a_fault_of_the_guest() {
    for text in [
        "r1 = 0; r0 = *(u32 *)(r1 + 8); exit",
        "r1 = 0x70000000 ll; *(u64 *)(r1 + 0) = 1; exit",
        "call f; exit; f: call g; exit; g: r0 = 5; *(u8 *)(r0 + 0) = r0; exit",
        "r1 = 0xfffffff8 ll; r0 = *(u64 *)(r1 + 4); exit",
    ] {
        let code = assemble(text, &()).expect("it is").slots;
        let expected = run(&code, INTERP, 1000);
        assert!(expected.as_ref().is_some_and(|(outcome, _)| outcome.is_err()), "{text}");
        assert_eq!(run(&code, CAGE, 1000), expected, "{text}");
    }
}

#[test]
fn programs_that_run_often_are_compiled_and_go_on_the_same() {
    let code = assemble("r0 = *(u8 *)(r1 + 3); r0 += r2; exit", &()).expect("it is").slots;
    let vm = Vm::builder(Small).engine(Engine::Auto).build().expect("address space");
    let program = vm.add(Program::from_code("test", code, ByteOrder::Little), &[]).expect("it loads");
    let mut process = vm.process(&program, 0).expect("memory");
    let mut context = RawContext::with_len([1, 2, 3, 4]);
    let first = process.run(&mut context).expect("it runs");
    for _ in 0..1000 {
        assert_eq!(process.run(&mut context).expect("it runs"), first);
    }
    // Contexts elsewhere, of other lengths, and none.
    let mut longer = RawContext::with_len(vec![9; 100_000]);
    assert_eq!(process.run(&mut longer).expect("it runs").r0, 100_009);
    assert!(process.run(&mut RawContext::default()).is_err());
    assert_eq!(process.run(&mut context).expect("it runs"), first);
    // A probe is the interpreter's, whatever ran before.
    process.start(Box::new(context)).expect("it starts");
    assert!(matches!(process.step(), mimic_vm::Step::Running));
}

const DIES: &str = "MIMIC_TEST_DIES";

/// Run by `other_faults_of_the_host_go_where_they_went` in a process of its own.
#[test]
fn dies_of_a_fault_of_its_own() {
    if std::env::var_os(DIES).is_none() {
        return;
    }
    let code = assemble("r1 = 0; r0 = *(u32 *)(r1 + 8); exit", &()).expect("it is").slots;
    assert!(run(&code, CAGE, 1000).is_some_and(|(outcome, _)| outcome.is_err()));
    #[allow(unconditional_recursion, reason = "the point of it")]
    fn deeper(at: &[u64; 512]) -> u64 {
        let next = [at[0] + 1; 512];
        std::hint::black_box(deeper(std::hint::black_box(&next))) + at[1]
    }
    std::hint::black_box(deeper(&[0; 512]));
}

/// A command that runs this file; through the emulator that `MIMIC_RUNNER` names when it is for another machine.
fn this_test() -> Command {
    let test = std::env::current_exe().expect("this test");
    let runner = std::env::var("MIMIC_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(emulator) = words.next() else { return Command::new(test) };
    let mut command = Command::new(emulator);
    command.args(words).arg(test);
    command
}

#[test]
fn other_faults_of_the_host_go_where_they_went() {
    let mut child = this_test();
    let child =
        child.args(["--exact", "dies_of_a_fault_of_its_own"]).env(DIES, "1").output().expect("it runs");
    assert!(!child.status.success());
    let said = String::from_utf8_lossy(&child.stderr);
    // The standard library's own message, or that of a sanitizer that was there before us.
    let is_known = said.contains("overflowed its stack") || said.contains("stack-overflow");
    assert!(is_known, "{said}");
}

/// A context whose first 8 bytes are a field.
fn with_fields() -> RawContext {
    const FIELDS: &[mimic_abi::CtxField] =
        &[mimic_abi::CtxField { name: "field", off: 0, size: 8, access: mimic_abi::CtxAccess::ReadWrite }];
    let layout = mimic_abi::CtxLayout { name: "fields", size: 8, fields: FIELDS };
    RawContext { layout: Some(layout), ..RawContext::new(vec![1; 8]) }
}

/// The faults of a program on a context with fields, in each engine. It hands code that knows its context something else.
fn astray(text: &str) {
    let code = assemble(text, &()).expect("it is well-formed").slots;
    let mut faults = Vec::new();
    for (engine, checks) in [INTERP, PRECISE, CAGE] {
        let vm = Vm::builder(Small).engine(engine).checks(checks).build().expect("address space");
        let program =
            vm.add(Program::from_code("test", code.clone(), ByteOrder::Little), &[]).expect("it loads");
        let mut process = vm.process(&program, 0).expect("memory");
        faults.push(process.run(&mut with_fields()).expect_err("it leaves the context").to_string());
    }
    assert!(faults[0].contains("read of 8 bytes at 0x7"), "{}", faults[0]);
    assert!(faults.iter().all(|fault| *fault == faults[0]), "{faults:?}");
}

#[test]
fn a_tail_call_with_another_context_is_checked() {
    astray("r6 = *(u64 *)(r1 + 0); r1 = 0x7fffffff0000 ll; call 2; r0 = 0; exit");
}

#[test]
fn a_forged_function_pointer_is_checked() {
    // Program 1, the slot of the load: not a function's first, and reached with the context otherwise.
    astray(
        "if r2 == 1 goto +6; r1 = 0x7fffffff0000 ll; r3 = 0xffffb00000100007 ll; callx r3; exit;
         r0 = *(u64 *)(r1 + 0); exit",
    );
}

#[test]
fn an_entry_does_what_runs_do() {
    let code = assemble("r0 = r1; r0 += r2; if r2 == 9 goto +1; exit; r0 = *(u64 *)(r1 + 0); exit", &())
        .expect("it is")
        .slots;
    for (engine, checks) in [INTERP, PRECISE, CAGE] {
        let vm = Vm::builder(Small).engine(engine).checks(checks).build().expect("address space");
        let program =
            vm.add(Program::from_code("test", code.clone(), ByteOrder::Little), &[]).expect("it loads");
        let mut process = vm.process(&program, 0).expect("memory");
        let mut context = RawContext::default();
        let mut entry = process.entry(&mimic_vm::FuncRef { program, pc: 0 }, &mut context);
        for turn in 0..3 {
            assert_eq!(entry.call([40, 2, 0, 0, 0]).expect("it returns"), 42, "{engine} {turn}");
            assert_eq!(entry.insns(), 4);
            let fault = entry.call([40, 9, 0, 0, 0]).expect_err("nothing is there").to_string();
            assert!(fault.contains("read of 8 bytes at 0x28"), "{fault}");
            assert_eq!(entry.call([1, 2, 0, 0, 0]).expect("it returns"), 3);
        }
    }
}

#[test]
fn a_program_that_gets_the_id_of_a_removed_one_runs_its_own_code() {
    for (engine, checks) in [PRECISE, CAGE] {
        let vm = Vm::builder(Small).engine(engine).checks(checks).build().expect("address space");
        let add = |text: &str| {
            let code = assemble(text, &()).expect("it is well-formed").slots;
            vm.add(Program::from_code("test", code, ByteOrder::Little), &[]).expect("it loads")
        };
        let mut process = vm.process(&add("r0 = 0; exit"), 0).expect("memory");
        let mut ids = Vec::new();
        for r2 in [7, 8] {
            let program = add(&format!("r1 = 1; r2 = {r2}; r3 = 0; r4 = 0; r5 = 0; call 1; exit"));
            let func = FuncRef { program, pc: 0 };
            let outcome = process.call(&func, [0; 5], &mut RawContext::default()).expect("it ends");
            assert_eq!(outcome.r0, 1 + r2, "{checks:?}");
            vm.remove_program(func.program.id());
            ids.push(func.program.id());
        }
        assert_eq!(ids[0], ids[1], "the test is about one id");
    }
}
