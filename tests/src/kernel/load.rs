//! Loads what mimic's object reader made of an object into the kernel: its maps with their contents, its programs with
//! references filled in. That the kernel accepts them is the proof of the linker.

use std::os::fd::{AsRawFd, RawFd};

use mimic_abi::{AttachType, ByteOrder, Errno, RawInsn};
use mimic_object::{Contents, Init, MapOrigin, MapSpec, Program};

use super::{Btf, Kernel, LoadError, Map, MapAttr, MapKind, Prog, ProgAttr, RingReader, btf, possible_cpus};

/// An object in the kernel.
#[derive(Debug)]
pub struct LoadedObject {
    /// Its maps, in the object's order.
    pub maps: Vec<LoadedMap>,
    /// Its programs in the object's order, or why they were refused.
    pub progs: Vec<Result<Prog, LoadError>>,
    _btf: Option<Btf>,
}

/// A map of an object.
#[derive(Debug)]
pub struct LoadedMap {
    /// What the object says of it.
    pub spec: MapSpec,
    /// The map.
    pub map: Map,
    /// Who takes the records out, if it is a ring buffer.
    pub ring: Option<RingReader>,
}

/// What there is to load.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The maps, in the object's order.
    pub maps: &'a [MapSpec],
    /// The programs to load.
    pub programs: &'a [&'a Program],
    /// The object's types, if it has any.
    pub btf: Option<&'a mimic_abi::btf::Btf>,
}

const F_NUMA_NODE: u32 = 1 << 2;

impl Kernel {
    /// Creates and fills the maps, loads the programs, and puts them into their slots. Refused programs are told apart from
    /// an error of the object itself, which names what failed.
    pub fn load(&self, parts: &Parts<'_>) -> Result<LoadedObject, String> {
        let btf = parts.btf.and_then(|btf| btf::for_kernel(btf.bytes()));
        let btf = btf.map(|bytes| Btf::load(&bytes)).transpose().map_err(|error| format!("BTF: {error}"))?;
        let maps = parts.maps.iter().map(|spec| create(spec, btf.as_ref())).collect::<Result<Vec<_>, _>>()?;
        for loaded in &maps {
            fill(loaded, &maps).map_err(|errno| format!("filling map {}: {errno}", loaded.spec.name))?;
        }
        let progs: Vec<_> = parts.programs.iter().map(|program| load(program, &maps, btf.as_ref())).collect();
        for loaded in &maps {
            fill_programs(loaded, parts.programs, &progs)?;
        }
        Ok(LoadedObject { maps, progs, _btf: btf })
    }
}

fn create(spec: &MapSpec, btf: Option<&Btf>) -> Result<LoadedMap, String> {
    let template = spec.inner.as_ref().map(|inner| create(inner, btf)).transpose()?;
    let mut attr = MapAttr {
        map_type: spec.map_type,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        map_flags: spec.map_flags,
        inner_map_fd: template.as_ref().map_or(0, |template| template.map.as_raw_fd()),
        name: spec.name.clone(),
        map_extra: spec.map_extra,
        ..MapAttr::default()
    };
    if let Some(node) = spec.numa_node {
        (attr.numa_node, attr.map_flags) = (node, attr.map_flags | F_NUMA_NODE);
    }
    if MapKind(spec.map_type) == MapKind::PERF_EVENT_ARRAY && spec.max_entries == 0 {
        attr.max_entries = possible_cpus() as u32;
    }
    let failed = |errno: Errno| format!("creating map {}: {errno}", spec.name);
    // Types matter for what is special in values (locks, timers, kernel pointers); many map types want none.
    let wanted = spec.value_type != 0 && (spec.origin == MapOrigin::Btf || !spec.fields.is_empty());
    let typed = btf.filter(|_| wanted).and_then(|btf| {
        let attr = MapAttr {
            btf_fd: btf.as_raw_fd(),
            btf_key_type_id: spec.key_type,
            btf_value_type_id: spec.value_type,
            ..attr.clone()
        };
        Map::create(&attr).ok()
    });
    let map = match typed {
        Some(map) => map,
        None => Map::create(&attr).map_err(failed)?,
    };
    let ring = MapKind(spec.map_type) == MapKind::RINGBUF;
    let ring = if ring { Some(RingReader::new(&map).map_err(failed)?) } else { None };
    Ok(LoadedMap { spec: spec.clone(), map, ring })
}

fn fill(loaded: &LoadedMap, maps: &[LoadedMap]) -> Result<(), Errno> {
    match &loaded.spec.contents {
        Contents::Empty => Ok(()),
        // An arena's: it would have to be mapped.
        Contents::Data { bytes, .. } if bytes.len() != loaded.map.value_len() => Err(Errno::ENOTSUPP),
        Contents::Data { bytes, frozen } => {
            loaded.map.update(&[0; 4], bytes, 0)?;
            if *frozen { loaded.map.freeze() } else { Ok(()) }
        }
        Contents::Slots(slots) => {
            for slot in slots {
                if let Init::Map(inner) = slot.init {
                    let inner = maps.get(inner).ok_or(Errno::ENOENT)?;
                    loaded.map.update_fd(&slot.index.to_ne_bytes(), inner.map.as_raw_fd())?;
                }
            }
            Ok(())
        }
    }
}

/// A refused program leaves its slot empty.
fn fill_programs(
    loaded: &LoadedMap,
    programs: &[&Program],
    progs: &[Result<Prog, LoadError>],
) -> Result<(), String> {
    let Contents::Slots(slots) = &loaded.spec.contents else { return Ok(()) };
    for slot in slots {
        let Init::Program(name) = &slot.init else { continue };
        let at = programs.iter().position(|program| program.name == *name);
        if let Some(Ok(prog)) = at.map(|at| &progs[at]) {
            let stored = loaded.map.update_fd(&slot.index.to_ne_bytes(), prog.as_raw_fd());
            stored.map_err(|errno| format!("slot {} of {}: {errno}", slot.index, loaded.spec.name))?;
        }
    }
    Ok(())
}

fn load(program: &Program, maps: &[LoadedMap], btf: Option<&Btf>) -> Result<Prog, LoadError> {
    let not_here = |log: String| LoadError { errno: Errno::EINVAL, log };
    let fds: Vec<RawFd> = maps.iter().map(|loaded| loaded.map.as_raw_fd()).collect();
    let code = program.code_for_bpf(&fds).map_err(|map| not_here(format!("no map {map}")))?;
    let insns = RawInsn::write_all(&code, ByteOrder::NATIVE);
    let known = btf.is_some() && program.funcs.iter().all(|func| func.type_id != 0);
    let func_info: Vec<u8> = match known {
        true => {
            program.funcs.iter().flat_map(|func| [func.pc, func.type_id]).flat_map(u32::to_ne_bytes).collect()
        }
        false => Vec::new(),
    };
    let btf_fd: RawFd = if known { btf.map_or(0, AsRawFd::as_raw_fd) } else { 0 };
    let Some(prog_type) = program.prog_type else {
        return Err(not_here(format!("section {} names no program type", program.section)));
    };
    Prog::load_or_explain(&ProgAttr {
        prog_type: prog_type.id(),
        insns: &insns,
        license: &program.license,
        name: &program.name,
        prog_flags: program.prog_flags,
        attach_btf_id: program.attach_btf_id,
        expected_attach_type: program.attach_type.map_or(0, AttachType::id),
        btf_fd,
        func_info: &func_info,
        ..ProgAttr::default()
    })
}
