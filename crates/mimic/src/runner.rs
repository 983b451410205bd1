//! `Runner`: a program over a stream of packets: one process per virtual CPU, contexts refilled, the clock driven by the packets' times.
//!
//! Packets go to the CPUs in turn, one after the other, so that a run repeats bit for bit.

use crate::error::Error;
use crate::loaded::{Loaded, Runnable};
use crate::packet::{AnyPacket, verdict_name};
use crate::pcap::{Frame, PacketSource};
use mimic_abi::MapType;
use mimic_linux::Linux;
use mimic_vm::{Context, Fault, Hook, LoadedProgram, Outcome, Probe, Process, RunError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most records of one ring buffer that a runner keeps; what comes after is counted.
pub const RECORDS_MAX: usize = 1 << 16;

/// Bytes of the buffer that each CPU's perf events get.
const PERF_BYTES_MAX: u64 = 1 << 20;

/// What became of a packet.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The program returned this (the low half of r0), whose name this is.
    Returned(u32, Option<&'static str>),
    /// The program was stopped.
    Faulted(Box<Fault>),
    /// The kernel would not run the program on such a packet; why.
    Refused(String),
}

impl Verdict {
    /// The name of the verdict: the UAPI's, or the number.
    pub fn name(&self) -> String {
        match self {
            Verdict::Returned(_, Some(name)) => (*name).to_owned(),
            Verdict::Returned(retval, None) => retval.to_string(),
            Verdict::Faulted(_) => "fault".into(),
            Verdict::Refused(_) => "refused".into(),
        }
    }
}

/// How many packets got a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Their bytes, as they came in.
    pub bytes: u64,
}

/// What verdicts are counted by; in this order they are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerdictKey {
    /// A return value.
    Returned(u32, Option<&'static str>),
    /// Faults.
    Faulted,
    /// Packets that are no input.
    Refused,
}

impl VerdictKey {
    /// As [`Verdict::name`].
    pub fn name(&self) -> String {
        match self {
            VerdictKey::Returned(_, Some(name)) => (*name).to_owned(),
            VerdictKey::Returned(retval, None) => retval.to_string(),
            VerdictKey::Faulted => "fault".into(),
            VerdictKey::Refused => "refused".into(),
        }
    }
}

/// A record of a ring buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The packet during whose run it was written, from 1.
    pub packet: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Records of one ring buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The first [`RECORDS_MAX`].
    pub kept: Vec<Record>,
    /// How many there were.
    pub total: u64,
}

/// What a run over packets came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Packets that were run.
    pub total: Count,
    /// Packets by verdict.
    pub verdicts: BTreeMap<VerdictKey, Count>,
    /// Instructions of all runs that ended.
    pub insns: u64,
    /// Runs: packets times repetitions.
    pub runs: u64,
    /// Time that the runs took on the host, in all.
    pub time: Duration,
    /// The first faults and refusals, each different one once: the packet, from 1, and what happened.
    pub stops: Vec<(u64, Verdict)>,
    /// Callbacks of timers and work that were stopped by a fault, between packets.
    pub timer_faults: u64,
    /// Records of ring buffers by the map's index in the object.
    pub records: BTreeMap<usize, Records>,
}

/// The most different faults that a report keeps.
const STOPS_MAX: usize = 16;

/// A program, to be run over packets.
pub struct Runner<'a> {
    loaded: &'a Loaded,
    program: Arc<LoadedProgram>,
    processes: Vec<Process>,
    /// Each packet is run so many times; the last counts. 1 unless said otherwise.
    pub repeat: u32,
    /// The packets' times drive the virtual clock.
    pub clock: bool,
    start_ns: u64,
    first_ns: Option<u64>,
    rings: Vec<usize>,
    report: Report,
}

impl<'a> Runner<'a> {
    /// A runner with a process on each virtual CPU.
    pub fn new(program: Runnable<'a>) -> Result<Runner<'a>, Error> {
        let loaded = program.loaded();
        let processes = (0..loaded.vm().cpus()).map(|cpu| program.process_on(cpu));
        let is_ring = |map: &crate::MapHandle<'_>| {
            matches!(map.spec().kind(), Ok(MapType::Ringbuf | MapType::PerfEventArray))
        };
        let rings = loaded.maps().enumerate().filter(|(_, map)| is_ring(map)).map(|(index, _)| index);
        loaded.maps().for_each(|map| map.open_perf(PERF_BYTES_MAX));
        Ok(Runner {
            loaded,
            program: program.program().clone(),
            processes: processes.collect::<Result<_, _>>()?,
            repeat: 1,
            clock: true,
            start_ns: loaded.vm().emulator_as::<Linux>().map_or(0, |linux| linux.clock().now_ns()),
            first_ns: None,
            rings: rings.collect(),
            report: Report::default(),
        })
    }

    /// The processes, one for each CPU: to override helpers or set hooks.
    pub fn processes(&mut self) -> &mut [Process] {
        &mut self.processes
    }

    /// Runs the program on all packets. `each` is told of each, with the context after the run.
    pub fn run(
        &mut self,
        source: &mut dyn PacketSource,
        context: &mut AnyPacket,
        mut each: impl FnMut(&Frame, &Verdict, &AnyPacket) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut frame = Frame::default();
        while source.next(&mut frame)? {
            let verdict = self.packet(&frame, context, &mut mimic_vm::NoProbe);
            each(&frame, &verdict, context)?;
        }
        Ok(())
    }

    /// Runs the program on one packet.
    pub fn packet<P: Probe>(&mut self, frame: &Frame, context: &mut AnyPacket, probe: &mut P) -> Verdict {
        self.set_clock(frame.time_ns);
        let mut verdict = Verdict::Refused("it was not run: repeat is 0".into());
        let cpu = self.next_cpu(frame.bytes.len());
        for _ in 0..self.repeat {
            context.set_frame(frame);
            verdict = self.once(cpu, context.context(), probe);
        }
        self.count(&verdict, frame.bytes.len());
        verdict
    }

    /// Runs the program on a context; `hook` sees its helper calls.
    pub fn context<P: Probe>(
        &mut self,
        context: &mut dyn Context,
        mut hook: Option<Box<dyn Hook>>,
        probe: &mut P,
    ) -> Verdict {
        let cpu = self.next_cpu(0);
        let before = self.processes[cpu].set_hook(hook.take());
        let mut verdict = Verdict::Refused("it was not run: repeat is 0".into());
        for _ in 0..self.repeat {
            verdict = self.once(cpu, context, probe);
        }
        self.processes[cpu].set_hook(before);
        self.count(&verdict, 0);
        verdict
    }

    fn next_cpu(&mut self, len: usize) -> usize {
        self.report.total.packets += 1;
        self.report.total.bytes += len as u64;
        (self.report.total.packets - 1) as usize % self.processes.len()
    }

    fn once<P: Probe>(&mut self, cpu: usize, context: &mut dyn Context, probe: &mut P) -> Verdict {
        let start = Instant::now();
        let result = self.processes[cpu].run_dyn(context, probe);
        self.report.time += start.elapsed();
        self.report.runs += 1;
        self.verdict(result)
    }

    /// What it has come to so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Ends it.
    pub fn finish(self) -> Report {
        self.report
    }

    /// Lets the virtual clock go on to the time of a packet, and runs the timers that are due.
    pub fn set_clock(&mut self, time_ns: u64) {
        let Some(linux) = self.loaded.vm().emulator_as::<Linux>().filter(|_| self.clock) else { return };
        let first_ns = *self.first_ns.get_or_insert(time_ns);
        // Captures of several interfaces can go back in time; the clock cannot.
        let now_ns = self.start_ns.saturating_add(time_ns.saturating_sub(first_ns));
        if now_ns > linux.clock().now_ns() {
            let advanced = linux.advance_to(self.loaded.vm(), now_ns);
            if let Err(RunError::Fault(fault)) = advanced {
                self.report.timer_faults += 1;
                let verdict = Verdict::Faulted(fault.clone());
                self.keep_stop(&verdict, |stop| same_fault(stop, &fault));
            }
        }
    }

    fn verdict(&mut self, result: Result<Outcome, RunError>) -> Verdict {
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

    fn count(&mut self, verdict: &Verdict, len: usize) {
        let key = match verdict {
            Verdict::Returned(retval, name) => VerdictKey::Returned(*retval, *name),
            Verdict::Faulted(fault) => {
                self.keep_stop(verdict, |stop| same_fault(stop, fault));
                VerdictKey::Faulted
            }
            Verdict::Refused(why) => {
                let known =
                    |stop: &(u64, Verdict)| matches!(&stop.1, Verdict::Refused(known) if known == why);
                self.keep_stop(verdict, known);
                VerdictKey::Refused
            }
        };
        let count = self.report.verdicts.entry(key).or_default();
        count.packets += 1;
        count.bytes += len as u64;
        self.take_records();
    }

    fn keep_stop(&mut self, verdict: &Verdict, known: impl Fn(&(u64, Verdict)) -> bool) {
        let stops = &mut self.report.stops;
        if stops.len() < STOPS_MAX && !stops.iter().any(known) {
            stops.push((self.report.total.packets, verdict.clone()));
        }
    }

    /// Reads the ring buffers, as a user who polls them would: a program that nobody listens to would find them full.
    fn take_records(&mut self) {
        for index in &self.rings {
            let Some(map) = self.loaded.maps().nth(*index) else { continue };
            let taken = map.take_records();
            if taken.is_empty() {
                continue;
            }
            let records = self.report.records.entry(*index).or_default();
            records.total += taken.len() as u64;
            let room = RECORDS_MAX - records.kept.len();
            let packet = self.report.total.packets;
            records.kept.extend(taken.into_iter().take(room).map(|bytes| Record { packet, bytes }));
        }
    }
}

/// Whether a stop is a fault at the same place.
fn same_fault(stop: &(u64, Verdict), fault: &Fault) -> bool {
    matches!(&stop.1, Verdict::Faulted(known) if known.pc == fault.pc && known.program == fault.program)
}
