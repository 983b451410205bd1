//! Random programs that call helpers: each does a dozen things to its packet, and writes down what each answered.
//!
//! The same seed gives the same program. Where [`crate::random`] is about instructions, this is about what helpers and context fields
//! do to packets, one after another, with good and bad arguments. Nothing here runs anything in the kernel.

mod mimic;
mod skb;
mod step;
mod xdp;

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, MapType, ProgType};
use mimic_object::{MapSpec, Program};

use crate::oracle::{Input, ProgramRecord, Scenario, inputs, packets};
use crate::random::{Rng, with_refs};
use step::Steps;

/// A program, and what it does.
#[derive(Clone, Debug)]
pub struct CallProgram {
    /// What it was made from.
    pub seed: u64,
    /// The program.
    pub program: Program,
    /// Its maps: the notes, and a perf event array without events.
    pub maps: Vec<MapSpec>,
    /// What each part of the notes is: where it begins, in bytes, and the statements that led to it.
    pub notes: Vec<(usize, String)>,
    /// What it runs on.
    pub inputs: Vec<Input>,
}

/// Bytes of notes for one run.
const NOTES_LEN: usize = 4096;
/// Runs that have notes of their own.
const RUNS_MAX: u32 = 24;

/// Program types, the commoner ones more often.
const TYPES: &[ProgType] = &[
    ProgType::SchedCls,
    ProgType::SchedCls,
    ProgType::SchedCls,
    ProgType::Xdp,
    ProgType::Xdp,
    ProgType::SchedAct,
    ProgType::LwtXmit,
    ProgType::LwtIn,
    ProgType::CgroupSkb,
    ProgType::SocketFilter,
];

/// `BPF_F_XDP_HAS_FRAGS`.
const XDP_HAS_FRAGS: u32 = 1 << 5;

impl CallProgram {
    /// The program of `seed`, of a type that `types` lists or of any.
    pub fn new(seed: u64, types: &[ProgType]) -> CallProgram {
        let mut rng = Rng::new(seed);
        let prog_type = rng.pick(if types.is_empty() { TYPES } else { types });
        let frags = prog_type == ProgType::Xdp && rng.chance(40);
        let mut steps = Steps::new(rng, prog_type);
        for _ in 0..steps.rng.range(3, 14) {
            match prog_type {
                ProgType::Xdp => xdp::step(&mut steps),
                _ => skb::step(&mut steps),
            }
        }
        let (text, notes) = steps.finish();
        let assembly = assemble(&text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        let (code, refs) = with_refs(&assembly.slots);
        let bare = Program::from_code("calls", code, ByteOrder::NATIVE);
        let program = Program {
            section: "calls".into(),
            prog_type: Some(prog_type),
            license: "GPL".into(),
            prog_flags: if frags { XDP_HAS_FRAGS } else { 0 },
            refs,
            ..bare
        };
        let map = |name: &str, map_type: MapType, value_size: u32, max_entries: u32| MapSpec {
            name: name.into(),
            map_type: map_type.id(),
            key_size: 4,
            value_size,
            max_entries,
            ..MapSpec::default()
        };
        let maps = vec![
            map("notes", MapType::Array, NOTES_LEN as u32, RUNS_MAX),
            map("events", MapType::PerfEventArray, 4, 2),
        ];
        CallProgram { seed, program, maps, notes, inputs: inputs_for(prog_type, frags) }
    }

    /// What it runs on, with empty maps.
    pub fn scenario(&self) -> Scenario {
        Scenario { entries: Vec::new(), inputs: self.inputs.clone() }
    }

    /// What differs between two records of this program, a line each. Notes are told apart by what led to them.
    pub fn differences(&self, kernel: &ProgramRecord, mimic: &ProgramRecord) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(problem) = &mimic.problem {
            found.push(problem.clone());
        }
        for (at, (theirs, ours)) in kernel.runs.iter().zip(&mimic.runs).enumerate() {
            let notes = self.first_note(at, kernel, mimic);
            if theirs != ours || notes.is_some() {
                let notes = notes.unwrap_or_default();
                let mut line = format!("{}: {notes}", theirs.input);
                if theirs != ours {
                    line.push_str(&format!("\n    kernel {}\n    mimic  {}", brief(theirs), brief(ours)));
                }
                found.push(line);
            }
        }
        found
    }

    /// The first note that differs in a run, which is number `at` from 0.
    fn first_note(&self, at: usize, kernel: &ProgramRecord, mimic: &ProgramRecord) -> Option<String> {
        let notes_of = |record: &ProgramRecord| {
            let map = record.maps.iter().find(|map| map.name == "notes");
            let key = (at as u32 + 1).to_ne_bytes().to_vec();
            let entry = map.and_then(|map| map.entries.iter().find(|(found, _)| *found == key));
            entry.map_or(vec![0; NOTES_LEN], |(_, value)| value.clone())
        };
        let (theirs, ours) = (notes_of(kernel), notes_of(mimic));
        let word = |notes: &[u8], off: usize| {
            let bytes = notes.get(off..off + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_ne_bytes(bytes.unwrap_or_default())
        };
        let off = (0..NOTES_LEN).step_by(8).find(|off| word(&theirs, *off) != word(&ours, *off))?;
        let (start, what) = self.notes.iter().rev().find(|(start, _)| *start <= off)?;
        let (theirs, ours) = (word(&theirs, off), word(&ours, off));
        Some(format!(
            "[+{}] {what}\n    kernel {theirs:#x} ({})\n    mimic  {ours:#x} ({})",
            off - start,
            theirs as i64,
            ours as i64
        ))
    }
}

fn brief(run: &crate::oracle::RunRecord) -> String {
    let hex = |bytes: &Option<Vec<u8>>| {
        bytes.as_ref().map_or("-".into(), |bytes| {
            let digits: String = bytes.iter().take(100).map(|byte| format!("{byte:02x}")).collect();
            format!("{} {digits}", bytes.len())
        })
    };
    let problem = run.problem.as_deref().unwrap_or_default();
    format!(
        "errno {} r0 {} data {} ctx {} {problem}",
        run.errno,
        run.retval,
        hex(&run.data_out),
        hex(&run.ctx_out)
    )
}

/// The standard inputs, some of them with the packet's sum kept, and long packets for XDP.
fn inputs_for(prog_type: ProgType, frags: bool) -> Vec<Input> {
    const CHECKSUM_COMPLETE: u32 = 1 << 2;
    let mut all = inputs(prog_type.id());
    let long = |name: &str, len: usize| {
        let mut data = packets().into_iter().find(|packet| packet.name == "udp").map(|packet| packet.bytes);
        if let Some(data) = &mut data {
            let more = (data.len()..len).map(|at| at as u8);
            data.extend(more);
        }
        Input { name: name.into(), data_in: data, data_size_out: len as u32 + 4096, ..Input::default() }
    };
    match prog_type {
        ProgType::Xdp if frags => {
            all.extend([long("long3520", 3520), long("long5000", 5000), long("long9000", 9000)])
        }
        ProgType::Xdp => all.push(long("long3400", 3400)),
        _ => {
            let complete = |input: &Input| Input {
                name: format!("{}_complete", input.name),
                flags: CHECKSUM_COMPLETE,
                ..input.clone()
            };
            let more: Vec<Input> = all
                .iter()
                .filter(|input| ["udp", "pkt_v6", "vlan"].contains(&&*input.name))
                .map(complete)
                .collect();
            all.extend(more);
            all.push(long("long3000", 3000));
        }
    }
    // A run that is repeated uses the notes of several.
    all.retain(|input| input.repeat <= 1);
    all
}
