//! Test-run of programs whose context is plain bytes: raw tracepoints and syscall programs.

use super::{BPF_F_TEST_RUN_ON_CPU, TestRun, TestRunError, TestRunOut, reach, refuse};
use mimic_abi::Errno;
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Context, ContextError, Process, Setup};

/// The most bytes that a raw tracepoint gets: 12 arguments.
const RAW_LEN_MAX: usize = 12 * 8;
/// The most bytes that a syscall program gets.
const SYSCALL_LEN_MAX: usize = u16::MAX as usize;

pub(super) fn raw_tracepoint(process: &mut Process, run: &TestRun<'_>) -> Result<TestRunOut, TestRunError> {
    let others = !run.data_in.is_empty() || run.data_out || run.ctx_size_out != 0;
    if others || run.repeat != 0 || run.batch_size != 0 {
        return refuse(Errno::EINVAL, "raw tracepoints take a context only, and run once");
    }
    check_len(process, run, RAW_LEN_MAX)?;
    let on_cpu = run.flags & BPF_F_TEST_RUN_ON_CPU != 0;
    if !on_cpu && run.cpu != 0 {
        return refuse(Errno::EINVAL, "cpu wants BPF_F_TEST_RUN_ON_CPU");
    }
    if run.cpu >= process.vm().cpus() {
        return refuse(Errno::ENXIO, &format!("there is no CPU {}", run.cpu));
    }
    let mut context = Bytes { bytes: run.ctx_in.to_vec(), access: Access::Read };
    if !on_cpu || run.cpu == process.cpu() {
        return once(process, &mut context);
    }
    let there = process.vm().process(process.program(), run.cpu);
    let mut there = there.map_err(|error| TestRunError::Errno(Errno::ENOMEM, error.to_string()))?;
    once(&mut there, &mut context)
}

pub(super) fn syscall(process: &mut Process, run: &TestRun<'_>) -> Result<TestRunOut, TestRunError> {
    let others = !run.data_in.is_empty() || run.data_out || run.ctx_size_out != 0;
    if others || run.repeat != 0 || run.flags != 0 || run.batch_size != 0 {
        return refuse(Errno::EINVAL, "syscall programs take a context only, and run once");
    }
    check_len(process, run, SYSCALL_LEN_MAX)?;
    let mut context = Bytes { bytes: run.ctx_in.to_vec(), access: Access::ReadWrite };
    let mut out = once(process, &mut context)?;
    out.ctx_in_after = context.bytes;
    Ok(out)
}

fn check_len(process: &Process, run: &TestRun<'_>, len_max: usize) -> Result<(), TestRunError> {
    let reach = reach::of(process.program().code());
    if run.ctx_in.len() > len_max || (run.ctx_in.len() as u64) < reach {
        return refuse(Errno::EINVAL, &format!("the context has {reach} to {len_max} bytes"));
    }
    Ok(())
}

fn once(process: &mut Process, context: &mut Bytes) -> Result<TestRunOut, TestRunError> {
    let outcome = process.run(context)?;
    Ok(TestRunOut { retval: outcome.r0 as u32, insns: outcome.insns, ..TestRunOut::default() })
}

/// Bytes in guest memory; none are NULL.
struct Bytes {
    bytes: Vec<u8>,
    access: Access,
}

impl Context for Bytes {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        if self.bytes.is_empty() {
            return Ok([0; 5]);
        }
        let len = self.bytes.len() as u32;
        let region = setup.region("context", len, Layout::Bytes(self.access))?;
        region.set_bounds(0, len);
        region.write(0, &self.bytes);
        Ok([region.base(), 0, 0, 0, 0])
    }

    fn leave(&mut self, setup: &mut Setup<'_>, _r0: Option<u64>) {
        if let Some(region) = setup.existing("context").filter(|_| !self.bytes.is_empty()) {
            region.read(0, &mut self.bytes);
        }
    }
}
