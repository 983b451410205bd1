//! Any text as a recorded run: what can be read is replayed to a program that calls the recorded helpers, and ends with an outcome or a
//! fault.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::abi::ByteOrder;
use mimic::ctx::{CallKey, Ctx, CtxFile, Mismatch, ReplayMode};
use mimic::linux::Linux;
use mimic::object::Program;
use mimic::vm::{Limits, NoProbe, Vm};

/// Contexts of a file that are run.
const CONTEXTS_MAX: usize = 4;
/// Calls of a program.
const CALLS_MAX: usize = 32;

fuzz_target!(|text: &str| {
    let Ok(file) = CtxFile::read(text) else { return };
    for ctx in file.contexts.iter().take(CONTEXTS_MAX) {
        for mode in [ReplayMode::Prefer, ReplayMode::Only, ReplayMode::Verify] {
            replay(ctx, mode, Mismatch::Warn);
            replay(ctx, mode, Mismatch::Fail);
        }
    }
});

fn replay(ctx: &Ctx, mode: ReplayMode, mismatch: Mismatch) {
    let limits = Limits { insns_max: 10_000, ..Limits::default() };
    let vm = Vm::builder(Linux::new(ctx.world().unwrap_or_default())).limits(limits);
    let vm = vm.memory_bytes_max(64 << 20).build().expect("there is address space");
    let code = mimic::abi::asm::assemble(&calls(ctx), &()).expect("it is assembly").slots;
    let Ok(program) = vm.add(Program::from_code("replay", code, ByteOrder::NATIVE), &[]) else { return };
    let Ok(mut process) = vm.process(&program, 0) else { return };
    if let Some(replay) = ctx.replay(mode, mismatch) {
        process.set_hook(Some(Box::new(replay)));
    }
    let _ = process.run_dyn(&mut *ctx.context(), &mut NoProbe);
}

/// A program that calls what was recorded, with pointers to its stack and lengths.
fn calls(ctx: &Ctx) -> String {
    let recorded = ctx.captured().into_iter().flat_map(|captured| captured.calls.iter());
    let mut text = String::from("r6 = r1\n");
    for (key, calls) in recorded {
        let CallKey::Helper(id) = key else { continue };
        for _ in calls.iter().take(CALLS_MAX) {
            text +=
                &format!("r1 = r10\nr1 += -64\nr2 = 16\nr3 = r10\nr3 += -32\nr4 = r6\nr5 = 0\ncall {id}\n");
        }
    }
    text + "r0 = 0\nexit\n"
}
