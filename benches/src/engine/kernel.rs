//! The kernel's own JIT compiler, by `BPF_PROG_TEST_RUN`'s repeat. Its verifier needs programs that are bounded in its eyes, so loops
//! of some carry `may_goto` counters and masks that the other engines' do not.

use super::Engine;
use crate::options::Options;
use crate::program::Program;
use mimic::object::Contents;
use mimic_tests::kernel::{Kernel, LoadedObject, Parts, TestRunAttr};
use std::time::{Duration, Instant};

/// Bytes of the packet for programs that do not look at it.
const PACKET_LEN: usize = 64;

struct InKernel {
    object: LoadedObject,
    packets: Vec<Vec<u8>>,
}

/// Loads the program into the kernel.
pub(crate) fn load(program: &Program, _options: &Options) -> Result<Box<dyn Engine>, String> {
    let enabled = std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").unwrap_or_default();
    if enabled.trim() == "0" {
        return Err("net.core.bpf_jit_enable is 0".into());
    }
    let kernel = Kernel::available().map_err(|reason| reason.to_string())?;
    let (object, target, linked) = super::mimic::link(program.kernel_object)?;
    let mut maps = object.maps_for(&target).map_err(|error| error.to_string())?;
    let scratch = maps.iter_mut().find(|map| map.name.ends_with("scratch"));
    let reads_packet = scratch.is_none();
    if let Some(Contents::Data { bytes, .. }) = scratch.map(|map| &mut map.contents) {
        let len = bytes.len().min(program.memory.len());
        bytes[..len].copy_from_slice(&program.memory[..len]);
    }
    let parts = Parts { maps: &maps, programs: &[&linked], btf: object.btf.as_deref() };
    let object = kernel.load(&parts)?;
    if let Some(Err(error)) = object.progs.first() {
        return Err(error.to_string());
    }
    let packet = |&(off, len): &(u32, u32)| {
        let len = if reads_packet { len as usize } else { PACKET_LEN };
        program.memory[off as usize..][..len].to_vec()
    };
    Ok(Box::new(InKernel { object, packets: program.inputs.iter().map(packet).collect() }))
}

impl InKernel {
    /// One call of test-run: how long it took, and the program's result.
    fn test_run(&self, packet: &[u8], repeat: u32) -> Result<(Duration, u32), String> {
        let prog = self.object.progs[0].as_ref().map_err(|error| error.to_string())?;
        let attr = TestRunAttr { data_in: Some(packet), repeat, ..TestRunAttr::default() };
        let start = Instant::now();
        let answer = prog.test_run(&attr);
        let took = start.elapsed();
        if answer.errno != 0 {
            return Err(format!("test-run answers errno {}", answer.errno));
        }
        // The kernel tells whole nanoseconds, rounded down; ours include the system call. The truth is below both.
        let told = Duration::from_nanos((u64::from(answer.duration_ns) + 1) * u64::from(repeat));
        Ok((took.min(told), answer.retval))
    }
}

impl Engine for InKernel {
    fn run(&mut self, times: u32) -> Duration {
        self.packets.iter().map(|packet| self.test_run(packet, times).expect("it ran before").0).sum()
    }

    fn results(&mut self) -> Result<Vec<u64>, String> {
        self.packets.iter().map(|packet| Ok(u64::from(self.test_run(packet, 1)?.1))).collect()
    }

    /// An XDP program answers 32 bits.
    fn result_mask(&self) -> u64 {
        u32::MAX.into()
    }
}
