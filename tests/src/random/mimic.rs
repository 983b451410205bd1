//! Runs random programs in mimic.

use std::sync::Arc;

use mimic_abi::{ByteOrder, Imm64, Insn, ProgType, RawInsn};
use mimic_linux::progs::{SkbContext, XdpContext};
use mimic_linux::{Linux, World};
use mimic_object::{MapSpec, Program, Ref, RefTarget};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{
    Checks, Engine, FaultKind, Hygiene, Limits, LoadedProgram, MapRef, Outcome, Region, RunError, Vm,
};

use crate::engines::{ENGINES, engines};

use super::{RandomEntry, RandomKind, RandomMap, RandomOutcome, RandomProgram};

/// Instructions that one run may take; the kernel's verifier walks fewer.
const INSNS_MAX: u64 = 10_000_000;

impl RandomProgram {
    /// Runs the program on virtual CPU 0, on every engine. The error says what mimic could not do, or that the engines differ.
    pub fn run(&self) -> Result<RandomOutcome, String> {
        let engines = engines(ByteOrder::NATIVE);
        let first = self.run_from(0, engines[0])?;
        for &engine in &engines[1..] {
            let other = self.run_from(0, engine);
            if other.as_ref() != Ok(&first) {
                return Err(format!("the interpreter: {first:x?}\n{engine:?}: {other:x?}"));
            }
        }
        Ok(first.0)
    }

    /// Runs the program on every engine, whether it ends well or not: the verifier need not have seen it. Compiled code that only keeps
    /// accesses in guest memory may miss a fault; what ends well it ends in the same way. The error says what differs.
    pub fn engines_agree(&self) -> Result<(), String> {
        let engines = engines(ByteOrder::NATIVE);
        let first = self.run_from(0, engines[0]);
        for &(engine, checks) in &engines[1..] {
            let other = self.run_from(0, (engine, checks));
            if (first.is_ok() || checks == Checks::Precise) && other != first {
                return Err(format!("the interpreter: {first:x?}\n{engine:?}, {checks:?}: {other:x?}"));
            }
        }
        Ok(())
    }

    /// Whether its outcome means anything: it reads no stack that it never wrote, and no address flows into it, both of which the
    /// verifier lets the privileged do. Generated programs are so, but taking instructions out of them can lead elsewhere.
    pub fn is_defined(&self) -> bool {
        !self.reads_unwritten() && self.run_from(1 << 20, ENGINES[0]) == self.run_from(0, ENGINES[0])
    }

    fn reads_unwritten(&self) -> bool {
        let Ok(loaded) = Loaded::new(self, Hygiene::Poison, 0, ENGINES[0]) else { return false };
        let Ok(Err(RunError::Fault(fault))) = loaded.run(self) else { return false };
        match fault.kind {
            FaultKind::Access(error) | FaultKind::HelperAccess { error, .. } => {
                error.place.is_some_and(|place| place.unwritten.is_some())
            }
            _ => false,
        }
    }

    /// As `run`, on one engine, with all addresses higher by `shift`. The number is of instructions.
    fn run_from(&self, shift: u32, engine: (Engine, Checks)) -> Result<(RandomOutcome, u64), String> {
        let loaded = Loaded::new(self, Hygiene::Off, shift, engine)?;
        let (outcome, packet) = loaded.run(self)?.map_err(|error| error.to_string())?;
        let contents = loaded.maps.iter().zip(&self.maps).map(|(map, random)| random.contents(map));
        let maps = contents.collect::<Result<_, _>>()?;
        Ok((RandomOutcome { retval: outcome.r0 as u32, packet, maps }, outcome.insns))
    }

    /// As an object's reader would have linked it.
    fn linked(&self) -> Program {
        let (code, refs) = with_refs(&self.insns);
        let bare = Program::from_code("random", code, ByteOrder::NATIVE);
        let prog_type = ProgType::try_from(self.kind.prog_type()).ok();
        Program { section: "random".into(), prog_type, license: "GPL".into(), refs, ..bare }
    }
}

/// Instructions as an object's reader links them: what they refer to by index is listed beside them.
pub(crate) fn with_refs(insns: &[RawInsn]) -> (Vec<RawInsn>, Vec<Ref>) {
    let mut code = insns.to_vec();
    let mut refs = Vec::new();
    let mut pc = 0;
    while let Ok(insn) = Insn::decode(&insns[pc..]) {
        let target = match insn {
            Insn::LdImm64 { value: Imm64::MapIdx(idx), .. } => Some(RefTarget::Map(idx as usize)),
            Insn::LdImm64 { value: Imm64::MapIdxValue { idx, off }, .. } => {
                Some(RefTarget::MapValue { map: idx as usize, off })
            }
            Insn::LdImm64 { value: Imm64::Func(off), .. } => {
                Some(RefTarget::Func((pc as u32 + 1).wrapping_add_signed(off)))
            }
            _ => None,
        };
        if let Some(target) = target {
            refs.push(Ref { pc: pc as u32, target });
            (code[pc].imm, code[pc + 1].imm) = (0, 0);
        }
        pc += insn.slots();
    }
    (code, refs)
}

/// A program in a VM of its own.
struct Loaded {
    vm: Arc<Vm>,
    _shift: Option<Region>,
    maps: Vec<Arc<MapRef>>,
    program: Arc<LoadedProgram>,
}

impl Loaded {
    fn new(
        random: &RandomProgram,
        hygiene: Hygiene,
        shift: u32,
        (engine, checks): (Engine, Checks),
    ) -> Result<Loaded, String> {
        let limits = Limits { insns_max: INSNS_MAX, ..Limits::default() };
        let emulator = Linux::new(World::default());
        let vm = Vm::builder(emulator)
            .byte_order(ByteOrder::NATIVE)
            .cpus(2)
            .limits(limits)
            .hygiene(hygiene)
            .engine(engine)
            .checks(checks)
            .build();
        let vm = vm.map_err(|error| error.to_string())?;
        let shift = (shift > 0).then(|| vm.memory().allocate("shift", shift, Layout::Bytes(Access::Read)));
        let shift = shift.transpose().map_err(|error| error.to_string())?;
        let specs: Vec<MapSpec> = random.maps.iter().map(RandomMap::spec).collect();
        let maps = vm.load_maps(&specs).map_err(|error| error.to_string())?;
        for (map, random) in maps.iter().zip(&random.maps) {
            random.fill(map, vm.cpus())?;
        }
        let program = vm.add(random.linked(), &maps).map_err(|error| error.to_string())?;
        Ok(Loaded { vm, _shift: shift, maps, program })
    }

    /// Runs the program; the packet afterwards.
    fn run(&self, random: &RandomProgram) -> Result<Result<(Outcome, Vec<u8>), RunError>, String> {
        let mut process = self.vm.process(&self.program, 0).map_err(|error| error.to_string())?;
        Ok(match random.kind {
            RandomKind::Xdp => {
                let mut context = XdpContext::packet(&*random.packet);
                process.run(&mut context).map(|outcome| (outcome, context.packet_after().to_vec()))
            }
            RandomKind::SchedCls => {
                let mut context = SkbContext::packet(&*random.packet);
                process.run(&mut context).map(|outcome| (outcome, context.packet_after().to_vec()))
            }
        })
    }
}

impl RandomMap {
    fn spec(&self) -> MapSpec {
        MapSpec {
            name: format!("{:?}", self.kind),
            map_type: self.kind.map_type(),
            key_size: self.key_size,
            value_size: self.value_size,
            max_entries: self.max_entries,
            map_flags: self.flags,
            ..MapSpec::default()
        }
    }

    fn fill(&self, map: &Arc<MapRef>, cpus: u32) -> Result<(), String> {
        for (key, value) in &self.entries {
            let mut value = value.clone();
            if self.kind.is_percpu() {
                value.resize(value.len().next_multiple_of(8), 0);
                value = value.repeat(cpus as usize);
            }
            let filled = match self.kind.is_queue() {
                true => map.push(&value, 0),
                false => map.update_copy(key, &value, 0),
            };
            filled.map_err(|errno| format!("filling {self:?}: {errno}"))?;
        }
        Ok(())
    }

    fn contents(&self, map: &Arc<MapRef>) -> Result<Vec<RandomEntry>, String> {
        let mut entries = Vec::new();
        if self.kind.is_queue() {
            let mut value = vec![0; self.value_size as usize];
            while map.pop(&mut value).is_ok() {
                entries.push((Vec::new(), value.clone()));
            }
            return Ok(entries);
        }
        let mut next = map.next_key(None);
        while let Ok(key) = next {
            let mut value = map.lookup_copy(&key, 0).map_err(|errno| format!("reading {self:?}: {errno}"))?;
            value.truncate(self.value_size as usize);
            next = map.next_key(Some(&key));
            entries.push((key, value));
        }
        entries.sort();
        Ok(entries)
    }
}
