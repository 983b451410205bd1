//! Lookups that compiled code does by itself, against the interpreter's.

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, MapType};
use mimic_linux::Linux;
use mimic_object::{MapSpec, Program, Ref, RefTarget};
use mimic_vm::{Checks, Engine, RawContext, Vm};

const ENGINES: [(Engine, Checks); 3] =
    [(Engine::Interp, Checks::Precise), (Engine::Jit, Checks::Precise), (Engine::Jit, Checks::Cage)];

/// Adds 1 to the values of two keys, one of which may be missing, with live values in all registers; then answers what it found.
const COUNT: &str = "
    r6 = 6; r7 = 7; r8 = 8; r9 = 9
    *(u64 *)(r10 - 16) = 0; *(u64 *)(r10 - 8) = 0
    *(u32 *)(r10 - 16) = KEY
    r1 = 0xffff ll; r2 = r10; r2 += -16; r3 = 3; r4 = 4; r5 = 5
    call 1
    r6 += r2; r6 += r3; r6 += r4; r6 += r5; r6 -= r10
    if r0 == 0 goto +4
    r1 = *(u32 *)(r0 + 0); r1 += 1; *(u32 *)(r0 + 0) = r1; r6 += r1
    call 8
    r6 *= 100; r6 += r0; r0 = r6; r0 += r7; r0 += r8; r0 += r9
    exit";

/// What runs on both CPUs come to, in each engine; the map is removed before the last of them.
fn outcomes(kind: MapType, key_size: u32, value_size: u32, key: u32) -> Vec<Vec<String>> {
    let outcomes = |(engine, checks)| {
        let vm = Vm::builder(Linux::default()).cpus(2).engine(engine).checks(checks);
        let vm = vm.build().expect("address space");
        let spec =
            MapSpec { map_type: kind.id(), key_size, value_size, max_entries: 5, ..MapSpec::default() };
        let map = vm.create_map(&spec).expect("valid");
        if matches!(kind, MapType::Hash | MapType::LruHash) {
            let mut bytes = vec![0; key_size as usize];
            bytes[0] = 3;
            map.update(0, &bytes, &vec![1; value_size as usize], 0).expect("room");
        }
        let code = assemble(&COUNT.replace("KEY", &key.to_string()), &()).expect("it is well-formed").slots;
        let refs = code.iter().enumerate().filter(|(_, insn)| insn.opcode == 0x18);
        let refs = refs.map(|(pc, _)| Ref { pc: pc as u32, target: RefTarget::Map(0) }).collect();
        let linked = Program { refs, ..Program::from_code("test", code.clone(), ByteOrder::Little) };
        let program = vm.add(linked, core::slice::from_ref(&map)).expect("it loads");
        let mut processes = [0, 1].map(|cpu| vm.process(&program, cpu).expect("memory"));
        let mut run = |cpu: usize| match processes[cpu].run(&mut RawContext::default()) {
            Ok(outcome) => format!("{outcome:?}"),
            Err(error) => error.to_string(),
        };
        let mut all: Vec<String> = [0, 1, 0, 1, 1].into_iter().map(&mut run).collect();
        all.extend(map.lookup_copy(&[3; 4][..], 0).ok().map(|value| format!("{value:?}")));
        vm.remove_map(map.id);
        all.push(run(0));
        all
    };
    ENGINES.into_iter().map(outcomes).collect()
}

#[test]
fn compiled_code_finds_what_the_interpreter_finds() {
    let kinds = [
        (MapType::Array, 4, 12),
        (MapType::Array, 4, 64),
        (MapType::PercpuArray, 4, 24),
        (MapType::Hash, 4, 8),
        (MapType::Hash, 8, 8),
        (MapType::Hash, 16, 4),
        (MapType::Hash, 12, 8),
        (MapType::LruHash, 8, 8),
        (MapType::Queue, 0, 8),
    ];
    for (kind, key_size, value_size) in kinds {
        for key in [0, 3, 4, 5, u32::MAX >> 1] {
            let all = outcomes(kind, key_size, value_size, key);
            assert_eq!(all[0], all[1], "{kind:?} {key_size} {key}");
            assert_eq!(all[0], all[2], "{kind:?} {key_size} {key}");
            assert!(all[0].last().is_some_and(|last| last.contains("is not a map")), "{:?}", all[0].last());
        }
    }
}
