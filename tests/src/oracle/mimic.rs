//! Runs programs of an object in mimic and records what came of it, as `kernel/record.rs` does in the kernel.

use mimic::{LoadExt, MapAnswer, MapHandle};
use mimic_abi::{ByteOrder, MapType};
use mimic_linux::progs::{TestRun, TestRunError, test_run};
use mimic_linux::{Linux, World};
use mimic_object::MapOrigin;
use mimic_vm::{Checks, Engine, Process, Vm};

use super::{Fixture, Input, MapRecord, ObjectRecord, Preset, ProgramRecord, RunRecord, Scenario};

impl Fixture {
    /// For each program: loads the object anew into a VM of `cpus` virtual CPUs, runs the program on all inputs of its type, and
    /// reads the maps. What mimic can't do is recorded as a problem.
    pub fn record(&self, cpus: u32, engine: (Engine, Checks)) -> ObjectRecord {
        let programs = self.programs.iter().map(|program| self.record_program(program, cpus, engine));
        ObjectRecord { cpus, programs: programs.collect() }
    }

    /// As `record`, for one program of the object.
    pub fn record_program(
        &self,
        program: &mimic_object::Program,
        cpus: u32,
        engine: (Engine, Checks),
    ) -> ProgramRecord {
        let prog_type = program.prog_type.map_or(0, |prog_type| prog_type.id());
        self.record_scenario(program, cpus, engine, &Scenario::standard(prog_type))
    }

    /// As `record_program`, in this scenario.
    pub fn record_scenario(
        &self,
        program: &mimic_object::Program,
        cpus: u32,
        engine: (Engine, Checks),
        scenario: &Scenario,
    ) -> ProgramRecord {
        let prog_type = program.prog_type.map_or(0, |prog_type| prog_type.id());
        let mut record = ProgramRecord { name: program.name.clone(), prog_type, ..ProgramRecord::default() };
        if let Err(problem) = self.run(cpus, engine, scenario, &mut record) {
            record.problem = Some(problem);
        }
        record
    }

    fn run(
        &self,
        cpus: u32,
        (engine, checks): (Engine, Checks),
        scenario: &Scenario,
        record: &mut ProgramRecord,
    ) -> Result<(), String> {
        let vm = Vm::builder(Linux::new(World::of_test_run(0))).byte_order(ByteOrder::Little).cpus(cpus);
        let vm = vm.engine(engine).checks(checks).build().map_err(|error| error.to_string())?;
        let loaded = vm.load_for(&self.object, &self.target).map_err(|error| error.to_string())?;
        let program = loaded.program(&record.name).map_err(|error| error.to_string())?;
        let mut process = program.process_on(0).map_err(|error| error.to_string())?;
        let maps: Vec<MapHandle<'_>> = loaded.maps().collect();
        for (at, key, value) in &scenario.entries {
            let _refused = match value {
                Preset::Bytes(bytes) => maps[*at].set_bytes(key, bytes.clone()),
                Preset::Program(name) | Preset::Map(name) => maps[*at].preset(key, &name.as_str().into()),
            };
        }
        record.runs = scenario.inputs.iter().map(|input| run(&mut process, input)).collect();
        let maps = loaded.maps().filter(|map| map.spec().origin != MapOrigin::Rodata);
        let maps = maps.map(|map| map.answer().map(|map| record_map(&map)));
        record.maps = maps.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// Runs a process on an input.
pub(crate) fn run(process: &mut Process, input: &Input) -> RunRecord {
    let mut record = RunRecord { input: input.name.clone(), ..RunRecord::default() };
    let asked = TestRun {
        data_in: input.data_in.as_deref().unwrap_or_default(),
        data_out: input.data_size_out > 0,
        data_size_out: input.data_size_out,
        ctx_in: input.ctx_in.as_deref().unwrap_or_default(),
        ctx_size_out: input.ctx_size_out,
        repeat: input.repeat,
        flags: input.flags,
        ..TestRun::default()
    };
    let answer = match test_run(process, &asked) {
        Ok(answer) => answer,
        Err(TestRunError::Errno(errno, _)) => {
            record.errno = errno.0;
            return record;
        }
        Err(error) => {
            record.problem = Some(error.to_string());
            return record;
        }
    };
    record.errno = answer.errno.map_or(0, |errno| errno.0);
    if record.errno != 0 {
        return record;
    }
    record.retval = answer.retval;
    if input.data_size_out > 0 && Some(&answer.data_out) != input.data_in.as_ref() {
        record.data_out = Some(answer.data_out);
    }
    if input.ctx_size_out > 0 {
        record.ctx_out = Some(answer.ctx_out);
    } else if input
        .ctx_in
        .as_ref()
        .is_some_and(|ctx_in| !answer.ctx_in_after.is_empty() && *ctx_in != answer.ctx_in_after)
    {
        record.ctx_out = Some(answer.ctx_in_after);
    }
    record
}

/// What a map held, as records have it.
pub(super) fn record_map(map: &MapAnswer) -> MapRecord {
    let kind = MapType::try_from(map.map_type);
    let zero = |(_, value): &(Vec<u8>, Vec<u8>)| value.iter().all(|byte| *byte == 0);
    let records = map.records.iter().map(|record| (Vec::new(), record.clone()));
    let listed = map.entries.iter().map(|entry| (entry.key.clone(), joined(kind.ok(), &entry.values)));
    let mut entries: Vec<(Vec<u8>, Vec<u8>)> = match kind {
        Ok(MapType::Ringbuf) => records.collect(),
        Ok(MapType::ArrayOfMaps | MapType::HashOfMaps | MapType::ProgArray) => {
            listed.map(|(key, _)| (key, Vec::new())).collect()
        }
        Ok(MapType::Array | MapType::PercpuArray) => listed.filter(|entry| !zero(entry)).collect(),
        Ok(
            MapType::Queue
            | MapType::Stack
            | MapType::Hash
            | MapType::PercpuHash
            | MapType::LruHash
            | MapType::LruPercpuHash
            | MapType::LpmTrie
            | MapType::Devmap
            | MapType::DevmapHash
            | MapType::Cpumap,
        ) => listed.collect(),
        Ok(_) | Err(_) => Vec::new(),
    };
    if !matches!(kind, Ok(MapType::Ringbuf | MapType::Queue | MapType::Stack)) {
        entries.sort();
    }
    MapRecord { name: map.name.clone(), map_type: map.map_type, entries }
}

/// Values of all CPUs as bpf(2) moves them: one after the other, each rounded up to 8 bytes.
fn joined(kind: Option<MapType>, values: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        bytes.extend_from_slice(value);
        if kind.is_some_and(MapType::is_percpu) {
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
    }
    bytes
}
