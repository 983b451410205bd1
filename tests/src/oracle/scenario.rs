//! Random scenarios: maps with entries in them, packets and contexts that vary, repeated runs.
//!
//! The same seed, program type and maps give the same scenario. Keys are such as programs look up: small numbers, addresses and ports of
//! the standard packets.

use mimic_abi::{MapType, ProgType};
use mimic_object::{MapOrigin, MapSpec, Program};

use super::{Input, inputs, packets};
use crate::random::Rng;

/// A value that is put into a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preset {
    /// These bytes; on all CPUs if the map has a value for each.
    Bytes(Vec<u8>),
    /// The program of this name.
    Program(String),
    /// The map of this name.
    Map(String),
}

/// What a program finds, and what it runs on.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// Entries that are put in first: which map, key, value. Who refuses one goes on without it.
    pub entries: Vec<(usize, Vec<u8>, Preset)>,
    /// The runs.
    pub inputs: Vec<Input>,
}

/// Runs of one scenario.
const RUNS: usize = 4;
/// Entries that a map is given at most.
const ENTRIES_MAX: usize = 12;
/// Longer values are left out.
const VALUE_LEN_MAX: u32 = 4096;

impl Scenario {
    /// The standard inputs, and empty maps.
    pub fn standard(prog_type: u32) -> Scenario {
        Scenario { entries: Vec::new(), inputs: inputs(prog_type) }
    }

    /// As many scenarios as there are inputs, with one each.
    pub fn split(&self) -> impl Iterator<Item = Scenario> {
        self.inputs
            .iter()
            .map(|input| Scenario { entries: self.entries.clone(), inputs: vec![input.clone()] })
    }

    /// Whether a program is put into a map.
    pub fn has_program(&self, name: &str) -> bool {
        self.entries.iter().any(|(_, _, value)| matches!(value, Preset::Program(program) if program == name))
    }

    /// A random one. Program arrays get programs of this type, of these.
    pub fn random(seed: u64, prog_type: u32, maps: &[MapSpec], programs: &[&Program]) -> Scenario {
        let mut rng = Rng::new(seed);
        let mut entries = Vec::new();
        for (at, map) in maps.iter().enumerate() {
            for slot in slots(&mut rng, map, maps, prog_type, programs) {
                entries.push((at, slot.0, slot.1));
            }
            if !takes_bytes(map) || rng.chance(15) {
                continue;
            }
            for number in 0..rng.range(1, ENTRIES_MAX.min(map.max_entries.max(1) as usize)) {
                let key = key(&mut rng, map, number as u32);
                entries.push((at, key, Preset::Bytes(value(&mut rng, map.value_size as usize))));
            }
        }
        let standard = inputs(prog_type);
        let inputs = (0..RUNS).map(|run| input(&mut rng, run, prog_type, &standard)).collect();
        Scenario { entries, inputs }
    }
}

/// Whether entries are plain bytes.
fn takes_bytes(map: &MapSpec) -> bool {
    use MapType::*;
    let plain = matches!(
        MapType::try_from(map.map_type),
        Ok(Hash | Array | PercpuHash | PercpuArray | LruHash | LruPercpuHash | LpmTrie)
    );
    let declared = matches!(map.origin, MapOrigin::Btf | MapOrigin::Legacy);
    plain && declared && map.fields.is_empty() && map.value_size <= VALUE_LEN_MAX && map.max_entries > 0
}

/// What is put into the first slots of a program array or of an array of maps, whatever is there: keys and values.
fn slots(
    rng: &mut Rng,
    map: &MapSpec,
    maps: &[MapSpec],
    prog_type: u32,
    programs: &[&Program],
) -> Vec<(Vec<u8>, Preset)> {
    const SLOTS_MAX: u32 = 4;
    let values: Vec<Preset> = match MapType::try_from(map.map_type) {
        Ok(MapType::ProgArray) => {
            let fits = |program: &&&Program| program.prog_type.map_or(0, ProgType::id) == prog_type;
            programs.iter().filter(fits).map(|program| Preset::Program(program.name.clone())).collect()
        }
        Ok(MapType::ArrayOfMaps | MapType::HashOfMaps) => {
            let shape =
                |map: &MapSpec| (map.map_type, map.key_size, map.value_size, map.max_entries, map.map_flags);
            let fits =
                |other: &&MapSpec| map.inner.as_ref().is_some_and(|inner| shape(inner) == shape(other));
            maps.iter().filter(fits).map(|inner| Preset::Map(inner.name.clone())).collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    };
    if values.is_empty() || map.key_size != 4 {
        return Vec::new();
    }
    let mut slots = Vec::new();
    for index in 0..SLOTS_MAX.min(map.max_entries) {
        if rng.chance(50) {
            slots.push((index.to_ne_bytes().to_vec(), values[rng.below(values.len())].clone()));
        }
    }
    slots
}

fn key(rng: &mut Rng, map: &MapSpec, number: u32) -> Vec<u8> {
    let len = map.key_size as usize;
    let array = matches!(MapType::try_from(map.map_type), Ok(MapType::Array | MapType::PercpuArray));
    if array {
        return (number % map.max_entries).to_ne_bytes().to_vec();
    }
    let mut key = vec![0; len];
    let fill = |key: &mut [u8], from: &[u8]| {
        let len = key.len().min(from.len());
        key[..len].copy_from_slice(&from[..len]);
    };
    match rng.below(6) {
        0 => {}
        1 | 2 => fill(&mut key, &number.to_ne_bytes()),
        3 => {
            let packet = rng.pick(&["udp", "tcp_syn", "icmp_echo"]);
            let bytes = packets().into_iter().find(|found| found.name == packet).map(|found| found.bytes);
            let off = rng.pick(&[26, 30, 34, 36, 23, 0, 6]);
            fill(&mut key, bytes.as_deref().and_then(|bytes| bytes.get(off..)).unwrap_or_default());
        }
        _ => key = rng.bytes(len),
    }
    if MapType::try_from(map.map_type) == Ok(MapType::LpmTrie) {
        let bits = rng.below(8 * len.saturating_sub(4) + 1) as u32;
        fill(&mut key, &bits.to_ne_bytes());
    }
    key
}

fn value(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut value = vec![0; len];
    match rng.below(4) {
        0 => value = rng.bytes(len),
        1 => {
            let number = rng.below(8) as u32;
            value.chunks_exact_mut(4).for_each(|word| word.copy_from_slice(&number.to_ne_bytes()));
        }
        2 => value.iter_mut().step_by(4).for_each(|byte| *byte = rng.below(4) as u8),
        _ => value.iter_mut().for_each(|byte| *byte = rng.pick(&[0, 0, 1, 2, 10, 192, 255])),
    }
    value
}

fn input(rng: &mut Rng, run: usize, prog_type: u32, standard: &[Input]) -> Input {
    use ProgType::*;
    let mut input = standard.get(rng.below(standard.len().max(1))).cloned().unwrap_or_default();
    let Ok(prog_type) = ProgType::try_from(prog_type) else { return input };
    input.name = format!("{run}_{}", input.name);
    match prog_type {
        Xdp if input.ctx_in.is_none() => {
            mutate(rng, &mut input);
            if rng.chance(30) {
                let mut ctx = vec![0; 24];
                let end = input.data_in.as_ref().map_or(0, Vec::len) as u32;
                ctx[4..8].copy_from_slice(&end.to_ne_bytes());
                ctx[12] = rng.pick(&[0, 1, 1, 2]);
                ctx[16] = rng.pick(&[0, 0, 1]);
                (input.ctx_in, input.ctx_size_out) = (Some(ctx), 24);
            }
            input.repeat = rng.pick(&[0, 1, 1, 2, 5]);
        }
        SocketFilter | SchedCls | SchedAct | CgroupSkb | LwtIn | LwtOut | LwtXmit => {
            mutate(rng, &mut input);
            if rng.chance(40) {
                (input.ctx_in, input.ctx_size_out) = (Some(skb_context(rng)), 192);
            }
            input.repeat = rng.pick(&[0, 1, 1, 2, 5]);
        }
        FlowDissector => mutate(rng, &mut input),
        RawTracepoint | RawTracepointWritable => {
            let mut ctx = Vec::new();
            for _ in 0..12 {
                ctx.extend(rng.value().to_ne_bytes());
            }
            input.ctx_in = Some(ctx);
        }
        Syscall => input.ctx_in = input.ctx_in.map(|ctx| rng.bytes(ctx.len())),
        _ => {}
    }
    input
}

/// Changes some bytes, and the length.
fn mutate(rng: &mut Rng, input: &mut Input) {
    let Some(data) = input.data_in.as_mut().filter(|_| rng.chance(60)) else { return };
    for _ in 0..rng.range(1, 4) {
        let at = rng.below(data.len());
        data[at] = rng.pick(&[0, 1, 4, 6, 17, 58, 0x45, 0x46, 0x60, 0xff, 0x80]);
    }
    if rng.chance(20) {
        let len = rng.range(14, data.len());
        data.truncate(len);
    } else if rng.chance(20) {
        data.extend(rng.bytes(200));
    }
    input.data_size_out += 256;
}

/// Fields that test-run takes, and seldom one that it refuses.
fn skb_context(rng: &mut Rng) -> Vec<u8> {
    const FIELDS: &[usize] = &[8, 32, 48, 52, 56, 60, 64, 152];
    const SELDOM: &[(usize, u32)] =
        &[(36, 1), (40, 1), (40, 2), (160, 200), (164, 3), (176, 10), (184, 9), (44, 1), (72, 1), (0, 9)];
    let mut ctx = vec![0; 192];
    for off in FIELDS {
        if rng.chance(50) {
            let value = rng.value() as u32;
            ctx[*off..off + 4].copy_from_slice(&value.to_ne_bytes());
        }
    }
    if rng.chance(30) {
        let (off, value) = rng.pick(SELDOM);
        ctx[off..off + 4].copy_from_slice(&value.to_ne_bytes());
    }
    ctx
}
