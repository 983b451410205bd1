//! What the targets that run programs share: a hostile guest's run on each engine, and what must be alike.

use std::sync::Arc;

use mimic::linux::{Linux, World};
use mimic::object::{MapSpec, Program};
use mimic::vm::{Checks, Engine, Hygiene, Limits, Outcome, RawContext, Vm};
use mimic_tests::canary::Canaries;

/// Instructions of a run.
const INSNS_MAX: u64 = 10_000;

/// How much later timers are looked at.
const SECOND_NS: u64 = 1_000_000_000;

/// What came of a run: r0 and the rest of the outcome or the fault's text, and the context's bytes.
pub type Ran = (Result<Outcome, String>, Vec<u8>);

fn vm(program: &Program, hygiene: Hygiene, (engine, checks): (Engine, Checks)) -> Arc<Vm> {
    let limits = Limits { insns_max: INSNS_MAX, ..Limits::default() };
    let vm = Vm::builder(Linux::new(World::default())).byte_order(program.byte_order).hygiene(hygiene);
    let vm = vm.limits(limits).memory_bytes_max(64 << 20).engine(engine).checks(checks);
    vm.build().expect("there is address space")
}

/// Loads and runs a program, and sees that the host is as it was. `None` if it cannot be loaded.
pub fn run(program: &Program, maps: &[MapSpec], hygiene: Hygiene, engine: (Engine, Checks)) -> Option<Ran> {
    let vm = vm(program, hygiene, engine);
    let canaries = Canaries::around(vm.memory());
    let maps = vm.load_maps(maps).ok()?;
    let program = vm.add(program.clone(), &maps).ok()?;
    let mut process = vm.process(&program, 0).ok()?;
    let mut context = RawContext::with_len(vec![0x5a; 64]);
    // The second run finds what the first left behind.
    let _first = process.run(&mut context);
    let outcome = process.run(&mut context).map_err(|error| error.to_string());
    if let Some(linux) = vm.emulator_as::<Linux>() {
        // Timers and work that the program started.
        let _ = linux.advance_to(&vm, linux.clock().now_ns() + SECOND_NS);
    }
    drop(process);
    canaries.check().unwrap_or_else(|error| panic!("{engine:?}: {error}"));
    Some((outcome, context.bytes))
}

/// Runs a program on all engines: those with precise checks do the same, the cage leaves the host alone.
pub fn run_everywhere(program: &Program, maps: &[MapSpec]) {
    let expected = run(program, maps, Hygiene::Zero, (Engine::Interp, Checks::Precise));
    if Engine::compiles_here() && program.byte_order == mimic::abi::ByteOrder::NATIVE {
        let compiled = run(program, maps, Hygiene::Zero, (Engine::Jit, Checks::Precise));
        assert_eq!(compiled, expected);
        let caged = run(program, maps, Hygiene::Zero, (Engine::Jit, Checks::Cage));
        assert_eq!(caged.is_some(), expected.is_some());
    }
}
