//! Nanoseconds per map operation, called as helpers call them, and through programs. `cargo bench -p mimic-linux --bench maps`.

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, MapType};
use mimic_linux::Linux;
use mimic_linux::maps::{LinuxMap, Ringbuf};
use mimic_object::{MapSpec, Program, Ref, RefTarget};
use mimic_vm::{MapRef, RawContext, Vm};
use std::hint::black_box;
use std::sync::Arc;

const ENTRIES: u32 = 10_000;
const ROUNDS: u32 = 1_000_000;

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
    println!("{:<14} {:>4} {:>10} {:>10} {:>10} {:>12}", "map", "key", "hit", "miss", "update", "in program");
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
        let (hit, miss) = (look(&hits), look(&misses));
        let program = in_program(&vm, &map, &hits[5]);
        println!("{:<14} {key_size:>4} {hit:>10.1} {miss:>10.1} {update:>10.1} {program:>12.1}", kind.word());
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

/// Nanoseconds of CPU time that this thread had, where the host tells; others run beside it.
fn now_ns() -> f64 {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ran = stat.split(' ').next().and_then(|ran| ran.parse().ok());
    ran.unwrap_or_else(|| START.elapsed().as_nanos() as f64)
}

fn time(mut operation: impl FnMut(u32) -> bool) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = now_ns();
        let done = (0..ROUNDS).filter(|at| operation(*at)).count();
        best = best.min((now_ns() - start) / f64::from(ROUNDS));
        assert_eq!(done, ROUNDS as usize);
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
    text.push_str("r6 = 2000000\nr1 = 0xffff ll\nr2 = r10\n");
    text.push_str(&format!("r2 += {base}\ncall 1\nr6 += -1\nif r6 != 0 goto -7\nr0 = 0\nexit\n"));
    let code = assemble(&text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let pc = code.iter().position(|insn| insn.opcode == 0x18).expect("ld_imm64") as u32;
    let refs = vec![Ref { pc, target: RefTarget::Map(0) }];
    let program = Program { refs, ..Program::from_code("bench", code, ByteOrder::Little) };
    let program = vm.add(program, std::slice::from_ref(map)).unwrap_or_else(|error| panic!("{error}"));
    let mut process = vm.process(&program, 0).expect("memory");
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = now_ns();
        process.run(&mut RawContext::default()).expect("it runs");
        best = best.min((now_ns() - start) / 2_000_000.0);
    }
    best
}
