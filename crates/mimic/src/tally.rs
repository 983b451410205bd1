//! `Tally`: counts what runs over packets come to. One for each thread that runs them; together they are the `Report`.

use crate::packet::verdict_name;
use crate::runner::{Count, RECORDS_MAX, Record, Report, Verdict, VerdictKey};
use mimic_linux::maps::{LinuxMap, PerfEventArray, Ringbuf};
use mimic_vm::{Fault, LoadedProgram, MapRef, Outcome, RunError};
use std::any::Any;
use std::sync::Arc;

/// A report in the making, and what it takes to make it.
pub(crate) struct Tally {
    program: Arc<LoadedProgram>,
    /// Ring buffers and perf event arrays, by their index in the object.
    rings: Arc<[(usize, Arc<MapRef>)]>,
    pub(crate) report: Report,
    /// The verdicts with small numbers, which most packets get; they are not in the report yet.
    small: [Count; SMALL],
}

/// The most different faults that a report keeps.
const STOPS_MAX: usize = 16;
/// Return values below are counted by index.
const SMALL: usize = 8;

impl Tally {
    pub(crate) fn new(program: Arc<LoadedProgram>, rings: Vec<(usize, Arc<MapRef>)>) -> Tally {
        let small = [Count::default(); SMALL];
        Tally { program, rings: rings.into(), report: Report::default(), small }
    }

    /// An empty one of the same kind.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn another(&self) -> Tally {
        let (program, rings) = (self.program.clone(), self.rings.clone());
        Tally { program, rings, report: Report::default(), small: [Count::default(); SMALL] }
    }

    /// The verdict of a run.
    pub(crate) fn verdict(&mut self, result: Result<Outcome, RunError>) -> Verdict {
        self.report.runs += 1;
        match result {
            Ok(outcome) => {
                self.report.insns += outcome.insns;
                let retval = outcome.r0 as u32;
                Verdict::Returned(retval, verdict_name(self.program.linked(), retval))
            }
            Err(RunError::Fault(fault)) => Verdict::Faulted(fault),
            Err(RunError::Context(error)) => Verdict::Refused(error.to_string()),
        }
    }

    /// Counts a packet, the `packet`th from 1, of `len` bytes.
    pub(crate) fn count(&mut self, packet: u64, verdict: &Verdict, len: usize) {
        let key = match verdict {
            Verdict::Returned(retval, _) if (*retval as usize) < SMALL => {
                let count = &mut self.small[*retval as usize];
                count.packets += 1;
                count.bytes += len as u64;
                return;
            }
            Verdict::Returned(retval, name) => VerdictKey::Returned(*retval, *name),
            Verdict::Faulted(_) => {
                self.keep_stop(packet, verdict);
                VerdictKey::Faulted
            }
            Verdict::Refused(_) => {
                self.keep_stop(packet, verdict);
                VerdictKey::Refused
            }
        };
        let count = self.report.verdicts.entry(key).or_default();
        count.packets += 1;
        count.bytes += len as u64;
    }

    /// Keeps a fault or refusal, if it is the first of its kind.
    pub(crate) fn keep_stop(&mut self, packet: u64, verdict: &Verdict) {
        let stops = &mut self.report.stops;
        if stops.len() < STOPS_MAX && !stops.iter().any(|(_, known)| same_stop(known, verdict)) {
            stops.push((packet, verdict.clone()));
        }
    }

    /// Reads the ring buffers, as a user who polls them would: a program that nobody listens to would find them full. Of perf event arrays
    /// all buffers, or those of a CPU.
    pub(crate) fn take_records(&mut self, packet: u64, cpu: Option<u32>) {
        for (index, map) in &*self.rings {
            let taken = records(map, cpu);
            if taken.is_empty() {
                continue;
            }
            let records = self.report.records.entry(*index).or_default();
            records.total += taken.len() as u64;
            let room = RECORDS_MAX - records.kept.len();
            records.kept.extend(taken.into_iter().take(room).map(|bytes| Record { packet, bytes }));
        }
    }

    /// Puts what was counted by index into the report.
    pub(crate) fn settle(&mut self) {
        for (retval, count) in (0..).zip(&mut self.small) {
            if count.packets > 0 {
                let key = VerdictKey::Returned(retval, verdict_name(self.program.linked(), retval));
                self.report.verdicts.entry(key).or_default().add(*count);
                *count = Count::default();
            }
        }
    }

    /// Adds those of other threads, in the order of packets.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn merge(&mut self, others: impl IntoIterator<Item = Tally>) {
        let mut stops = std::mem::take(&mut self.report.stops);
        for mut other in others {
            other.settle();
            let other = other.report;
            self.report.insns += other.insns;
            self.report.runs += other.runs;
            self.report.time += other.time;
            for (key, count) in other.verdicts {
                self.report.verdicts.entry(key).or_default().add(count);
            }
            stops.extend(other.stops);
            for (index, records) in other.records {
                let all = self.report.records.entry(index).or_default();
                all.total += records.total;
                all.kept.extend(records.kept);
            }
        }
        stops.sort_by_key(|(packet, _)| *packet);
        stops.iter().for_each(|(packet, verdict)| self.keep_stop(*packet, verdict));
        for records in self.report.records.values_mut() {
            records.kept.sort_by_key(|record| record.packet);
            records.kept.truncate(RECORDS_MAX);
        }
    }
}

impl Count {
    fn add(&mut self, other: Count) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// Takes the records out of a ring buffer, or out of a perf event array; of that those of all CPUs, or of one.
pub(crate) fn records(map: &MapRef, cpu: Option<u32>) -> Vec<Vec<u8>> {
    let map: &dyn Any = &*map.map;
    if let Some(ring) = map.downcast_ref::<LinuxMap<Ringbuf>>() {
        let pos = ring.ops().positions();
        return if pos.consumer == pos.producer { Vec::new() } else { ring.ops().take() };
    }
    let Some(perf) = map.downcast_ref::<LinuxMap<PerfEventArray>>() else { return Vec::new() };
    let samples = cpu.map_or_else(|| perf.ops().take(), |cpu| perf.ops().take_of(cpu));
    samples.into_iter().map(|sample| sample.data).collect()
}

/// Whether two stops are faults at the same place, or refusals for the same reason.
fn same_stop(a: &Verdict, b: &Verdict) -> bool {
    let place = |fault: &Fault| (fault.pc, fault.program.clone());
    match (a, b) {
        (Verdict::Faulted(a), Verdict::Faulted(b)) => place(a) == place(b),
        (Verdict::Refused(a), Verdict::Refused(b)) => a == b,
        _ => false,
    }
}
