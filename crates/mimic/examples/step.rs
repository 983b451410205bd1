//! Steps through a program, an instruction at a time, and shows each with its source line.

use mimic::LoadExt;
use mimic::linux::{Linux, progs::XdpContext};
use mimic::object::Object;
use mimic::vm::{Step, Vm};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("expected an object file")?;
    let object = Object::parse(&std::fs::read(path)?)?;
    let loaded = Vm::builder(Linux::default()).build()?.load(&object)?;
    let program = loaded.programs().next().ok_or("the object has no program that can run")?;

    let arp = [[0xff; 12].as_slice(), &[0x08, 0x06], &[0; 28]].concat();
    let mut process = program.spawn(XdpContext::packet(arp))?;
    let mut line = 0;
    let outcome = loop {
        let at = process.at();
        if let Some(source) = at.program.line_at(at.pc).filter(|source| source.line != line) {
            line = source.line;
            println!("pc {:>4}  depth {}  r0 {:#x}  {}", at.pc, at.depth, at.regs[0], source.text.trim());
        }
        match process.step() {
            Step::Running => {}
            Step::Exited(outcome) => break outcome,
            Step::Faulted(fault) => return Err(fault),
        }
    };
    println!("returned {} after {} instructions", outcome.r0, outcome.insns);
    Ok(())
}
