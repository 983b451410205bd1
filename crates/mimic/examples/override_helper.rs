//! Answers a helper instead of the emulator: for one VM, to inject an error or to count calls.

use mimic::LoadExt;
use mimic::linux::{Linux, progs::XdpContext};
use mimic::object::Object;
use mimic::vm::Vm;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("expected an object file")?;
    let object = Object::parse(&std::fs::read(path)?)?;

    let lookups = Arc::new(AtomicU64::new(0));
    let counted = lookups.clone();
    // No map has room any more, and lookups find nothing.
    let vm = Vm::builder(Linux::default())
        .helper("map_lookup_elem", move |_call, _args| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(0)
        })
        .helper("map_update_elem", |_call, _args| Err(mimic::abi::Errno::ENOSPC.into()))
        .build()?;
    let loaded = vm.load(&object)?;
    let program = loaded.programs().next().ok_or("the object has no program that can run")?;

    let arp = [[0xff; 12].as_slice(), &[0x08, 0x06], &[0; 28]].concat();
    let run = program.run(XdpContext::packet(arp))?;
    println!("{} lookups found nothing; r0 is {}", lookups.load(Ordering::Relaxed), run.outcome.r0);
    assert!(loaded.map("verdicts")?.entries()?.is_empty(), "nothing could be counted");
    Ok(())
}
