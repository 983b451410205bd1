//! Any instructions, unverified, as compiled code: with precise checks they end as in the interpreter, in the cage they leave the host
//! alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::abi::{ByteOrder, RawInsn};
use mimic::linux::Linux;
use mimic::object::Program;
use mimic::vm::{Checks, Engine, Limits, Outcome, RawContext, Vm};

/// Bytes of the host's that nothing in a guest may change.
const CANARY_LEN: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let Ok(code) = RawInsn::parse_all(&bytes[..bytes.len() / 8 * 8], ByteOrder::NATIVE) else { return };
    // On both sides of the VM's own memory, as the host's allocator has it.
    let before = vec![0x5c_u8; CANARY_LEN];
    let run = |engine, checks| -> Option<(Result<Outcome, String>, Vec<u8>)> {
        let limits = Limits { insns_max: 10_000, ..Limits::default() };
        let vm = Vm::builder(Linux::default()).limits(limits).engine(engine).checks(checks).build();
        let vm = vm.expect("there is address space");
        let program = vm.add(Program::from_code("fuzz", code.clone(), ByteOrder::NATIVE), &[]).ok()?;
        let mut process = vm.process(&program, 0).expect("there is memory");
        let mut context = RawContext::with_len(vec![0x5a; 64]);
        let outcome = process.run(&mut context).map_err(|error| error.to_string());
        Some((outcome, context.bytes))
    };
    let expected = run(Engine::Interp, Checks::Precise);
    let after = vec![0xc5_u8; CANARY_LEN];
    assert_eq!(run(Engine::Jit, Checks::Precise), expected);
    let caged = run(Engine::Jit, Checks::Cage);
    assert!(before.iter().all(|byte| *byte == 0x5c) && after.iter().all(|byte| *byte == 0xc5));
    assert_eq!(caged.is_some(), expected.is_some());
});
