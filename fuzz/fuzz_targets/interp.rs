//! Any instructions, unverified: the process ends with an outcome or a fault, and the host lives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::abi::{ByteOrder, RawInsn};
use mimic::object::Program;
use mimic::vm::{Checks, Engine, Hygiene};
use mimic_fuzz::run;

fuzz_target!(|bytes: &[u8]| {
    let [settings, rest @ ..] = bytes else { return };
    let order = if settings & 1 == 0 { ByteOrder::Little } else { ByteOrder::Big };
    let hygiene = [Hygiene::Off, Hygiene::Zero, Hygiene::Poison][usize::from(settings >> 1) % 3];
    let Ok(code) = RawInsn::parse_all(&rest[..rest.len() / 8 * 8], order) else { return };
    let program = Program::from_code("fuzz", code, order);
    if let Some((Ok(outcome), _)) = run(&program, &[], hygiene, (Engine::Interp, Checks::Precise)) {
        // A straight piece of code may be begun within the budget.
        assert!(outcome.insns <= 10_000 + 1_000_000);
    }
});
