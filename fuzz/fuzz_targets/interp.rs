//! Any instructions, unverified: the process ends with an outcome or a fault, and the host lives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::abi::{ByteOrder, RawInsn};
use mimic::linux::Linux;
use mimic::object::Program;
use mimic::vm::{Hygiene, Limits, RawContext, Vm};

fuzz_target!(|bytes: &[u8]| {
    let [settings, rest @ ..] = bytes else { return };
    let order = if settings & 1 == 0 { ByteOrder::Little } else { ByteOrder::Big };
    let hygiene = [Hygiene::Off, Hygiene::Zero, Hygiene::Poison][usize::from(settings >> 1) % 3];
    let limits = Limits { insns_max: 10_000, ..Limits::default() };
    let vm = Vm::builder(Linux::default()).byte_order(order).hygiene(hygiene).limits(limits).build();
    let vm = vm.expect("there is address space");
    let Ok(code) = RawInsn::parse_all(&rest[..rest.len() / 8 * 8], order) else { return };
    let Ok(program) = vm.add(Program::from_code("fuzz", code, order), &[]) else { return };
    let mut process = vm.process(&program, 0).expect("there is memory");
    let mut context = RawContext::with_len(vec![0x5a; 64]);
    let first = process.run(&mut context).map_err(|error| error.to_string());
    if let Ok(outcome) = &first {
        assert!(outcome.insns <= 10_000 + 1_000_000);
    }
});
