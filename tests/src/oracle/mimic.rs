//! Runs programs of an object in mimic and records what came of it, as `kernel/record.rs` does in the kernel.

use mimic::{LoadExt, MapContents, MapHandle};
use mimic_abi::{ByteOrder, MapType};
use mimic_linux::progs::{TestRun, TestRunError, test_run};
use mimic_linux::{Linux, World};
use mimic_object::MapOrigin;
use mimic_vm::{Checks, Engine, Process, Vm};

use super::{Fixture, Input, MapRecord, ObjectRecord, ProgramRecord, RunRecord, Scenario};

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
            let value = match maps[*at].is_percpu() {
                true => {
                    let mut value = value.clone();
                    value.resize(value.len().next_multiple_of(8), 0);
                    value.repeat(cpus as usize)
                }
                false => value.clone(),
            };
            let _refused = maps[*at].map().update_copy(key, &value, 0);
        }
        record.runs = scenario.inputs.iter().map(|input| run(&mut process, input)).collect();
        let maps = loaded.maps().filter(|map| map.spec().origin != MapOrigin::Rodata);
        record.maps = maps.map(record_map).collect::<Result<_, String>>()?;
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

fn record_map(handle: MapHandle<'_>) -> Result<MapRecord, String> {
    let name = handle.name().to_owned();
    let fail = |error: &dyn std::fmt::Display| format!("map {name}: {error}");
    let kind = handle.spec().kind().map_err(|error| fail(&error))?;
    let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let mut entries = match kind {
        MapType::Ringbuf | MapType::Queue | MapType::Stack => match handle
            .contents()
            .map_err(|error| fail(&error))?
        {
            MapContents::Records(records) => records.into_iter().map(|record| (Vec::new(), record)).collect(),
            MapContents::Entries(_) | MapContents::Opaque(_) => return Err(fail(&"it lists no records")),
        },
        MapType::ArrayOfMaps | MapType::HashOfMaps | MapType::ProgArray => {
            filled(&handle).into_iter().map(|(key, _)| (key, Vec::new())).collect()
        }
        MapType::Array | MapType::PercpuArray => {
            filled(&handle).into_iter().filter(|(_, value)| !zero(value)).collect()
        }
        MapType::Hash
        | MapType::PercpuHash
        | MapType::LruHash
        | MapType::LruPercpuHash
        | MapType::LpmTrie
        | MapType::Devmap
        | MapType::DevmapHash
        | MapType::Cpumap => filled(&handle),
        _ => Vec::new(),
    };
    if !matches!(kind, MapType::Ringbuf | MapType::Queue | MapType::Stack) {
        entries.sort();
    }
    Ok(MapRecord { name, map_type: handle.spec().map_type, entries })
}

/// All keys that can be looked up, with their values.
fn filled(handle: &MapHandle<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let map = handle.map();
    let mut entries = Vec::new();
    let mut next = map.next_key(None);
    while let Ok(key) = next {
        next = map.next_key(Some(&key));
        if let Ok(value) = map.lookup_copy(&key, 0) {
            entries.push((key, value));
        }
    }
    entries
}
