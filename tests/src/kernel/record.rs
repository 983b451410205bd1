//! Runs programs of an object in the kernel and records what came of it.

use std::os::fd::AsRawFd;

use mimic_abi::Errno;
use mimic_object::{Contents, FieldKind, Init, MapOrigin, MapSpec, Program};

use super::{Kernel, LoadedMap, LoadedObject, MapKind, Parts, Prog, TestRunAttr, possible_cpus};
use crate::oracle::{Input, MapRecord, ObjectRecord, Preset, ProgramRecord, RunRecord, Scenario};

impl Kernel {
    /// For each program: loads the object's maps, it and the programs that maps begin with, runs it on all inputs of its type,
    /// and reads the maps. The error is the object's own; refused programs are recorded.
    pub fn record(&self, parts: &Parts<'_>) -> Result<ObjectRecord, String> {
        self.in_empty_netns(|| {
            let programs = parts.programs.iter().map(|program| self.record_program(parts, program));
            let programs = programs.collect::<Result<_, String>>()?;
            Ok(ObjectRecord { cpus: possible_cpus() as u32, programs })
        })
    }

    /// As `record`, for one program of the object.
    pub fn record_program(&self, parts: &Parts<'_>, program: &Program) -> Result<ProgramRecord, String> {
        let prog_type = program.prog_type.map_or(0, |prog_type| prog_type.id());
        self.record_scenario(parts, program, &Scenario::standard(prog_type))
    }

    /// As `record_program`, in this scenario.
    pub fn record_scenario(
        &self,
        parts: &Parts<'_>,
        program: &Program,
        scenario: &Scenario,
    ) -> Result<ProgramRecord, String> {
        self.settle();
        let in_slot = |name: &str| parts.maps.iter().any(|map| has_program(map, name));
        let is_needed = |name: &str| name == program.name || in_slot(name) || scenario.has_program(name);
        let needed = parts.programs.iter().copied().filter(|other| is_needed(&other.name));
        let needed: Vec<&Program> = needed.collect();
        let at = needed.iter().position(|other| other.name == program.name).ok_or("no such program")?;
        let object = self.load(&Parts { programs: &needed, ..*parts })?;
        for (map, key, value) in &scenario.entries {
            let map = &object.maps[*map].map;
            let _refused = match value {
                Preset::Bytes(bytes) => {
                    let mut bytes = bytes.clone();
                    if map.kind().is_percpu() {
                        bytes.resize(bytes.len().next_multiple_of(8), 0);
                        bytes = bytes.repeat(possible_cpus());
                    }
                    map.update(key, &bytes, 0)
                }
                Preset::Program(name) => {
                    let at = needed.iter().position(|other| other.name == *name);
                    match at.and_then(|at| object.progs[at].as_ref().ok()) {
                        Some(prog) => map.update_fd(key, prog.as_raw_fd()),
                        None => Err(Errno::ENOENT),
                    }
                }
                Preset::Map(name) => match object.maps.iter().find(|inner| inner.spec.name == *name) {
                    Some(inner) => map.update_fd(key, inner.map.as_raw_fd()),
                    None => Err(Errno::ENOENT),
                },
            };
        }
        record_program(&object, program, at, &scenario.inputs)
    }
}

/// Whether the map begins with this program in a slot.
fn has_program(map: &MapSpec, name: &str) -> bool {
    let Contents::Slots(slots) = &map.contents else { return false };
    slots.iter().any(|slot| matches!(&slot.init, Init::Program(program) if program == name))
}

fn record_program(
    object: &LoadedObject,
    program: &Program,
    at: usize,
    inputs: &[Input],
) -> Result<ProgramRecord, String> {
    let prog_type = program.prog_type.map_or(0, |prog_type| prog_type.id());
    let mut record = ProgramRecord { name: program.name.clone(), prog_type, ..ProgramRecord::default() };
    let prog = match &object.progs[at] {
        Ok(prog) => prog,
        Err(error) => {
            record.load = error.errno.0;
            return Ok(record);
        }
    };
    record.runs = inputs.iter().map(|input| run(prog, input)).collect();
    // Constants stay what they are.
    let maps = object
        .maps
        .iter()
        .filter(|map| map.spec.origin != MapOrigin::Rodata)
        .map(|map| record_map(map).map_err(|errno| format!("map {}: {errno}", map.spec.name)));
    record.maps = maps.collect::<Result<_, _>>()?;
    Ok(record)
}

fn run(prog: &Prog, input: &Input) -> RunRecord {
    let answer = prog.test_run(&TestRunAttr {
        data_in: input.data_in.as_deref(),
        data_size_out: input.data_size_out,
        ctx_in: input.ctx_in.as_deref(),
        ctx_size_out: input.ctx_size_out,
        repeat: input.repeat,
        flags: input.flags,
        ..TestRunAttr::default()
    });
    let mut record = RunRecord { input: input.name.clone(), errno: answer.errno, ..RunRecord::default() };
    if answer.errno != 0 {
        return record;
    }
    record.retval = answer.retval;
    if input.data_size_out > 0 && Some(&answer.data_out) != input.data_in.as_ref() {
        record.data_out = Some(answer.data_out);
    }
    if input.ctx_size_out > 0 {
        record.ctx_out = Some(answer.ctx_out);
    } else if input.ctx_in.as_ref().is_some_and(|ctx_in| *ctx_in != answer.ctx_in_after) {
        record.ctx_out = Some(answer.ctx_in_after);
    }
    record
}

fn record_map(loaded: &LoadedMap) -> Result<MapRecord, Errno> {
    let kind = loaded.map.kind();
    let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let entries = match kind {
        MapKind::RINGBUF => match loaded.ring.as_ref() {
            Some(ring) => ring.peek().into_iter().map(|record| (Vec::new(), record)).collect(),
            None => Vec::new(),
        },
        MapKind::QUEUE | MapKind::STACK => {
            let pop = || loaded.map.lookup_and_delete(&[], 0).ok().map(|value| (Vec::new(), value));
            std::iter::from_fn(pop).collect()
        }
        // What is in a slot is told by an id, or not at all.
        MapKind::ARRAY_OF_MAPS | MapKind::HASH_OF_MAPS | MapKind::PROG_ARRAY => {
            loaded.map.entries()?.into_iter().map(|(key, _)| (key, Vec::new())).collect()
        }
        MapKind::ARRAY | MapKind::PERCPU_ARRAY => {
            let entries =
                loaded.map.entries()?.into_iter().map(|(key, value)| (key, masked(&loaded.spec, value)));
            entries.filter(|(_, value)| !zero(value)).collect()
        }
        MapKind::HASH
        | MapKind::PERCPU_HASH
        | MapKind::LRU_HASH
        | MapKind::LRU_PERCPU_HASH
        | MapKind::LPM_TRIE
        | MapKind::DEVMAP
        | MapKind::DEVMAP_HASH
        | MapKind::CPUMAP => {
            let entries = loaded.map.entries()?.into_iter();
            entries.map(|(key, value)| (key, masked(&loaded.spec, value))).collect()
        }
        // Neither listed nor iterated: what programs saw of them has to do.
        _ => Vec::new(),
    };
    let mut entries: Vec<(Vec<u8>, Vec<u8>)> = entries;
    let ordered = [MapKind::RINGBUF, MapKind::QUEUE, MapKind::STACK].contains(&kind);
    if !ordered {
        entries.sort();
    }
    Ok(MapRecord { name: loaded.spec.name.clone(), map_type: kind.0, entries })
}

/// The value without list heads: users get to see addresses of the kernel's own there, which differ each time.
fn masked(spec: &MapSpec, mut value: Vec<u8>) -> Vec<u8> {
    for field in spec.fields.iter().filter(|field| field.kind == FieldKind::ListHead) {
        if let Some(head) = value.get_mut(field.off as usize..(field.off + field.len) as usize) {
            head.fill(0);
        }
    }
    value
}
