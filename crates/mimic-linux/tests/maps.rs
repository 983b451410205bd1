//! Maps through their user side and through programs.

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, Errno, MapType};
use mimic_linux::maps::{LinuxMap, ProgArray, Ringbuf};
use mimic_linux::{Linux, maps};
use mimic_object::{MapSpec, Program, Ref, RefTarget};
use mimic_vm::{LoadedProgram, MapRef, Outcome, RawContext, Vm};
use std::sync::Arc;

fn vm() -> Arc<Vm> {
    Vm::builder(Linux::default()).cpus(2).build().expect("address space")
}

fn spec(kind: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapSpec {
    MapSpec { map_type: kind.id(), key_size, value_size, max_entries, ..MapSpec::default() }
}

fn map(vm: &Vm, kind: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Arc<MapRef> {
    vm.create_map(&spec(kind, key_size, value_size, max_entries)).unwrap_or_else(|error| panic!("{error}"))
}

fn trie(vm: &Vm, max_entries: u32) -> Arc<MapRef> {
    vm.create_map(&MapSpec { map_flags: 1, ..spec(MapType::LpmTrie, 8, 4, max_entries) }).expect("valid")
}

const NO_PREALLOC: u32 = 1;

/// A program; each `ld_imm64` that is written `lddw rN, 0x<index>ffff` becomes the address of a map.
fn program(vm: &Arc<Vm>, text: &str, maps: &[Arc<MapRef>]) -> Arc<LoadedProgram> {
    let code = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let is_map = |insn: &mimic_abi::RawInsn| insn.opcode == 0x18 && insn.imm & 0xffff == 0xffff;
    let refs = code.iter().enumerate().filter(|(_, insn)| is_map(insn));
    let refs =
        refs.map(|(pc, insn)| Ref { pc: pc as u32, target: RefTarget::Map((insn.imm >> 16) as usize) });
    let refs = refs.collect();
    let linked = Program { refs, ..Program::from_code("test", code.clone(), ByteOrder::Little) };
    vm.add(linked, maps).unwrap_or_else(|error| panic!("{error}"))
}

fn run_on(vm: &Arc<Vm>, cpu: u32, program: &Arc<LoadedProgram>) -> Outcome {
    let mut process = vm.process(program, cpu).expect("memory");
    process.run(&mut RawContext::default()).expect("it runs")
}

fn run(vm: &Arc<Vm>, text: &str, maps: &[Arc<MapRef>]) -> u64 {
    run_on(vm, 0, &program(vm, text, maps)).r0
}

const LOOKUP_U32: &str = "
    *(u32 *)(r10 - 4) = 1
    r1 = 0xffff ll
    r2 = r10
    r2 += -4
    call 1
    if r0 == 0 goto +3
    r1 = *(u64 *)(r0 + 0)
    r1 += 1
    *(u64 *)(r0 + 0) = r1
    r0 = 0
    exit
";

#[test]
fn a_program_counts_in_an_array() {
    let vm = vm();
    let array = map(&vm, MapType::Array, 4, 8, 3);
    for _ in 0..5 {
        assert_eq!(run(&vm, LOOKUP_U32, &[array.clone()]), 0);
    }
    assert_eq!(array.lookup_copy(&1u32.to_le_bytes(), 0), Ok(5u64.to_le_bytes().to_vec()));
    assert_eq!(array.lookup_copy(&3u32.to_le_bytes(), 0), Err(Errno::ENOENT));
    assert_eq!(array.update_copy(&3u32.to_le_bytes(), &[0; 8], 0), Err(Errno::E2BIG));
    assert_eq!(array.next_key(Some(&2u32.to_le_bytes())), Err(Errno::ENOENT));
}

#[test]
fn a_program_counts_in_a_hash() {
    let vm = vm();
    for flags in [0, NO_PREALLOC] {
        let hash =
            vm.create_map(&MapSpec { map_flags: flags, ..spec(MapType::Hash, 4, 8, 2) }).expect("valid");
        assert_eq!(run(&vm, LOOKUP_U32, &[hash.clone()]), 0);
        let (one, two, three) = (1u32.to_le_bytes(), 2u32.to_le_bytes(), 3u32.to_le_bytes());
        assert_eq!(hash.lookup_copy(&one, 0), Err(Errno::ENOENT));
        assert_eq!(hash.update_copy(&one, &[0; 8], 2), Err(Errno::ENOENT));
        assert_eq!(hash.update_copy(&one, &[0; 8], 1), Ok(()));
        assert_eq!(hash.update_copy(&two, &[0; 8], 0), Ok(()));
        assert_eq!(hash.update_copy(&three, &[0; 8], 0), Err(Errno::E2BIG));
        for _ in 0..5 {
            assert_eq!(run(&vm, LOOKUP_U32, &[hash.clone()]), 0);
        }
        assert_eq!(hash.lookup_copy(&one, 0), Ok(5u64.to_le_bytes().to_vec()));
        assert_eq!(hash.update_copy(&one, &[9; 8], 0), Ok(()), "of a full map");
        assert_eq!(hash.lookup_and_delete(&one, 0), Ok(vec![9; 8]));
        assert_eq!(hash.update_copy(&three, &[0; 8], 0), Ok(()));
        let all = hash.lookup_batch(None, 9, 0, true);
        assert_eq!((all.count, all.error), (2, Some(Errno::ENOENT)));
        assert_eq!(hash.next_key(None), Err(Errno::ENOENT));
    }
}

#[test]
fn each_cpu_counts_for_itself() {
    let vm = vm();
    let array = map(&vm, MapType::PercpuArray, 4, 8, 3);
    let counter = program(&vm, LOOKUP_U32, &[array.clone()]);
    for cpu in [0, 1, 1] {
        run_on(&vm, cpu, &counter);
    }
    let both = [1u64.to_le_bytes(), 2u64.to_le_bytes()].concat();
    assert_eq!(array.lookup_copy(&1u32.to_le_bytes(), 0), Ok(both));
}

#[test]
fn the_longest_prefix_wins() {
    let vm = vm();
    let trie = trie(&vm, 8);
    let key = |len: u32, data: [u8; 4]| [len.to_le_bytes(), data].concat();
    let prefixes =
        [(16, [192, 168, 0, 0]), (24, [192, 168, 0, 0]), (24, [192, 168, 128, 0]), (24, [192, 168, 1, 0])];
    for (value, (len, data)) in (1u32..).zip(prefixes) {
        trie.update_copy(&key(len, data), &value.to_le_bytes(), 0).expect("room");
    }
    let look = |data| trie.lookup_copy(&key(32, data), 0).map(|value| value[0]);
    assert_eq!(look([192, 168, 0, 9]), Ok(2));
    assert_eq!(look([192, 168, 7, 9]), Ok(1));
    assert_eq!(look([10, 0, 0, 1]), Err(Errno::ENOENT));
    let mut keys: Vec<Vec<u8>> = Vec::new();
    while let Ok(next) = trie.next_key(keys.last().map(Vec::as_slice)) {
        keys.push(next);
    }
    // Documentation/bpf/map_lpm_trie.rst's order: longer ones first.
    let expected =
        [(24, [192, 168, 0, 0]), (24, [192, 168, 1, 0]), (24, [192, 168, 128, 0]), (16, [192, 168, 0, 0])];
    assert_eq!(keys, expected.map(|(len, data)| key(len, data)));
    assert_eq!(trie.delete_key(&key(16, [192, 168, 0, 0])), Ok(()));
    assert_eq!(look([192, 168, 7, 9]), Err(Errno::ENOENT));
    assert_eq!(trie.delete_key(&key(16, [192, 168, 0, 0])), Err(Errno::ENOENT));
}

#[test]
fn ring_buffer_records_wrap() {
    let vm = vm();
    let ring = map(&vm, MapType::Ringbuf, 0, 0, 4096);
    let text = "
        r1 = 0xffff ll
        r2 = 2000
        r3 = 0
        call 131
        if r0 == 0 goto +7
        *(u64 *)(r0 + 0) = 7
        *(u64 *)(r0 + 1992) = 9
        r1 = r0
        r2 = 0
        call 132
        r0 = 1
        exit
        r0 = 0
        exit
    ";
    let writer = program(&vm, text, &[ring.clone()]);
    let records =
        (&*ring.map as &dyn std::any::Any).downcast_ref::<LinuxMap<Ringbuf>>().expect("a ring buffer");
    for _ in 0..10 {
        assert_eq!(run_on(&vm, 0, &writer).r0, 1);
        assert_eq!(run_on(&vm, 0, &writer).r0, 1);
        assert_eq!(run_on(&vm, 0, &writer).r0, 0, "the ring is full");
        for record in records.ops().take() {
            assert_eq!((record.len(), record[0], record[1992]), (2000, 7, 9));
        }
    }
    assert_eq!(records.ops().positions().producer, 20 * 2008);
}

#[test]
fn tail_calls_go_through_the_array() {
    let vm = vm();
    let array = map(&vm, MapType::ProgArray, 4, 4, 2);
    let last = program(&vm, "r0 = 42\nexit", &[]);
    array.set_program(&1u32.to_le_bytes(), &last, 0).expect("a slot");
    let text = "r2 = 0xffff ll\nr3 = 1\ncall 12\nr0 = 0\nexit";
    assert_eq!(run(&vm, text, &[array.clone()]), 42);
    assert_eq!(array.lookup_copy(&1u32.to_le_bytes(), 0), Ok(last.id().to_le_bytes().to_vec()));
    array.delete_key(&1u32.to_le_bytes()).expect("it is there");
    assert_eq!(run(&vm, text, &[array.clone()]), 0);
    let programs =
        (&*array.map as &dyn std::any::Any).downcast_ref::<LinuxMap<ProgArray>>().expect("a program array");
    assert!(programs.ops().program(1).is_none());
}

#[test]
fn every_type_has_a_row() {
    for kind in MapType::ALL {
        assert_eq!(maps::row(*kind).is_some(), *kind != MapType::Unspec, "{}", kind.word());
    }
}
