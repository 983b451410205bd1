//! Memory that is given out anew: as it was left, zeroed, or poisoned so that the first read of a byte that nobody wrote since is a fault.

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, MapType, ProgType};
use mimic_linux::progs::XdpContext;
use mimic_linux::{Linux, World};
use mimic_object::{MapSpec, Program, Ref, RefTarget};
use mimic_vm::{Context, Hygiene, RawContext, RunError, Vm};

/// Runs `text` on a map, whose address is `1 ll`.
fn run_on(hygiene: Hygiene, spec: &MapSpec, text: &str) -> Result<u64, RunError> {
    let vm = Vm::builder(Linux::new(World::default())).hygiene(hygiene).build().expect("memory");
    let map = vm.create_map(spec).expect("a map");
    let slots = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let is_map = |(pc, insn): (usize, &mimic_abi::RawInsn)| {
        (insn.opcode == 0x18 && insn.imm == 1).then_some(Ref { pc: pc as u32, target: RefTarget::Map(0) })
    };
    let refs = slots.iter().enumerate().filter_map(is_map).collect();
    let linked = Program { refs, ..Program::from_code("test", slots.clone(), ByteOrder::Little) };
    let program = vm.add(linked, &[map]).expect("it loads");
    let mut process = vm.process(&program, 0).expect("a process");
    process.run(&mut RawContext::new([])).map(|outcome| outcome.r0)
}

fn map(map_type: MapType, key_size: u32) -> MapSpec {
    let map_flags = if map_type == MapType::LpmTrie { 1 } else { 0 };
    MapSpec {
        map_type: map_type.id(),
        key_size,
        value_size: 16,
        max_entries: 4,
        map_flags,
        ..MapSpec::default()
    }
}

fn is_unwritten(result: &Result<u64, RunError>) -> bool {
    matches!(result, Err(error) if error.to_string().contains("never written"))
}

/// Sets an element, keeps its address, deletes it, and reads.
const READ_DELETED: &str = "
    r1 = 32; *(u64 *)(r10 - 8) = r1; r1 = 77; *(u64 *)(r10 - 24) = r1; *(u64 *)(r10 - 16) = r1;
    r1 = 1 ll; r2 = r10; r2 += -8; r3 = r10; r3 += -24; r4 = 0; call 2;
    r1 = 1 ll; r2 = r10; r2 += -8; call 1;
    if r0 != 0 goto found; r0 = 1; exit;
    found: r6 = r0; r0 = *(u64 *)(r6 + 0); if r0 == 77 goto same; r0 = 2; exit;
    same: r1 = 1 ll; r2 = r10; r2 += -8; call 3;
    r0 = *(u64 *)(r6 + 8); exit";

#[test]
fn values_of_deleted_elements() {
    use MapType::*;
    for (kind, key_size) in
        [(Hash, 4), (Hash, 8), (LruHash, 4), (PercpuHash, 4), (LruPercpuHash, 4), (LpmTrie, 8)]
    {
        let read = |hygiene| run_on(hygiene, &map(kind, key_size), READ_DELETED);
        assert_eq!(read(Hygiene::Off).expect("it runs"), 77, "{kind:?}");
        assert_eq!(read(Hygiene::Zero).expect("it runs"), 0, "{kind:?}");
        let poisoned = read(Hygiene::Poison);
        assert!(is_unwritten(&poisoned), "{kind:?}: {poisoned:?}");
    }
}

/// Fills and empties a map many times: what is given out again can be read as soon as it is written.
#[test]
fn values_that_are_given_out_again() {
    use MapType::*;
    let text = "
        r7 = 20;
        again: r1 = r7; r1 <<= 32; r1 |= 32; *(u64 *)(r10 - 8) = r1; *(u64 *)(r10 - 24) = r7; *(u64 *)(r10 - 16) = r7;
        r1 = 1 ll; r2 = r10; r2 += -8; r3 = r10; r3 += -24; r4 = 0; call 2;
        r1 = 1 ll; r2 = r10; r2 += -8; call 1;
        if r0 != 0 goto found; r0 = 1; exit;
        found: r1 = *(u64 *)(r0 + 0); r0 = *(u64 *)(r0 + 8); if r0 == r1 goto same; r0 = 2; exit;
        same: r1 = 1 ll; r2 = r10; r2 += -8; call 3;
        r7 += -1; if r7 != 0 goto again; r0 = 0; exit";
    for kind in [Hash, LruHash, PercpuHash, LruPercpuHash, LpmTrie] {
        for hygiene in [Hygiene::Off, Hygiene::Zero, Hygiene::Poison] {
            assert_eq!(run_on(hygiene, &map(kind, 8), text).expect("it runs"), 0, "{kind:?} {hygiene:?}");
        }
    }
}

/// Arrays are zeros that count as written.
#[test]
fn values_of_arrays() {
    let text = "r1 = 2; *(u32 *)(r10 - 4) = r1; r1 = 1 ll; r2 = r10; r2 += -4; call 1;
                if r0 != 0 goto found; exit; found: r0 = *(u64 *)(r0 + 8); exit";
    for kind in [MapType::Array, MapType::PercpuArray] {
        for hygiene in [Hygiene::Off, Hygiene::Zero, Hygiene::Poison] {
            assert_eq!(run_on(hygiene, &map(kind, 4), text).expect("it runs"), 0, "{kind:?} {hygiene:?}");
        }
    }
}

#[test]
fn reserved_records() {
    let spec = MapSpec { map_type: MapType::Ringbuf.id(), max_entries: 4096, ..MapSpec::default() };
    // Once around, so that a record lies where another was.
    let text = "r7 = 600;
        again: r1 = 1 ll; r2 = 16; r3 = 0; call 131; if r0 != 0 goto got; goto done;
        got: r6 = r0; r1 = 99; *(u64 *)(r6 + 0) = r1; *(u64 *)(r6 + 8) = r1; r1 = r6; r2 = 0; call 133;
        r7 += -1; if r7 != 0 goto again;
        done: r0 = 0; exit";
    assert_eq!(run_on(Hygiene::Poison, &spec, text).expect("it runs"), 0);
    let text = "r1 = 1 ll; r2 = 16; r3 = 0; call 131; r6 = r0; r1 = 99; *(u64 *)(r6 + 0) = r1;
        r0 = *(u64 *)(r6 + 8); exit";
    assert_eq!(run_on(Hygiene::Zero, &spec, text).expect("it runs"), 0);
    assert!(is_unwritten(&run_on(Hygiene::Poison, &spec, text)));
}

#[test]
fn headroom_of_frames() {
    let run = |hygiene, text: &str, context: &mut dyn Context| {
        let vm = Vm::builder(Linux::new(World::default())).hygiene(hygiene).build().expect("memory");
        let slots = assemble(text, &()).expect("it is good").slots;
        let mut linked = Program::from_code("test", slots, ByteOrder::Little);
        linked.prog_type = Some(ProgType::Xdp);
        let program = vm.add(linked, &[]).expect("it loads");
        let mut process = vm.process(&program, 0).expect("a process");
        process.run_dyn(context, &mut mimic_vm::NoProbe).map(|outcome| outcome.r0)
    };
    let read = "r6 = r1; r2 = -8; call 44; r1 = *(u32 *)(r6 + 0); r0 = *(u64 *)(r1 + 0); exit";
    let write = "r6 = r1; r2 = -8; call 44; r1 = *(u32 *)(r6 + 0); r2 = 5; *(u64 *)(r1 + 0) = r2; r0 = *(u64 *)(r1 + 0); exit";
    for hygiene in [Hygiene::Off, Hygiene::Zero] {
        assert_eq!(run(hygiene, read, &mut XdpContext::packet([1; 60])).expect("it runs"), 0);
    }
    let poisoned = run(Hygiene::Poison, read, &mut XdpContext::packet([1; 60]));
    assert!(is_unwritten(&poisoned), "{poisoned:?}");
    assert_eq!(run(Hygiene::Poison, write, &mut XdpContext::packet([1; 60])).expect("it runs"), 5);
    // What the tail grows by is zeroed by the helper.
    let tail = "r6 = r1; r2 = 8; call 65; r1 = *(u32 *)(r6 + 4); r0 = *(u64 *)(r1 - 8); exit";
    assert_eq!(run(Hygiene::Poison, tail, &mut XdpContext::packet([1; 60])).expect("it runs"), 0);
}
