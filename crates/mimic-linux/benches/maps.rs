//! Nanoseconds per map operation, called as helpers call them, and through programs. `cargo bench -p mimic-linux --bench maps`.

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, MapType};
use mimic_linux::Linux;
use mimic_linux::maps::{LinuxMap, Ringbuf};
use mimic_object::{MapSpec, Program, Ref, RefTarget};
use mimic_vm::{MapRef, RawContext, Vm};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const ENTRIES: u32 = 10_000;
const ROUNDS: u32 = 200;
const BATCH: u32 = 16 * 1024;

fn main() {
    let vm = Vm::builder(Linux::default()).cpus(2).build().expect("address space");
    let kinds = [
        (MapType::Array, 4, 0),
        (MapType::PercpuArray, 4, 0),
        (MapType::Hash, 4, 0),
        (MapType::Hash, 8, 0),
        (MapType::Hash, 16, 0),
        (MapType::Hash, 40, 0),
        (MapType::Hash, 8, 1),
        (MapType::PercpuHash, 8, 0),
        (MapType::LruHash, 8, 0),
        (MapType::LpmTrie, 8, 1),
    ];
    let columns = ["in register", "hot", "hit", "miss", "update", "churn", "in program"];
    print!("{:<14} {:>4}", "map", "key");
    columns.iter().for_each(|column| print!(" {column:>11}"));
    println!();
    native();
    for (kind, key_size, map_flags) in kinds {
        let spec = MapSpec {
            map_type: kind.id(),
            key_size,
            value_size: 8,
            max_entries: ENTRIES,
            map_flags,
            ..MapSpec::default()
        };
        let map = vm.create_map(&spec).unwrap_or_else(|error| panic!("{error}"));
        let key = |index: u32| key_of(kind, key_size as usize, index);
        for index in 0..ENTRIES {
            map.update(0, &key(index), &[0; 8], 0).expect("room");
        }
        let hits: Vec<Vec<u8>> = (0..1024).map(|at| key(at * 7919 % ENTRIES)).collect();
        let misses: Vec<Vec<u8>> = (0..1024).map(|at| key(ENTRIES + at)).collect();
        let look = |keys: &[Vec<u8>]| time(|at| map.lookup(0, black_box(&keys[at as usize & 1023])).is_ok());
        let update = time(|at| map.update(0, black_box(&hits[at as usize & 1023]), &[1; 8], 0).is_ok());
        let churn = match kind {
            MapType::Array | MapType::PercpuArray => f64::NAN,
            _ => time(|at| {
                let key = black_box(&hits[at as usize & 1023]);
                map.delete(0, key).is_ok() && map.update(0, key, &[1; 8], 0).is_ok()
            }),
        };
        let hot = vec![hits[5].clone(); 1024];
        let register = in_register(&map, &hits[5]);
        let times = [
            register,
            look(&hot),
            look(&hits),
            look(&misses),
            update,
            churn,
            in_program(&vm, &map, &hits[5]),
        ];
        print!("{:<14} {key_size:>4}", kind.word());
        times.iter().for_each(|time| print!(" {time:>11.1}"));
        println!();
        vm.remove_map(map.id);
    }
    let spec = MapSpec { map_type: MapType::Ringbuf.id(), max_entries: 1 << 20, ..MapSpec::default() };
    let map = vm.create_map(&spec).expect("valid");
    let ring =
        (&*map.map as &dyn core::any::Any).downcast_ref::<LinuxMap<Ringbuf>>().expect("a ring buffer").ops();
    let output = time(|at| {
        if at % 1000 == 0 {
            ring.consume(|_| true);
        }
        ring.output(black_box(&[0; 40]), 0).is_ok()
    });
    println!("{:<14} output of 40 bytes with reading {output:.1}", "ringbuf");
}

/// A lookup of a key that is in a register, as compiled code has it.
fn in_register(map: &MapRef, key: &[u8]) -> f64 {
    let word = |at: usize| u64::from_ne_bytes(key[at..at + 8].try_into().expect("8 bytes"));
    match key.len() {
        4 => {
            let key = u32::from_ne_bytes(key.try_into().expect("4 bytes"));
            time(|_| map.lookup_4(0, black_box(key)) != 0)
        }
        8 => time(|_| map.lookup_8(0, black_box(word(0))) != 0),
        16 => time(|_| map.lookup_16(0, black_box([word(0), word(8)])) != 0),
        _ => f64::NAN,
    }
}

/// The standard library's table beside ours, for a ratio.
fn native() {
    let map: HashMap<u64, u64> = (0..u64::from(ENTRIES)).map(|key| (key, 0)).collect();
    let hits: Vec<u64> = (0..1024).map(|at| at * 7919 % u64::from(ENTRIES)).collect();
    let hot = time(|_| map.contains_key(black_box(&hits[5])));
    let hit = time(|at| map.contains_key(black_box(&hits[at as usize & 1023])));
    let miss = time(|at| !map.contains_key(&(u64::from(ENTRIES) + u64::from(black_box(at)))));
    println!("{:<14} {:>4} {:>11} {hot:>11.1} {hit:>11.1} {miss:>11.1}", "std HashMap", 8, "");
}

fn key_of(kind: MapType, len: usize, index: u32) -> Vec<u8> {
    let mut key = vec![0; len];
    match kind {
        MapType::LpmTrie => {
            key[..4].copy_from_slice(&32u32.to_le_bytes());
            key[4..].copy_from_slice(&index.wrapping_mul(0x9e37_79b1).to_be_bytes());
        }
        _ => key[..4].copy_from_slice(&index.to_le_bytes()),
    }
    key
}

/// The best of many short rounds: others run beside it.
fn time(mut operation: impl FnMut(u32) -> bool) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let done = (0..BATCH).filter(|at| operation(*at)).count();
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(BATCH));
        assert_eq!(done, BATCH as usize);
    }
    best
}

/// A lookup in a loop: the helper call, the key on the stack, and six instructions around it.
fn in_program(vm: &Arc<Vm>, map: &Arc<MapRef>, key: &[u8]) -> f64 {
    let mut text = String::new();
    let base = -(key.len().next_multiple_of(8) as i32);
    for (at, byte) in key.iter().enumerate() {
        text.push_str(&format!("*(u8 *)(r10 - {}) = {byte}\n", -(base + at as i32)));
    }
    text.push_str("r6 = 20000\nr1 = 0xffff ll\nr2 = r10\n");
    text.push_str(&format!("r2 += {base}\ncall 1\nr6 += -1\nif r6 != 0 goto -7\nr0 = 0\nexit\n"));
    let code = assemble(&text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let pc = code.iter().position(|insn| insn.opcode == 0x18).expect("ld_imm64") as u32;
    let refs = vec![Ref { pc, target: RefTarget::Map(0) }];
    let program = Program { refs, ..Program::from_code("bench", code, ByteOrder::Little) };
    let program = vm.add(program, std::slice::from_ref(map)).unwrap_or_else(|error| panic!("{error}"));
    let mut process = vm.process(&program, 0).expect("memory");
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        process.run(&mut RawContext::default()).expect("it runs");
        best = best.min(start.elapsed().as_nanos() as f64 / 20_000.0);
    }
    best
}
