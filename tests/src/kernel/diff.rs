//! Random programs in the kernel and in mimic: runs both, and makes what differs small and readable.

use std::fmt;
use std::sync::mpsc;

use mimic_abi::RawInsn;
use mimic_abi::disasm::{Style, disassemble};

use super::{Kernel, KernelRun, sys};
use crate::random::{RandomOutcome, RandomProgram, shrink};

/// What came of many programs.
#[derive(Debug, Default)]
pub struct DiffReport {
    /// How many programs ran in both places.
    pub compared: u64,
    /// How many the verifier refused.
    pub refused: u64,
    /// What differs, made small; no more than were asked for.
    pub differences: Vec<RandomDifference>,
}

/// A program that the kernel and mimic do not agree on.
#[derive(Debug)]
pub struct RandomDifference {
    /// The smallest program found, of the seed it came from.
    pub program: RandomProgram,
    /// What the kernel did.
    pub kernel: RandomOutcome,
    /// What mimic did.
    pub mimic: Result<RandomOutcome, String>,
}

/// Programs that may wait between the kernel's thread and mimic's.
const QUEUE_LEN: usize = 64;

/// Programs that are loaded before the kernel is given time to free them.
const LOADS_UNSETTLED: usize = 128;

impl Kernel {
    /// Compares the programs of `seeds`, until `differences_max` are found. `progress` is told how many are done.
    pub fn diff_random(
        &self,
        seeds: impl Iterator<Item = u64> + Send,
        differences_max: usize,
        mut progress: impl FnMut(u64),
    ) -> DiffReport {
        let mut report = DiffReport::default();
        let (sender, receiver) = mpsc::sync_channel(QUEUE_LEN);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                self.in_empty_netns(|| {
                    for (count, seed) in seeds.enumerate() {
                        if count.is_multiple_of(LOADS_UNSETTLED) {
                            self.settle();
                        }
                        let program = RandomProgram::new(seed);
                        let run = self.run_random(&program, false);
                        // Nobody listens any more: enough differences were found.
                        if sender.send((program, run)).is_err() {
                            return;
                        }
                    }
                });
                drop(sender);
            });
            // Moved in, so that it is dropped when this is left early and the other thread ends.
            let receiver = receiver;
            for (program, run) in &receiver {
                match run {
                    KernelRun::Refused(_) => report.refused += 1,
                    KernelRun::Ran(kernel) => {
                        report.compared += 1;
                        let mimic = program.run();
                        if mimic.as_ref() != Ok(&kernel) {
                            report.differences.push(self.smallest(program, kernel, mimic));
                        }
                    }
                }
                progress(report.compared + report.refused);
                if report.differences.len() >= differences_max {
                    break;
                }
            }
        });
        report
    }

    fn smallest(
        &self,
        program: RandomProgram,
        kernel: RandomOutcome,
        mimic: Result<RandomOutcome, String>,
    ) -> RandomDifference {
        let with = |insns: &[RawInsn]| RandomProgram { insns: insns.to_vec(), ..program.clone() };
        let differs = |insns: &[RawInsn]| {
            self.settle();
            let program = with(insns);
            match self.run_random(&program, false) {
                KernelRun::Refused(_) => None,
                KernelRun::Ran(kernel) => {
                    let mimic = program.run();
                    let differs = mimic.as_ref() != Ok(&kernel) && program.is_defined();
                    differs.then_some((kernel, mimic))
                }
            }
        };
        self.in_empty_netns(|| {
            // Taking instructions out may make numbers of addresses; without the privilege the verifier refuses that. It also refuses
            // some programs that are well: those are made smaller with the privilege, and may be misleading.
            let strict = std::thread::scope(|scope| {
                let shrunk = || {
                    sys::drop_perfmon().ok()?;
                    let _differs_there = differs(&program.insns)?;
                    Some(shrink(&program.insns, |insns| differs(insns).is_some()))
                };
                scope.spawn(shrunk).join().ok().flatten()
            });
            let insns = strict.unwrap_or_else(|| shrink(&program.insns, |insns| differs(insns).is_some()));
            let (kernel, mimic) = differs(&insns).unwrap_or((kernel.clone(), mimic.clone()));
            RandomDifference { program: with(&insns), kernel, mimic }
        })
    }
}

impl fmt::Display for RandomDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {:?}:", self.program.seed, self.program.kind)?;
        for line in disassemble(&self.program.insns) {
            writeln!(f, "  {}", line.display(Style::Kernel, &()))?;
        }
        for (index, map) in self.program.maps.iter().enumerate().skip(1) {
            let (key, value, most) = (map.key_size, map.value_size, map.max_entries);
            writeln!(
                f,
                "  map {index}: {:?}, {key}-byte keys, {value}-byte values, {most} entries",
                map.kind
            )?;
        }
        let mimic = match &self.mimic {
            Ok(mimic) => mimic,
            Err(error) => return writeln!(f, "kernel: r0 = {:#x}\nmimic:  {error}", self.kernel.retval),
        };
        if self.kernel.retval != mimic.retval {
            writeln!(f, "r0: kernel {:#x}, mimic {:#x}", self.kernel.retval, mimic.retval)?;
        }
        if self.kernel.packet != mimic.packet {
            writeln!(f, "packet: kernel {:02x?}\n        mimic  {:02x?}", self.kernel.packet, mimic.packet)?;
        }
        for (index, (kernel, mimic)) in self.kernel.maps.iter().zip(&mimic.maps).enumerate() {
            if kernel != mimic {
                writeln!(f, "map {index}: kernel {kernel:02x?}\n       mimic  {mimic:02x?}")?;
            }
        }
        Ok(())
    }
}
