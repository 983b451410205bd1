//! Runs a program over a capture and prints how many packets got which verdict.
//!
//! `cargo run --example capture -- examples/xdp_firewall.bpf.o examples/traffic.pcap`

use mimic::linux::Linux;
use mimic::object::Object;
use mimic::pcap::PcapReader;
use mimic::vm::Vm;
use mimic::{AnyPacket, LoadExt, Runner};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(object), Some(capture)) = (args.next(), args.next()) else {
        return Err("expected an object file and a capture".into());
    };
    let object = Object::parse(&std::fs::read(object)?)?;
    let loaded = Vm::builder(Linux::default()).build()?.load(&object)?;
    let program = loaded.programs().next().ok_or("the object has no program that can run")?;

    let mut context = AnyPacket::for_program(program.program().linked())?;
    let mut runner = Runner::new(program)?;
    let mut packets = PcapReader::open(capture)?;
    let mut longest = 0;
    runner.run(&mut packets, &mut context, |frame, _verdict, _context| {
        longest = longest.max(frame.bytes.len());
        Ok(())
    })?;

    let report = runner.finish();
    for (verdict, count) in &report.verdicts {
        println!("{:<14} {:>5} packets {:>8} bytes", verdict.name(), count.packets, count.bytes);
    }
    println!("the longest has {longest} bytes; {} instructions in all", report.insns);
    Ok(())
}
