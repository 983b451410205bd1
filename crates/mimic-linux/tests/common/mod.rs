//! What tests of programs in a world share.
#![allow(dead_code, reason = "not every test uses all of it")]

use mimic_abi::ByteOrder;
use mimic_abi::asm::assemble;
use mimic_linux::{Linux, World, kfuncs};
use mimic_object::{Program, Ref, RefTarget};
use mimic_vm::{Fault, LoadedProgram, RawContext, RunError, Vm};
use std::sync::Arc;

pub(crate) fn vm_in(world: World) -> Arc<Vm> {
    Vm::builder(Linux::new(world)).cpus(4).build().expect("address space")
}

pub(crate) fn linux(vm: &Vm) -> &Linux {
    vm.emulator_as().expect("it is Linux")
}

/// A program; `call bpf_name` calls a kernel function.
pub(crate) fn assemble_with_kfuncs(vm: &Arc<Vm>, text: &str) -> Arc<LoadedProgram> {
    let mut names = Vec::new();
    let lines = text.lines().map(|line| match line.trim().strip_prefix("call bpf_") {
        Some(name) => {
            names.push(format!("bpf_{name}"));
            format!("call {}", 1000 + names.len() - 1)
        }
        None => line.to_owned(),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut code = assemble(&text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let mut refs = Vec::new();
    for (pc, insn) in code.iter_mut().enumerate().filter(|(_, insn)| insn.opcode == 0x85 && insn.imm >= 1000)
    {
        let name = names[insn.imm as usize - 1000].clone();
        assert!(kfuncs::by_name(&name).is_some(), "{name} is no kfunc");
        (insn.src, insn.imm) = (2, 0);
        refs.push(Ref { pc: pc as u32, target: RefTarget::Kfunc { name, weak: false, btf_id: 0 } });
    }
    let linked = Program { refs, ..Program::from_code("test", code, ByteOrder::Little) };
    vm.add(linked, &[]).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn try_run(vm: &Arc<Vm>, cpu: u32, program: &Arc<LoadedProgram>) -> Result<u64, Box<Fault>> {
    let mut process = vm.process(program, cpu).expect("memory");
    match process.run(&mut RawContext::default()) {
        Ok(outcome) => Ok(outcome.r0),
        Err(RunError::Fault(fault)) => Err(fault),
        Err(error) => panic!("{error}"),
    }
}
