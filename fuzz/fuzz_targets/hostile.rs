//! Real programs with instructions that no verifier would let through: owned objects, arenas, maps, timers, dynptrs and iterators stand
//! whatever is done to what points at them, on all engines.
//!
//! The input is the number of an object and of a program, and then patches: two bytes say which slot, eight what is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::abi::{ByteOrder, RawInsn};
use mimic::object::{MapSpec, Object, Program, Target};
use mimic_fuzz::run_everywhere;
use std::sync::LazyLock;

macro_rules! fixtures {
    ($($name:literal)*) => { [$(include_bytes!(concat!("../../tests/fixtures/", $name, ".bpf.o")).as_slice()),*] };
}

/// Programs of each object, linked, with its maps.
static OBJECTS: LazyLock<Vec<(Vec<Program>, Vec<MapSpec>)>> = LazyLock::new(|| {
    let files = fixtures!["owned_kptr" "owned_list" "owned_tree" "arena" "cpumask" "timers" "dynptr" "map_hash" "map_lru" "map_lpm"
        "map_in_map" "map_queue_stack_bloom" "map_ringbuf" "user_ringbuf" "spin_lock" "storage" "iterators" "exceptions" "tail_calls"
        "for_each" "strings" "printing" "kfuncs"];
    files.into_iter().map(open).collect()
});

fn open(file: &[u8]) -> (Vec<Program>, Vec<MapSpec>) {
    let object = Object::parse(file).expect("a fixture");
    let target = Target { btf: object.btf.clone(), ..Target::default() };
    let programs = object.programs.iter().filter_map(|spec| object.link_spec(spec, &target).ok());
    (programs.collect(), object.maps_for(&target).expect("a fixture's maps"))
}

fuzz_target!(|bytes: &[u8]| {
    let [object, program, patches @ ..] = bytes else { return };
    let (programs, maps) = &OBJECTS[usize::from(*object) % OBJECTS.len()];
    if programs.is_empty() {
        return;
    }
    let mut program = programs[usize::from(*program) % programs.len()].clone();
    for patch in patches.as_chunks::<10>().0.iter().take(64) {
        let [low, high, slot @ ..] = *patch;
        let at = usize::from(u16::from_le_bytes([low, high])) % program.code.len();
        program.code[at] = RawInsn::from_bytes(slot, ByteOrder::Little);
    }
    run_everywhere(&program, maps);
});
