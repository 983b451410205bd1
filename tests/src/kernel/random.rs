//! Runs random programs in the kernel.

use std::os::fd::AsRawFd;

use mimic_abi::{ByteOrder, Errno, RawInsn};

use super::{Btf, Entry, Kernel, LoadError, Map, MapAttr, Prog, ProgAttr, TestRunAttr, btf, possible_cpus};
use crate::random::{RandomMap, RandomOutcome, RandomProgram};

/// What came of a random program in the kernel.
#[derive(Clone, Debug)]
pub enum KernelRun {
    /// The verifier refused it.
    Refused(LoadError),
    /// It ran.
    Ran(RandomOutcome),
}

impl Kernel {
    /// Loads a random program with its maps and runs it once. `explain` asks for the verifier's log on refusal.
    ///
    /// # Panics
    /// When the kernel refuses a map or the run, which no random program gives cause for.
    pub fn run_random(&self, program: &RandomProgram, explain: bool) -> KernelRun {
        let maps: Vec<Map> = program.maps.iter().map(create).collect();
        let fds: Vec<_> = maps.iter().map(AsRawFd::as_raw_fd).collect();
        let insns = RawInsn::write_all(&program.insns, ByteOrder::NATIVE);
        // Functions that helpers call must be described in BTF; others need not.
        let functions = if program.has_callbacks() { program.functions() } else { Vec::new() };
        let btf = (!functions.is_empty()).then(|| Btf::load(&btf::of_functions(functions.len() as u32)));
        let btf = btf.transpose().unwrap_or_else(|error| panic!("BTF of seed {}: {error}", program.seed));
        let func_info: Vec<u8> = functions
            .iter()
            .zip(btf::FIRST_FUNCTION..)
            .flat_map(|(pc, id)| [*pc, id])
            .flat_map(u32::to_ne_bytes)
            .collect();
        let attr = ProgAttr {
            btf_fd: btf.as_ref().map_or(0, AsRawFd::as_raw_fd),
            func_info: &func_info,
            prog_type: program.kind.prog_type(),
            insns: &insns,
            license: "GPL",
            name: "random",
            fd_array: &fds,
            ..ProgAttr::default()
        };
        let loaded = if explain { Prog::load_or_explain(&attr) } else { Prog::load(&attr) };
        let prog = match loaded {
            Ok(prog) => prog,
            Err(error) => return KernelRun::Refused(error),
        };
        let answer = prog.test_run(&TestRunAttr {
            data_in: Some(&program.packet),
            data_size_out: program.packet.len() as u32 + 64,
            ..TestRunAttr::default()
        });
        assert_eq!(answer.errno, 0, "test run of seed {}", program.seed);
        let contents = maps.iter().zip(&program.maps).map(|(map, spec)| contents(map, spec));
        KernelRun::Ran(RandomOutcome {
            retval: answer.retval,
            packet: answer.data_out,
            maps: contents.collect(),
        })
    }
}

fn create(spec: &RandomMap) -> Map {
    let map = Map::create(&MapAttr {
        map_type: spec.kind.map_type(),
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        map_flags: spec.flags,
        ..MapAttr::default()
    })
    .unwrap_or_else(|errno| panic!("creating {spec:?}: {errno}"));
    for (key, value) in &spec.entries {
        let mut stored = value.clone();
        if map.kind().is_percpu() {
            stored.resize(value.len().next_multiple_of(8), 0);
            stored = stored.repeat(possible_cpus());
        }
        map.update(key, &stored, 0).unwrap_or_else(|errno| panic!("filling {spec:?}: {errno}"));
    }
    map
}

fn contents(map: &Map, spec: &RandomMap) -> Vec<Entry> {
    if spec.kind.is_queue() {
        let pop = || map.lookup_and_delete(&[], 0).ok().map(|value| (Vec::new(), value));
        return std::iter::from_fn(pop).collect();
    }
    let mut entries = match map.entries() {
        Ok(entries) => entries,
        Err(errno @ Errno(_)) => panic!("reading {spec:?}: {errno}"),
    };
    for (_, value) in &mut entries {
        value.truncate(spec.value_size as usize);
    }
    entries.sort();
    entries
}
