//! Compiled code whose guests mean harm: faults in functions that helpers call, frames and tail calls without end, bad arguments, and faults by
//! the thousand on many threads.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use mimic_abi::asm::assemble;
use mimic_abi::{ArgType, ByteOrder, HelperFlags, HelperSpec, Size, arg};
use mimic_object::{Program, Ref, RefTarget};
use mimic_vm::{
    Call, Checks, Emulator, Engine, Helper, HelperResult, Limits, Next, Outcome, RawContext, Trap, Vm,
};

/// Helpers: 1 calls a function r2 times, 2 tail calls the running program, 3 throws, 4 reads eight bytes for the program.
struct Small;

const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(1, "times").args(&[arg("func", ArgType::Func)]).flags(HelperFlags::CALLS_BACK),
        times,
    ),
    Helper::new(HelperSpec::new(2, "again"), |call, _, _, _, _, _| {
        Err(Trap::TailCall(call.program().clone()))
    }),
    Helper::new(HelperSpec::new(3, "throw"), |_, cookie, _, _, _, _| Err(Trap::Throw(cookie))),
    Helper::new(HelperSpec::new(4, "peek"), |call, addr, _, _, _, _| call.load(addr, Size::Dw)),
];

fn times(call: &mut Call<'_>, func: u64, count: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let func = call.func(func)?;
    let mut done = 0;
    let then = move |_: &mut Call<'_>, r0: u64| {
        done += 1;
        Ok(if done == count || r0 == 1 { Next::Return(done) } else { Next::Again([done, 0, 0, 0, 0]) })
    };
    Err(call.call_back(func, [0; 5], then))
}

impl Emulator for Small {
    fn helper(&self, id: u32) -> Option<&Helper> {
        ROWS.iter().find(|row| row.spec.id == id)
    }
}

/// Functions' addresses are loaded with `ll` constants of 0x1000 and their slot.
fn program(text: &str) -> Program {
    let mut code = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let mut refs = Vec::new();
    for (pc, insn) in code.iter_mut().enumerate().filter(|(_, insn)| insn.opcode == 0x18) {
        if insn.imm >> 12 == 1 {
            refs.push(Ref { pc: pc as u32, target: RefTarget::Func((insn.imm & 0xfff) as u32) });
            insn.imm = 0;
        }
    }
    Program { refs, ..Program::from_code("hostile", code, ByteOrder::NATIVE) }
}

fn run(program: &Program, (engine, checks): (Engine, Checks)) -> Result<Outcome, String> {
    let limits = Limits { insns_max: 20_000, ..Limits::default() };
    let vm = Vm::builder(Small).engine(engine).checks(checks).limits(limits).build().expect("address space");
    let program = vm.add(program.clone(), &[]).expect("it loads");
    let mut process = vm.process(&program, 0).expect("memory");
    let mut context = RawContext::with_len((1..=64).collect::<Vec<u8>>());
    let first = process.run(&mut context).map_err(|error| error.to_string());
    // Whatever was left half way, the next run begins anew.
    assert_eq!(process.run(&mut context).map_err(|error| error.to_string()), first);
    first
}

#[test]
fn control_that_goes_astray_ends_the_same() {
    for text in [
        // A function that a helper calls faults at once, after some calls, and deep inside.
        "r1 = 0x1005 ll; r2 = 5; call 1; exit; f: r3 = 0; r0 = *(u64 *)(r3 + 8); exit",
        "r1 = 0x1005 ll; r2 = 9; call 1; exit; f: r0 = 0; if r1 < 3 goto out; r3 = 16; *(u32 *)(r3 + 8) = r1; out: exit",
        "r6 = 3; r1 = 0x1007 ll; r2 = 5; call 1; r0 += r6; exit; f: r6 = 9; call g; exit; g: r7 = 1; call h; exit; h: r0 = 0; *(u8 *)(r0 + 1) = r0; exit",
        // Helpers' calls in frames of functions, and in each other.
        "r6 = 5; call g; r0 += r6; exit; g: r6 = 7; r1 = 0x100a ll; r2 = 3; call 1; r0 += r6; exit; f: r0 = 0; exit",
        "r1 = 0x1005 ll; r2 = 2; call 1; exit; f: r1 = 0x1005 ll; r2 = 2; call 1; exit",
        // No end of frames.
        "call f; exit; f: r6 = r10; call f; exit",
        "r6 = 1; call f; exit; f: r6 += 1; r1 = r6; if r6 > 7 goto out; call f; out: r0 = r6; exit",
        // No end of tail calls, from the main function, from another one, and from one that a helper calls.
        "call 2; r0 = 5; exit",
        "r6 = 1; call f; r0 += r6; exit; f: call g; exit; g: call 2; r0 = 7; exit",
        "r1 = 0x1005 ll; r2 = 2; call 1; exit; f: call 2; r0 = 1; exit",
        "again: call 2; goto again",
        // Thrown from deep inside.
        "r1 = 0x1005 ll; r2 = 2; call 1; exit; f: call g; exit; g: r1 = 42; call 3; exit",
        // Arguments that point nowhere.
        "r1 = 0; call 4; exit",
        "r1 = -1; call 4; exit",
        "r1 = 0x7fff12345678 ll; call 4; exit",
        "r1 = r10; r1 += -4; call 4; exit",
        "r1 += 60; call 4; exit",
        // What is no function.
        "r1 = 77; r2 = 2; call 1; exit",
        "r3 = 0x1001 ll; r3 += 1; callx r3; exit",
    ] {
        let program = program(text);
        let expected = run(&program, (Engine::Interp, Checks::Precise));
        assert_eq!(run(&program, (Engine::Jit, Checks::Precise)), expected, "{text}");
        assert_eq!(run(&program, (Engine::Jit, Checks::Cage)), expected, "{text}");
    }
}

/// Threads that make code, run into its faults and drop it, while others do.
#[test]
fn faults_on_many_threads_are_each_thread_s_own() {
    let texts = [
        "r3 = 16; r0 = *(u64 *)(r3 + 8); exit",
        "call f; exit; f: r6 = 5; r3 = 0; *(u16 *)(r3 + 4) = r6; exit",
        "r3 = 0x70000000 ll; lock *(u64 *)(r3 + 0) += r3; exit",
        "r0 = 11; exit",
    ];
    std::thread::scope(|scope| {
        for text in texts {
            scope.spawn(move || {
                let program = program(text);
                let expected = run(&program, (Engine::Interp, Checks::Precise));
                for _ in 0..20 {
                    let vm = Vm::builder(Small).engine(Engine::Jit).checks(Checks::Cage).build();
                    let vm = vm.expect("address space");
                    let program = vm.add(program.clone(), &[]).expect("it loads");
                    let mut process = vm.process(&program, 0).expect("memory");
                    let mut context = RawContext::with_len(vec![1; 64]);
                    for _ in 0..200 {
                        let end = process.run(&mut context).map_err(|error| error.to_string());
                        assert_eq!(end, expected, "{text}");
                    }
                }
            });
        }
    });
}
