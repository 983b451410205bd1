//! `empty_context`: what a program gets that needs no packet and of whose context nothing is stated.

use mimic_abi::ProgType;
use mimic_linux::progs::{KprobeContext, PerfEventContext, RawTracepointContext, TracepointContext};
use mimic_object::Program;
use mimic_vm::{Context, RawContext};

/// Bytes of a tracepoint's record: more than the records of most have.
const RECORD_LEN: usize = 512;

/// Registers, arguments and records of zeros; for system call programs no context at all. `None` for types whose programs are run over
/// packets, or whose contexts depend on what they are attached to.
pub fn empty_context(program: &Program) -> Option<Box<dyn Context>> {
    match program.prog_type? {
        ProgType::RawTracepoint | ProgType::RawTracepointWritable => {
            Some(Box::new(RawTracepointContext::new([0; RawTracepointContext::ARGS_MAX])))
        }
        ProgType::Kprobe => Some(Box::new(KprobeContext::default())),
        ProgType::Tracepoint => Some(Box::new(TracepointContext { record: vec![0; RECORD_LEN] })),
        ProgType::PerfEvent => Some(Box::new(PerfEventContext::default())),
        ProgType::Syscall => Some(Box::new(RawContext::default())),
        _ => None,
    }
}
