//! Maps through their user side and through programs.

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, Errno, MapType};
use mimic_linux::maps::{LinuxMap, ProgArray, Ringbuf, UserRingbuf};
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
        assert_eq!(run(&vm, LOOKUP_U32, std::slice::from_ref(&array)), 0);
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
        assert_eq!(run(&vm, LOOKUP_U32, std::slice::from_ref(&hash)), 0);
        let (one, two, three) = (1u32.to_le_bytes(), 2u32.to_le_bytes(), 3u32.to_le_bytes());
        assert_eq!(hash.lookup_copy(&one, 0), Err(Errno::ENOENT));
        assert_eq!(hash.update_copy(&one, &[0; 8], 2), Err(Errno::ENOENT));
        assert_eq!(hash.update_copy(&one, &[0; 8], 1), Ok(()));
        assert_eq!(hash.update_copy(&two, &[0; 8], 0), Ok(()));
        assert_eq!(hash.update_copy(&three, &[0; 8], 0), Err(Errno::E2BIG));
        for _ in 0..5 {
            assert_eq!(run(&vm, LOOKUP_U32, std::slice::from_ref(&hash)), 0);
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
    let counter = program(&vm, LOOKUP_U32, std::slice::from_ref(&array));
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
    let writer = program(&vm, text, std::slice::from_ref(&ring));
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
    assert_eq!(run(&vm, text, std::slice::from_ref(&array)), 42);
    assert_eq!(array.lookup_copy(&1u32.to_le_bytes(), 0), Ok(last.id().to_le_bytes().to_vec()));
    array.delete_key(&1u32.to_le_bytes()).expect("it is there");
    assert_eq!(run(&vm, text, std::slice::from_ref(&array)), 0);
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

fn ops<T: maps::Ops>(map: &MapRef) -> &T {
    (&*map.map as &dyn std::any::Any).downcast_ref::<LinuxMap<T>>().expect("of that type").ops()
}

#[test]
fn a_program_drains_what_a_user_wrote() {
    let vm = vm();
    let ring = map(&vm, MapType::UserRingbuf, 0, 0, 4096);
    // The callback adds the first byte of each record to what ctx points at; 9 ends it.
    let text = "
        *(u64 *)(r10 - 8) = 0
        r1 = 0xffff ll
        r2 = code_ptr_to callback ll
        r3 = r10
        r3 += -8
        r4 = 0
        call 209
        r1 = *(u64 *)(r10 - 8)
        r1 <<= 32
        r0 |= r1
        exit
    callback:
        r6 = r2
        *(u64 *)(r10 - 8) = 0
        r3 = r1
        r1 = r10
        r1 += -8
        r2 = 1
        r4 = 0
        r5 = 0
        call 201
        r1 = *(u64 *)(r10 - 8)
        r2 = *(u64 *)(r6 + 0)
        r2 += r1
        *(u64 *)(r6 + 0) = r2
        r0 = 0
        if r1 != 9 goto +1
        r0 = 1
        exit
    ";
    let text = text.replace("code_ptr_to callback ll", "0x0eee ll").replace("    callback:\n", "");
    let code = assemble(&text, &()).unwrap_or_else(|errors| panic!("{errors:?}")).slots;
    let lddw =
        |imm: i32| code.iter().position(|insn| insn.opcode == 0x18 && insn.imm == imm).expect("there") as u32;
    let callback = code.iter().position(|insn| insn.opcode == 0x95).expect("exit") as u32 + 1;
    let mut refs = vec![
        Ref { pc: lddw(0xffff), target: RefTarget::Map(0) },
        Ref { pc: lddw(0x0eee), target: RefTarget::Func(callback) },
    ];
    refs.sort_by_key(|reference| reference.pc);
    let linked = Program { refs, ..Program::from_code("drain", code, ByteOrder::Little) };
    let drain = vm.add(linked, std::slice::from_ref(&ring)).unwrap_or_else(|error| panic!("{error}"));
    let records = ops::<UserRingbuf>(&ring);
    for round in 0..200u64 {
        for record in [&[1u8; 100][..], &[2; 1000], &[9; 3], &[4; 300]] {
            records.submit(record).expect("room");
        }
        assert_eq!(run_on(&vm, 0, &drain).r0, 3 | (1 + 2 + 9) << 32, "round {round}");
        assert_eq!(run_on(&vm, 0, &drain).r0, 1 | 4 << 32);
        assert_eq!(run_on(&vm, 0, &drain).r0, 0);
    }
}

/// Both sides of a map in a file's pages: what one writes, the other reads.
#[cfg(all(unix, target_pointer_width = "64"))]
#[test]
fn maps_in_a_shared_file() {
    use mimic_vm::memory::PAGE_LEN;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;
    let path = std::env::temp_dir().join(format!("mimic-shared-map-{}", std::process::id()));
    let open = |len: u64| {
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.expect("a temporary file");
        std::fs::remove_file(&path).expect("it was made");
        file.set_len(len).expect("room");
        file
    };
    let vm = vm();
    let array = spec(MapType::Array, 4, 12, 600);
    let file = open(maps::shared_len(&array).expect("arrays can be shared"));
    let map =
        vm.add_map(maps::create_shared(&array, &vm.map_env(), file.as_fd()).expect("valid")).expect("room");
    map.update_copy(&5u32.to_le_bytes(), &[7; 12], 0).expect("there");
    let mut value = [0; 12];
    file.read_exact_at(&mut value, 5 * 16).expect("long enough");
    assert_eq!(value, [7; 12]);
    file.write_all_at(&[9; 12], 6 * 16).expect("long enough");
    assert_eq!(map.lookup_copy(&6u32.to_le_bytes(), 0), Ok(vec![9; 12]));

    // What is made where the map was is not in the file any more.
    vm.remove_map(map.id);
    drop(map);
    let others: Vec<_> = (0..4).map(|_| self::map(&vm, MapType::Array, 4, 12, 600)).collect();
    for other in &others {
        assert_eq!(other.lookup_copy(&6u32.to_le_bytes(), 0), Ok(vec![0; 12]));
        other.update_copy(&6u32.to_le_bytes(), &[1; 12], 0).expect("there");
    }
    file.read_exact_at(&mut value, 6 * 16).expect("long enough");
    assert_eq!(value, [9; 12]);

    let ring = spec(MapType::Ringbuf, 0, 0, 4096);
    let file = open(maps::shared_len(&ring).expect("ring buffers can be shared"));
    let map =
        vm.add_map(maps::create_shared(&ring, &vm.map_env(), file.as_fd()).expect("valid")).expect("room");
    let ring = ops::<Ringbuf>(&map);
    let word = |off: u64| {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, off).expect("long enough");
        u64::from_le_bytes(word)
    };
    let page = u64::from(PAGE_LEN);
    let mut read = 0;
    for round in 0..50u8 {
        // Three a round, so that some cross the end.
        for part in 0..3 {
            ring.output(&[round ^ part; 1000], 0).expect("room");
        }
        for part in 0..3 {
            let header = word(2 * page + read % 4096);
            assert_eq!(header as u32, 1000);
            let mut data = [0; 1000];
            file.read_exact_at(&mut data, 2 * page + read % 4096 + 8).expect("long enough");
            assert_eq!(data, [round ^ part; 1000]);
            read += 1008;
        }
        assert_eq!(word(page), read);
        file.write_all_at(&read.to_le_bytes(), 0).expect("long enough");
    }
}

/// Four threads on the same keys: every lookup finds a value that somebody wrote for that key, and nothing is lost or left.
#[test]
fn hash_maps_hold_under_threads() {
    for (kind, flags) in
        [(MapType::Hash, 0), (MapType::Hash, NO_PREALLOC), (MapType::LruHash, 0), (MapType::LruHash, 2)]
    {
        let vm = vm();
        let map = vm.create_map(&MapSpec { map_flags: flags, ..spec(kind, 16, 16, 64) }).expect("valid");
        let key = |n: u64| [n.to_le_bytes(), (!n).to_le_bytes()].concat();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (map, vm) = (&map, &vm);
                scope.spawn(move || {
                    let mut state = thread;
                    for _ in 0..20_000 {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let n = (state >> 40) % 48;
                        let cpu = (thread & 1) as u32;
                        match (state >> 33) % 4 {
                            0 => drop(map.delete(cpu, &key(n))),
                            1 => {
                                let value = [n.to_le_bytes(), n.to_le_bytes()].concat();
                                map.update(cpu, &key(n), &value, 0).expect("there is room for all keys");
                            }
                            2 => {
                                if let Ok(value) = map.lookup_copy(&key(n), 0) {
                                    assert_eq!(value, [n.to_le_bytes(), n.to_le_bytes()].concat());
                                }
                            }
                            _ => {
                                let _ = map.lookup(cpu, &key(n)).expect("never an error");
                            }
                        }
                    }
                    let _ = vm;
                });
            }
        });
        let all = map.lookup_batch(None, 1000, 0, true);
        assert_eq!(all.error, Some(Errno::ENOENT));
        // Every slot is free again.
        if kind == MapType::Hash {
            for n in 0..64 {
                map.update(0, &key(1000 + n), &[0; 16], 1).expect("room");
            }
            assert_eq!(map.update(0, &key(2000), &[0; 16], 1), Err(Errno::E2BIG));
        }
    }
}

/// Lookups beside a writer find the longest prefix or, while it is replaced, one that was there.
#[test]
fn tries_hold_under_threads() {
    let vm = vm();
    let trie = trie(&vm, 1000);
    let key = |len: u32, data: [u8; 4]| [len.to_le_bytes(), data].concat();
    trie.update(0, &key(8, [10, 0, 0, 0]), &[1; 4], 0).expect("room");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..20_000u32 {
                let at = (round % 200) as u8;
                let _ = trie.update(0, &key(24, [10, at, 7, 0]), &[2; 4], 0);
                let _ = trie.delete(0, &key(24, [10, at.wrapping_sub(50), 7, 0]));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        scope.spawn(|| {
            let mut at = 0u8;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                at = at.wrapping_add(1);
                assert!(
                    trie.lookup(0, &key(32, [10, at, 7, 1])).expect("valid").is_some(),
                    "10/8 is always there"
                );
                assert_eq!(trie.lookup(0, &key(32, [11, at, 7, 1])), Ok(None));
            }
        });
    });
}

/// Three producers and a reader: every record once, whole, those of each producer in order.
#[test]
fn ring_buffers_hold_under_threads() {
    const RECORDS: u32 = 5000;
    let vm = vm();
    let map = map(&vm, MapType::Ringbuf, 0, 0, 8192);
    let ring = ops::<Ringbuf>(&map);
    let mut next = [0; 3];
    std::thread::scope(|scope| {
        for thread in 0..3u32 {
            scope.spawn(move || {
                for number in 0..RECORDS {
                    let record = [thread.to_le_bytes(), number.to_le_bytes()]
                        .concat()
                        .repeat(1 + number as usize % 40);
                    while ring.output(&record, 0) == Err(Errno::EAGAIN) {
                        std::thread::yield_now();
                    }
                }
            });
        }
        while next != [RECORDS; 3] {
            let read = ring.consume(|record| {
                let word = |at: usize| {
                    u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
                };
                let (thread, number) = (word(0) as usize, word(4));
                assert_eq!(number, next[thread]);
                assert_eq!(record, record[..8].repeat(1 + number as usize % 40));
                next[thread] += 1;
                true
            });
            if read == 0 {
                std::thread::yield_now();
            }
        }
    });
}

#[test]
fn for_each_meets_what_it_deletes() {
    let vm = vm();
    for kind in [MapType::Hash, MapType::LruHash] {
        let hash = map(&vm, kind, 4, 8, 32);
        for n in 0..32u32 {
            hash.update(0, &n.to_le_bytes(), &1u64.to_le_bytes(), 0).expect("room");
        }
        // The callback deletes the element that it was given.
        let text = "
            r1 = 0xffff ll
            r2 = 0x0eee ll
            r3 = 0
            r4 = 0
            call 164
            exit
            call 3
            r0 = 0
            exit
        ";
        let code = assemble(text, &()).unwrap_or_else(|errors| panic!("{errors:?}")).slots;
        let refs = vec![Ref { pc: 0, target: RefTarget::Map(0) }, Ref { pc: 2, target: RefTarget::Func(8) }];
        let linked = Program { refs, ..Program::from_code("walk", code, ByteOrder::Little) };
        let walk = vm.add(linked, std::slice::from_ref(&hash)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(run_on(&vm, 0, &walk).r0, 32);
        assert_eq!(run_on(&vm, 0, &walk).r0, 0);
    }
    let array = map(&vm, MapType::Array, 4, 8, 5);
    // The callback writes its index to the value.
    let text = "
        r1 = 0xffff ll
        r2 = 0x0eee ll
        r3 = 0
        r4 = 0
        call 164
        exit
        r1 = *(u32 *)(r2 + 0)
        *(u64 *)(r3 + 0) = r1
        r0 = 0
        if r1 != 3 goto +1
        r0 = 1
        exit
    ";
    let code = assemble(text, &()).unwrap_or_else(|errors| panic!("{errors:?}")).slots;
    let refs = vec![Ref { pc: 0, target: RefTarget::Map(0) }, Ref { pc: 2, target: RefTarget::Func(8) }];
    let linked = Program { refs, ..Program::from_code("walk", code, ByteOrder::Little) };
    let walk = vm.add(linked, std::slice::from_ref(&array)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(run_on(&vm, 0, &walk).r0, 4);
    let values: Vec<u8> =
        (0..5u32).map(|n| array.lookup_copy(&n.to_le_bytes(), 0).expect("there")[0]).collect();
    assert_eq!(values, [0, 1, 2, 3, 0]);
}

/// The kernel's rules for locks, timers and kernel pointers in values (map_check_btf).
#[test]
fn special_fields_fit_some_maps_only() {
    use mimic_object::{FieldKind, MapField};
    let vm = vm();
    let with = |kind, field: FieldKind, map_flags| MapSpec {
        fields: vec![MapField { kind: field, off: 0, len: 4 }],
        map_flags,
        ..spec(kind, 4, 16, 2)
    };
    let create = |spec: MapSpec| vm.create_map(&spec).map(|_| ()).map_err(|error| error.errno);
    assert_eq!(create(with(MapType::Hash, FieldKind::SpinLock, 0)), Ok(()));
    assert_eq!(create(with(MapType::LruHash, FieldKind::SpinLock, 0)), Err(Errno::EOPNOTSUPP));
    assert_eq!(create(with(MapType::LruHash, FieldKind::Timer, 0)), Ok(()));
    assert_eq!(create(with(MapType::PercpuArray, FieldKind::Timer, 0)), Err(Errno::EOPNOTSUPP));
    assert_eq!(create(with(MapType::PercpuArray, FieldKind::Kptr, 0)), Ok(()));
    assert_eq!(create(with(MapType::Array, FieldKind::Kptr, 1 << 7)), Err(Errno::EACCES));
    let map = vm.create_map(&with(MapType::Array, FieldKind::SpinLock, 0)).expect("valid");
    assert_eq!(map.freeze(), Err(Errno::ENOTSUPP));
    assert_eq!(map.update_copy(&[0; 4], &[0xff; 16], 4), Ok(()));
    assert_eq!(map.lookup_copy(&[0; 4], 4), Ok([vec![0; 4], vec![0xff; 12]].concat()));
}

/// Whatever an object asks for: an answer with a reason, never a panic or memory without bound.
#[test]
fn maps_beyond_all_limits() {
    let vm = vm();
    let edges = [0, 1, 3, 4, 5, 8, 260, 4096, 32768, 1 << 20, 1 << 24, 1 << 31, u32::MAX - 7, u32::MAX];
    for kind in MapType::ALL {
        for key_size in edges {
            for value_size in edges {
                for max_entries in edges {
                    for map_flags in [0, NO_PREALLOC] {
                        let inner = Some(Box::new(spec(MapType::Array, 4, 4, 1)));
                        let spec =
                            MapSpec { map_flags, inner, ..spec(*kind, key_size, value_size, max_entries) };
                        match vm.create_map(&spec) {
                            Ok(map) => drop(vm.remove_map(map.id)),
                            Err(error) => assert!(!error.why.is_empty(), "{spec:?}"),
                        }
                    }
                }
            }
        }
    }
}
