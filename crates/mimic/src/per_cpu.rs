//! Running packets on all virtual CPUs at once: `Runner::run_per_cpu`.
//!
//! The caller's thread reads packets and deals them out by their flows, in rounds; a worker for each CPU runs its share of a round. A few rounds
//! are under way at a time, and are finished in order. Frames are read into the memory of rounds that are done.

use crate::error::{Error, ErrorKind};
use crate::packet::AnyPacket;
use crate::pcap::{Frame, PacketSource};
use crate::runner::{Runner, Verdict, not_run};
use crate::tally::Tally;
use mimic_linux::Linux;
use mimic_vm::sched::Workers;
use mimic_vm::{NoProbe, Process, Vm};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// What is told of each packet: the frame, the verdict, and the packet as the program left it.
pub type Each<'a> = &'a mut dyn FnMut(&Frame, &Verdict, &[u8]) -> Result<(), Error>;

/// Packets of a round for each CPU, on average.
const ROUND_LEN: usize = 256;
/// Bytes of packets of a round, for each CPU.
const ROUND_BYTES: usize = 1 << 20;
/// Rounds under way.
const ROUNDS: usize = 4;
/// The longest buffer that is kept for another packet, in bytes.
const BUFFER_KEPT: usize = 16 << 10;

/// A virtual CPU at work.
struct Lane {
    cpu: u32,
    vm: Arc<Vm>,
    process: Process,
    context: AnyPacket,
    tally: Tally,
    repeat: u32,
}

/// A packet, before and after its run.
struct Item {
    frame: Frame,
    /// Its number, from 1.
    number: u64,
    now_ns: Option<u64>,
    verdict: Verdict,
    after: Vec<u8>,
}

/// What a CPU has to do of a round.
#[derive(Default)]
struct Share {
    round: u64,
    items: Vec<Item>,
    /// How many of the items are packets; the others are memory for some.
    len: usize,
    /// The packets after their runs are wanted.
    keep: bool,
}

/// Packets that are dealt out together.
#[derive(Default)]
struct Round {
    shares: Vec<Share>,
    /// The CPU of each packet.
    order: Vec<u32>,
    /// Shares that are with their workers.
    away: usize,
    bytes: usize,
    /// Memory for the next packet.
    frame: Frame,
    /// When the first packet came, and the last.
    times_ns: Option<(u64, u64)>,
}

impl Default for Item {
    fn default() -> Item {
        Item { frame: Frame::default(), number: 0, now_ns: None, verdict: not_run(), after: Vec::new() }
    }
}

/// The rounds under way, and their workers.
struct Rounds<'w> {
    workers: &'w mut Workers<Lane, Share>,
    under_way: VecDeque<Round>,
    /// The number of the first of them.
    first: u64,
    spare: Vec<Round>,
    /// When the last packet came.
    last_ns: Option<u64>,
}

impl Runner<'_> {
    /// Runs the program on all packets, on all virtual CPUs at once: packets of a flow one after the other on one CPU, other packets beside
    /// them. `context` makes what each CPU puts packets into. `each`, if given, is told of the packets in their order.
    ///
    /// For a program whose maps are all per CPU it comes to the same as [`Runner::run`]: each CPU runs the same packets in the same order, at their times.
    /// What CPUs share (other maps, ring buffers) they change in an order that is another each time. Timers and work that are due run
    /// between rounds, while no packet does.
    ///
    /// # Errors
    /// Those of the source and of `each`, after the packets that came before; the host's, when it has no threads; a panic of a helper closure.
    pub fn run_per_cpu(
        &mut self,
        source: &mut dyn PacketSource,
        context: impl Fn() -> AnyPacket,
        each: Option<Each<'_>>,
    ) -> Result<(), Error> {
        let vm = self.loaded.vm().clone();
        let processes = std::mem::take(&mut self.processes);
        let lanes = (0..).zip(processes).map(|(cpu, process)| Lane {
            cpu,
            vm: vm.clone(),
            process,
            context: context(),
            tally: self.tally.another(),
            repeat: self.repeat,
        });
        let mut workers = match Workers::start(lanes.collect(), ROUNDS, Lane::run) {
            Ok(workers) => workers,
            Err((error, lanes)) => {
                self.processes = lanes.into_iter().map(|lane| lane.process).collect();
                return Err(ErrorKind::Io(error).into());
            }
        };
        let clock = vm.emulator_as::<Linux>().filter(|_| self.clock).map(Linux::clock);
        clock.inspect(|clock| clock.split());
        let mut rounds = Rounds {
            workers: &mut workers,
            under_way: VecDeque::new(),
            first: 0,
            spare: Vec::new(),
            last_ns: None,
        };
        let result = self.deal(source, &mut rounds, each);
        let last_ns = rounds.last_ns;
        let lanes = workers.stop();
        clock.inspect(|clock| clock.join());
        let mut tallies = Vec::new();
        for lane in lanes {
            self.processes.push(lane.process);
            tallies.push(lane.tally);
        }
        self.tally.merge(tallies);
        if let Some(last_ns) = last_ns.filter(|_| result.is_ok()) {
            self.advance_to(last_ns);
        }
        result
    }

    /// Reads packets, deals them out, and sees to it that rounds are finished.
    fn deal(
        &mut self,
        source: &mut dyn PacketSource,
        rounds: &mut Rounds<'_>,
        mut each: Option<Each<'_>>,
    ) -> Result<(), Error> {
        let mut end = Ok(true);
        while let Ok(true) = end {
            let mut round = rounds.room(&mut each)?;
            end = self.fill(source, &mut round, each.is_some());
            if let Some((first_ns, last_ns)) = round.times_ns {
                rounds.last_ns = rounds.last_ns.max(Some(last_ns));
                self.run_due(first_ns, rounds, &mut each)?;
            }
            rounds.send(round);
        }
        rounds.finish(0, &mut each)?;
        end.map(|_| ())
    }

    /// Fills a round with packets; false at their end.
    fn fill(&mut self, source: &mut dyn PacketSource, round: &mut Round, keep: bool) -> Result<bool, Error> {
        let cpus = self.rss.cpus() as usize;
        round.shares.resize_with(cpus, Share::default);
        round.shares.iter_mut().for_each(|share| share.keep = keep);
        let mut frame = std::mem::take(&mut round.frame);
        let mut more = Ok(true);
        while round.order.len() < ROUND_LEN * cpus && round.bytes < ROUND_BYTES * cpus {
            more = source.next(&mut frame).map_err(Error::from);
            if !matches!(more, Ok(true)) {
                break;
            }
            let now_ns = self.now_ns(frame.time_ns);
            let number = self.arrived(frame.bytes.len());
            round.add(self.rss.cpu(&frame.bytes), &mut frame, number, now_ns);
        }
        round.frame = frame;
        more
    }

    /// Runs the timers that are due before a time, when the packets before that have run.
    fn run_due(
        &mut self,
        now_ns: u64,
        rounds: &mut Rounds<'_>,
        each: &mut Option<Each<'_>>,
    ) -> Result<(), Error> {
        let Some(linux) = self.loaded.vm().emulator_as::<Linux>() else { return Ok(()) };
        if linux.is_due(now_ns) {
            rounds.finish(0, each)?;
            linux.clock().join();
            self.advance_to(now_ns);
            linux.clock().split();
        }
        Ok(())
    }
}

impl Rounds<'_> {
    /// Waits until another round may be under way; memory for it.
    fn room(&mut self, each: &mut Option<Each<'_>>) -> Result<Round, Error> {
        self.finish(ROUNDS - 1, each)?;
        Ok(self.spare.pop().unwrap_or_default())
    }

    /// Sends a round to the workers.
    fn send(&mut self, mut round: Round) {
        let number = self.first + self.under_way.len() as u64;
        for (cpu, share) in (0..).zip(&mut round.shares) {
            if share.len > 0 {
                share.round = number;
                self.workers.submit(cpu, std::mem::take(share));
                round.away += 1;
            }
        }
        self.under_way.push_back(round);
    }

    /// Waits until no more than `most` rounds are under way.
    fn finish(&mut self, most: usize, each: &mut Option<Each<'_>>) -> Result<(), Error> {
        while self.under_way.len() > most {
            while self.under_way.front().is_some_and(|round| round.away > 0) {
                let Some(done) = self.workers.collect() else { break };
                let share = done.batch.map_err(Error::usage)?;
                if let Some(round) = self.under_way.get_mut((share.round - self.first) as usize) {
                    round.away -= 1;
                    round.shares[done.cpu as usize] = share;
                }
            }
            let Some(mut round) = self.under_way.pop_front() else { break };
            self.first += 1;
            if let Some(each) = each {
                round.tell(each)?;
            }
            round.clear();
            self.spare.push(round);
        }
        Ok(())
    }
}

impl Round {
    /// Takes a packet; `frame` gets other memory for it.
    fn add(&mut self, cpu: u32, frame: &mut Frame, number: u64, now_ns: Option<u64>) {
        self.order.push(cpu);
        self.bytes += frame.bytes.len();
        if let Some(now_ns) = now_ns {
            let (first_ns, last_ns) = self.times_ns.unwrap_or((now_ns, now_ns));
            self.times_ns = Some((first_ns, last_ns.max(now_ns)));
        }
        let share = &mut self.shares[cpu as usize];
        if share.items.len() == share.len {
            share.items.push(Item::default());
        }
        let item = &mut share.items[share.len];
        std::mem::swap(&mut item.frame, frame);
        (item.number, item.now_ns) = (number, now_ns);
        share.len += 1;
    }

    /// Tells of all packets, in their order.
    fn tell(&self, each: &mut Each<'_>) -> Result<(), Error> {
        let mut told = vec![0; self.shares.len()];
        for cpu in &self.order {
            let at = &mut told[*cpu as usize];
            let item = &self.shares[*cpu as usize].items[*at];
            each(&item.frame, &item.verdict, &item.after)?;
            *at += 1;
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.order.clear();
        (self.bytes, self.times_ns) = (0, None);
        for share in &mut self.shares {
            for item in &mut share.items[..share.len] {
                for buffer in [&mut item.frame.bytes, &mut item.after] {
                    if buffer.capacity() > BUFFER_KEPT {
                        *buffer = Vec::new();
                    }
                }
            }
            share.len = 0;
        }
    }
}

impl Lane {
    /// Runs a share of packets.
    fn run(&mut self, share: &mut Share) {
        let start = Instant::now();
        let vm = self.vm.clone();
        let clock = vm.emulator_as::<Linux>().map(Linux::clock);
        for item in &mut share.items[..share.len] {
            if let (Some(clock), Some(now_ns)) = (clock, item.now_ns) {
                clock.set_ns_on(self.cpu, now_ns);
            }
            item.verdict = self.packet(&item.frame);
            self.tally.count(item.number, &item.verdict, item.frame.bytes.len());
            self.tally.take_records(item.number, Some(self.cpu));
            if share.keep {
                item.after.clear();
                item.after.extend_from_slice(self.context.packet());
            }
        }
        self.tally.report.time += start.elapsed();
    }

    fn packet(&mut self, frame: &Frame) -> Verdict {
        let mut verdict = not_run();
        for _ in 0..self.repeat {
            self.context.set_frame(frame);
            let result = self.process.run_dyn(self.context.context(), &mut NoProbe);
            verdict = self.tally.verdict(result);
        }
        verdict
    }
}
