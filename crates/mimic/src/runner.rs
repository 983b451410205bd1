//! `Runner`: a program over a stream of packets: one process per virtual CPU, contexts refilled, the clock driven by the packets' times.
//!
//! Packets go to the CPUs by their flows (`Rss`). [`Runner::run`] and [`Runner::packet`] run one after the other, so that a run repeats bit for
//! bit; `per_cpu` has the way to run them at once.

use crate::error::Error;
use crate::loaded::{Loaded, Runnable};
use crate::packet::AnyPacket;
use crate::pcap::{Frame, PacketSource};
use crate::rss::Rss;
use crate::tally::Tally;
use mimic_abi::MapType;
use mimic_linux::Linux;
use mimic_vm::{Context, Fault, Hook, Probe, Process, RunError};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The most records of one ring buffer that a runner keeps; what comes after is counted.
pub const RECORDS_MAX: usize = 1 << 16;

/// Packets that `run_all` reads at a time.
const BATCH_LEN: usize = 64;
/// Bytes of them, about.
const BATCH_BYTES: usize = 1 << 20;

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
    /// The packet during whose run it was written, from 1; of ring buffers that several CPUs wrote to at once, the one after whose run it
    /// was read.
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
    /// Time that the runs took on the host, in all; with what is done to begin and end them. CPUs that ran at once count each.
    pub time: Duration,
    /// The first faults and refusals, each different one once: the packet, from 1, and what happened.
    pub stops: Vec<(u64, Verdict)>,
    /// Callbacks of timers and work that were stopped by a fault, between packets.
    pub timer_faults: u64,
    /// Records of ring buffers by the map's index in the object.
    pub records: BTreeMap<usize, Records>,
}

/// A program, to be run over packets.
pub struct Runner<'a> {
    pub(crate) loaded: &'a Loaded,
    pub(crate) processes: Vec<Process>,
    /// Each packet is run so many times; the last counts. 1 unless said otherwise.
    pub repeat: u32,
    /// The packets' times drive the virtual clock.
    pub clock: bool,
    start_ns: u64,
    first_ns: Option<u64>,
    now_ns: u64,
    pub(crate) rss: Rss,
    pub(crate) tally: Tally,
}

impl<'a> Runner<'a> {
    /// A runner with a process on each virtual CPU.
    pub fn new(program: Runnable<'a>) -> Result<Runner<'a>, Error> {
        let loaded = program.loaded();
        let processes = (0..loaded.vm().cpus()).map(|cpu| program.process_on(cpu));
        let is_ring = |map: &crate::MapHandle<'_>| {
            matches!(map.spec().kind(), Ok(MapType::Ringbuf | MapType::PerfEventArray))
        };
        let rings = loaded.maps().enumerate().filter(|(_, map)| is_ring(map));
        let rings = rings.map(|(index, map)| (index, map.map().clone())).collect();
        loaded.maps().for_each(|map| map.open_perf(PERF_BYTES_MAX));
        Ok(Runner {
            loaded,
            processes: processes.collect::<Result<_, _>>()?,
            repeat: 1,
            clock: true,
            start_ns: loaded.vm().emulator_as::<Linux>().map_or(0, |linux| linux.clock().now_ns()),
            first_ns: None,
            now_ns: 0,
            rss: Rss::new(loaded.vm().cpus()),
            tally: Tally::new(program.program().clone(), rings),
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

    /// Runs the program on all packets, without a look at each: what a long capture takes the least time by. Packets are not read back.
    pub fn run_all(&mut self, source: &mut dyn PacketSource, context: &mut AnyPacket) -> Result<(), Error> {
        context.set_read_back(false);
        let mut frames = Vec::new();
        let mut more = Ok(true);
        while let Ok(true) = more {
            let (mut count, mut bytes) = (0, 0);
            while count < BATCH_LEN && bytes < BATCH_BYTES {
                if frames.len() == count {
                    frames.push(Frame::default());
                }
                more = source.next(&mut frames[count]).map_err(Error::from);
                if !matches!(more, Ok(true)) {
                    break;
                }
                bytes += frames[count].bytes.len();
                count += 1;
            }
            // The clock is looked at for all of them: for one it takes as long as a small program.
            let start = Instant::now();
            for frame in &frames[..count] {
                self.packet_untimed(frame, context, &mut mimic_vm::NoProbe);
            }
            self.tally.report.time += start.elapsed();
        }
        context.set_read_back(true);
        more.map(|_| ())
    }

    /// Runs the program on one packet.
    pub fn packet<P: Probe>(&mut self, frame: &Frame, context: &mut AnyPacket, probe: &mut P) -> Verdict {
        let start = Instant::now();
        let verdict = self.packet_untimed(frame, context, probe);
        self.tally.report.time += start.elapsed();
        verdict
    }

    fn packet_untimed<P: Probe>(&mut self, frame: &Frame, context: &mut AnyPacket, probe: &mut P) -> Verdict {
        self.set_clock(frame.time_ns);
        let mut verdict = not_run();
        let cpu = self.rss.cpu(&frame.bytes) as usize;
        self.arrived(frame.bytes.len());
        for _ in 0..self.repeat {
            context.set_frame(frame);
            verdict = self.once(cpu, context.context(), probe);
        }
        self.count(&verdict, frame.bytes.len());
        verdict
    }

    /// Runs the program on a context; `hook` sees its helper calls. Contexts go to the CPUs in turn.
    pub fn context<P: Probe>(
        &mut self,
        context: &mut dyn Context,
        mut hook: Option<Box<dyn Hook>>,
        probe: &mut P,
    ) -> Verdict {
        let cpu = self.tally.report.total.packets as usize % self.processes.len();
        self.arrived(0);
        let before = self.processes[cpu].set_hook(hook.take());
        let mut verdict = not_run();
        let start = Instant::now();
        for _ in 0..self.repeat {
            verdict = self.once(cpu, context, probe);
        }
        self.tally.report.time += start.elapsed();
        self.processes[cpu].set_hook(before);
        self.count(&verdict, 0);
        verdict
    }

    /// Counts a packet in; answers its number.
    pub(crate) fn arrived(&mut self, len: usize) -> u64 {
        let total = &mut self.tally.report.total;
        total.packets += 1;
        total.bytes += len as u64;
        total.packets
    }

    fn once<P: Probe>(&mut self, cpu: usize, context: &mut dyn Context, probe: &mut P) -> Verdict {
        let result = self.processes[cpu].run_dyn(context, probe);
        self.tally.verdict(result)
    }

    /// What it has come to so far; verdicts are counted in the end.
    pub fn report(&self) -> &Report {
        &self.tally.report
    }

    /// Ends it.
    pub fn finish(mut self) -> Report {
        self.tally.settle();
        self.tally.report
    }

    /// The virtual time of a packet that was captured at `time_ns`; none if packets do not drive the clock.
    pub(crate) fn now_ns(&mut self, time_ns: u64) -> Option<u64> {
        if !self.clock {
            return None;
        }
        let first_ns = *self.first_ns.get_or_insert(time_ns);
        // Captures of several interfaces can go back in time; the clock cannot.
        self.now_ns = self.now_ns.max(self.start_ns.saturating_add(time_ns.saturating_sub(first_ns)));
        Some(self.now_ns)
    }

    /// Lets the virtual clock go on to the time of a packet, and runs the timers that are due.
    pub fn set_clock(&mut self, time_ns: u64) {
        if let Some(now_ns) = self.now_ns(time_ns) {
            self.advance_to(now_ns);
        }
    }

    /// Moves the clock forward, and runs the timers that are due.
    pub(crate) fn advance_to(&mut self, now_ns: u64) {
        let Some(linux) = self.loaded.vm().emulator_as::<Linux>() else { return };
        if now_ns > linux.clock().now_ns() {
            let advanced = linux.advance_to(self.loaded.vm(), now_ns);
            if let Err(RunError::Fault(fault)) = advanced {
                self.tally.report.timer_faults += 1;
                self.tally.keep_stop(self.tally.report.total.packets, &Verdict::Faulted(fault));
            }
        }
    }

    fn count(&mut self, verdict: &Verdict, len: usize) {
        let packet = self.tally.report.total.packets;
        self.tally.count(packet, verdict, len);
        self.tally.take_records(packet, None);
    }
}

/// The verdict when `repeat` is 0.
pub(crate) fn not_run() -> Verdict {
    Verdict::Refused("it was not run: repeat is 0".into())
}
