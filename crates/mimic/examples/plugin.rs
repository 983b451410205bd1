//! Programs as plug-ins: users send filters that decide about requests. They see bytes and one helper, have a budget, and can do no harm:
//! a plug-in that misbehaves is stopped, and told where.

use mimic::HelperNames;
use mimic::abi::ByteOrder;
use mimic::abi::asm::assemble;
use mimic::linux::Linux;
use mimic::object::Program;
use mimic::vm::{Limits, RawContext, Vm};

/// What users sent, by name. r1 points at the request, r2 is its length; 1 lets it pass.
const PLUGINS: &[(&str, &str)] = &[
    ("short ones only", "r0 = 1; if r2 < 16 goto +1; r0 = 0; exit"),
    ("no slash", "r0 = *(u8 *)(r1 +0); r0 ^= 47; exit"),
    ("reads too far", "r0 = *(u64 *)(r1 +4096); exit"),
    ("never ends", "goto -1; exit"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limits = Limits { insns_max: 100_000, ..Limits::default() };
    let vm = Vm::builder(Linux::default()).limits(limits).build()?;
    for (name, text) in PLUGINS {
        let code = assemble(text, &HelperNames).map_err(|errors| format!("{name}: {errors:?}"))?;
        let program = vm.add(Program::from_code(name, code.slots, ByteOrder::Little), &[])?;
        let mut process = vm.process(&program, 0)?;
        for request in ["/index.html", "hello, this is a long request"] {
            match process.run(&mut RawContext::with_len(request)) {
                Ok(outcome) => {
                    println!("{name}: {request:?} {}", if outcome.r0 == 0 { "refused" } else { "passes" })
                }
                Err(stopped) => println!("{name}: {stopped}"),
            }
        }
    }
    Ok(())
}
