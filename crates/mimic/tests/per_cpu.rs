//! Packets on all CPUs at once come to the same as one after the other, for a program whose maps are its CPUs' own.

use mimic::linux::{Linux, World};
use mimic::object::Object;
use mimic::pcap::{Frame, PacketSource, PcapError};
use mimic::vm::{Limits, Vm};
use mimic::{AnyPacket, LoadExt, Loaded, MapContents, Report, Runner, Verdict};

const PACKETS: u64 = 6_000;

/// UDP packets of many flows, a few of which are no IP, or make the program fault.
struct Traffic {
    next: u64,
    random: u64,
}

impl PacketSource for Traffic {
    fn next(&mut self, frame: &mut Frame) -> Result<bool, PcapError> {
        if self.next == PACKETS {
            return Ok(false);
        }
        self.next += 1;
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = self.random >> 33;
        let dest = match random % 1000 {
            0 => 9,
            1..400 => 53,
            _ => 440 + (random % 7) as u16,
        };
        let ether_type = if random % 97 == 5 { 0x0806u16 } else { 0x0800 };
        let bytes = &mut frame.bytes;
        bytes.clear();
        bytes.resize(12, 2);
        bytes.extend(ether_type.to_be_bytes());
        bytes.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, (random % 50) as u8, 10, 0, 1, 1]);
        bytes.extend(((1024 + random % 20) as u16).to_be_bytes());
        bytes.extend(dest.to_be_bytes());
        bytes.resize(42 + (random % 1400) as usize, 7);
        frame.wire_len = bytes.len() as u32;
        // Now and then a time goes back.
        frame.time_ns = 1_000_000_000 + self.next * 1000 - random % 1500;
        Ok(true)
    }
}

fn load(cpus: u32) -> Loaded {
    let object = Object::parse(include_bytes!("data/flows.bpf.o")).expect("it is an object");
    let limits = Limits { insns_max: 10_000, ..Limits::default() };
    let vm = Vm::builder(Linux::new(World::default())).cpus(cpus).limits(limits).build();
    vm.expect("address space").load(&object).expect("it loads")
}

/// What is compared: the report but for the host's time, the maps, and each packet in its order.
fn outcome(loaded: &Loaded, report: &Report, told: &[(u64, String, Vec<u8>)]) -> String {
    let mut maps: Vec<MapContents> =
        loaded.maps().map(|map| map.contents().expect("it can be read")).collect();
    // Entries of one bucket stand in the order in which they came.
    for contents in &mut maps {
        if let MapContents::Entries(entries) = contents {
            entries.sort_by(|a, b| a.key.cmp(&b.key));
        }
    }
    let Report { total, verdicts, insns, runs, stops, timer_faults, records, .. } = report;
    // A fault's text says where in the packet; the address depends on which CPU asked first for memory.
    let stop = |(packet, verdict): &(u64, Verdict)| match verdict {
        Verdict::Faulted(fault) => format!("{packet}: {fault}"),
        other => format!("{packet}: {other:?}"),
    };
    let stops: Vec<String> = stops.iter().map(stop).collect();
    let clock_ns = loaded.vm().emulator_as::<Linux>().expect("it is Linux").clock().now_ns();
    format!(
        "{total:?} {verdicts:#?} {insns} {runs} {stops:#?} {timer_faults} {records:?} {maps:?} {clock_ns} {told:?}"
    )
}

fn run(cpus: u32, at_once: bool, repeat: u32) -> String {
    let loaded = load(cpus);
    let program = loaded.program("flows_seen").expect("it is there");
    let mut runner = Runner::new(program).expect("memory");
    runner.repeat = repeat;
    let mut source = Traffic { next: 0, random: 7 };
    let mut context = AnyPacket::for_program(program.program().linked()).expect("it takes packets");
    let mut told = Vec::new();
    let mut put = |frame: &Frame, verdict: &Verdict, after: &[u8]| {
        told.push((frame.time_ns, verdict.name(), after.to_vec()));
        Ok(())
    };
    if at_once {
        runner.run_per_cpu(&mut source, || context.another(), Some(&mut put)).expect("threads");
    } else {
        let each =
            |frame: &Frame, verdict: &Verdict, context: &AnyPacket| put(frame, verdict, context.packet());
        runner.run(&mut source, &mut context, each).expect("packets");
    }
    outcome(&loaded, &runner.finish(), &told)
}

#[test]
fn the_same_as_one_after_the_other() {
    for (cpus, repeat) in [(1, 1), (2, 1), (3, 2), (16, 1)] {
        let (inline, per_cpu) = (run(cpus, false, repeat), run(cpus, true, repeat));
        assert!(inline.contains("fault"), "one kind of packet is a fault");
        if inline != per_cpu {
            let at = inline.bytes().zip(per_cpu.bytes()).take_while(|(a, b)| a == b).count();
            let part = |text: &str| text[at.saturating_sub(200)..(at + 200).min(text.len())].to_owned();
            panic!("{cpus} CPUs differ:\n{}\n{}", part(&inline), part(&per_cpu));
        }
    }
}

#[test]
fn without_a_look_at_each() {
    let report = |at_once: bool| {
        let loaded = load(2);
        let program = loaded.program("flows_seen").expect("it is there");
        let mut runner = Runner::new(program).expect("memory");
        let mut source = Traffic { next: 0, random: 7 };
        let mut context = AnyPacket::for_program(program.program().linked()).expect("it takes packets");
        match at_once {
            true => runner.run_per_cpu(&mut source, || context.another(), None),
            false => runner.run_all(&mut source, &mut context),
        }
        .expect("packets and threads");
        outcome(&loaded, &runner.finish(), &[])
    };
    assert!(report(true) == report(false));
}

#[test]
fn the_order_of_sinks_errors_and_reuse() {
    let loaded = load(4);
    let program = loaded.program("flows_seen").expect("it is there");
    let mut runner = Runner::new(program).expect("memory");
    let context = AnyPacket::for_program(program.program().linked()).expect("it takes packets");
    let mut told = 0;
    let mut put = |_: &Frame, _: &Verdict, _: &[u8]| {
        told += 1;
        if told == 3000 { Err(mimic::Error::usage("no room")) } else { Ok(()) }
    };
    let mut source = Traffic { next: 0, random: 1 };
    let ran = runner.run_per_cpu(&mut source, || context.another(), Some(&mut put));
    assert!(ran.is_err_and(|error| error.to_string().contains("no room")));
    assert_eq!(told, 3000);
    // What is read after an error is run all the same.
    let before = runner.report().total.packets;
    runner
        .run_per_cpu(&mut Traffic { next: PACKETS - 10, random: 3 }, || context.another(), None)
        .expect("threads");
    assert_eq!(runner.report().total.packets, before + 10);
}

#[test]
fn a_panic_is_an_error() {
    let loaded = load(2);
    let program = loaded.program("flows_seen").expect("it is there");
    let mut runner = Runner::new(program).expect("memory");
    for process in runner.processes() {
        process.override_helper("ktime_get_ns", std::sync::Arc::new(|_, _| panic!("no time")));
    }
    let context = AnyPacket::for_program(program.program().linked()).expect("it takes packets");
    let ran = runner.run_per_cpu(&mut Traffic { next: 0, random: 3 }, || context.another(), None);
    assert!(ran.is_err_and(|error| error.to_string().contains("no time")));
    assert_eq!(runner.processes().len(), 2);
}
