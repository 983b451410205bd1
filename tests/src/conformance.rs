//! Runs bare instructions the way the public bpf_conformance suite wants it: no verifier, r1 = memory, r2 = its length, r0
//! is the answer.

use mimic_abi::{ByteOrder, RawInsn};
use mimic_linux::{Linux, World};
use mimic_object::Program;
use mimic_vm::{RawContext, Vm};

/// Instructions that one run may take; the suite's longest takes a few hundred thousand.
const INSNS_MAX: u64 = 100_000_000;

/// Runs little-endian instructions on a copy of `memory`. The error is what a person can act on.
pub fn run_bytes(program: &[u8], memory: &[u8]) -> Result<u64, String> {
    let code = RawInsn::parse_all(program, ByteOrder::Little).map_err(|error| error.to_string())?;
    let linked = Program {
        name: "main".into(),
        section: ".text".into(),
        prog_type: None,
        attach_type: None,
        sleepable: false,
        byte_order: ByteOrder::Little,
        license: "GPL".into(),
        code,
        funcs: Vec::new(),
        lines: Vec::new(),
        refs: Vec::new(),
        exception_callback: None,
    };
    run(linked, memory)
}

/// Runs a linked program that refers to nothing.
pub fn run(linked: Program, memory: &[u8]) -> Result<u64, String> {
    let limits = mimic_vm::Limits { insns_max: INSNS_MAX, ..mimic_vm::Limits::default() };
    let vm = Vm::builder(Linux::new(World::default())).byte_order(linked.byte_order).limits(limits).build();
    let vm = vm.map_err(|error| error.to_string())?;
    let program = vm.add(linked, &[]).map_err(|error| error.to_string())?;
    let mut process = vm.process(&program, 0).map_err(|error| error.to_string())?;
    let outcome = process.run(&mut RawContext::with_len(memory)).map_err(|error| error.to_string())?;
    Ok(outcome.r0)
}

/// Runs the first program of an object.
pub fn run_object(_object: &[u8], _memory: &[u8]) -> Result<u64, String> {
    Err("objects cannot be opened yet".into())
}
