//! Unverified code as machine code: it may do to its own guest memory what it likes, and to nothing else of the host.
//!
//! `cargo xtask jit-canary` is made of this. The canaries themselves are those of the fuzz targets.

mod code;
mod hunt;

pub use hunt::{Hunt, hunt};

use crate::canary::Canaries;
use mimic_abi::{ByteOrder, RawInsn};
use mimic_linux::Linux;
use mimic_object::Program;
use mimic_vm::{At, Checks, Engine, Flow, Limits, Outcome, Probe, RawContext, RunError, Vm};
use std::sync::Arc;

/// Instructions of a run.
const INSNS_MAX: u64 = 10_000;

/// Runs code in the interpreter and as machine code with both kinds of checks. With precise ones it ends as in the interpreter; with those that only
/// keep it in its memory it ends, in whatever way. Panics if a canary was touched. The error says what differs; the number is of accesses to memory by machine code, at
/// least, or 0 if the code cannot be loaded.
pub fn same_everywhere(code: &[RawInsn]) -> Result<u64, String> {
    let mut accesses = Accesses(0);
    let expected = run(code, (Engine::Interp, Checks::Precise), Some(&mut accesses));
    let precise = run(code, (Engine::Jit, Checks::Precise), None);
    if precise != expected {
        return Err(format!("the interpreter: {expected:x?}\nmachine code: {precise:x?}\n{code:x?}"));
    }
    let caged = run(code, (Engine::Jit, Checks::Cage), None);
    if caged.is_some() != expected.is_some() {
        return Err(format!("it can be loaded, or not: {code:x?}"));
    }
    Ok(if expected.is_some() { 2 * accesses.0 } else { 0 })
}

/// How a run ended, and the context afterwards. Programs that cannot be loaded have none.
type End = Option<(Result<Outcome, String>, Vec<u8>)>;

fn run(code: &[RawInsn], (engine, checks): (Engine, Checks), watch: Option<&mut Accesses>) -> End {
    let (vm, canaries) = machine(engine, checks);
    let program = vm.add(Program::from_code("hostile", code.to_vec(), ByteOrder::NATIVE), &[]).ok()?;
    let mut process = vm.process(&program, 0).expect("there is memory");
    let mut context = RawContext::with_len(vec![0x5a; 64]);
    let outcome = match watch {
        Some(accesses) => process.run_dyn(&mut context, accesses),
        None => process.run(&mut context),
    };
    canaries.check().unwrap_or_else(|place| panic!("{place}: {code:x?}"));
    Some((outcome.map_err(|error: RunError| error.to_string()), context.bytes))
}

fn machine(engine: Engine, checks: Checks) -> (Arc<Vm>, Canaries) {
    let limits = Limits { insns_max: INSNS_MAX, ..Limits::default() };
    let vm = Vm::builder(Linux::default()).limits(limits).engine(engine).checks(checks).build();
    let vm = vm.expect("there is address space");
    let canaries = Canaries::around(vm.memory());
    (vm, canaries)
}

/// Counts instructions that touch memory.
struct Accesses(u64);

impl Probe for Accesses {
    fn insn(&mut self, at: &At<'_>) -> Flow {
        // Classes of loads and stores: LDX, ST, STX.
        let class = at.program.code().get(at.pc as usize).map_or(0, |insn| insn.opcode & 7);
        self.0 += u64::from(matches!(class, 1..=3));
        Flow::Go
    }
}
