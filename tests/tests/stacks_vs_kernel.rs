//! Stack traces, signals, counters and branches against the real kernel: not what is on a stack, which no world can know, but what is
//! refused, how maps of traces are made, and what users may do with them.
#![cfg(target_os = "linux")]

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, MapType, ProgType, RawInsn};
use mimic_linux::{Linux, Task, World};
use mimic_object::{MapSpec, Program, Ref, RefTarget};
use mimic_tests::kernel::{Kernel, Map, MapAttr, Prog, ProgAttr, TestRunAttr};
use mimic_vm::{MapRef, RawContext, Vm};
use std::os::fd::AsRawFd;
use std::sync::Arc;

fn vm() -> Arc<Vm> {
    // Kernel and user frames, as whoever calls bpf(2) has them.
    let task = Task { kernel_stack: vec![7; 20], user_stack: vec![8; 20], ..Task::default() };
    let world = World { tasks: vec![task], ..World::default() };
    Vm::builder(Linux::new(world)).build().expect("address space")
}

fn make(vm: &Arc<Vm>, spec: &MapSpec) -> (Result<Map, i32>, Result<Arc<MapRef>, i32>) {
    let attr = MapAttr {
        map_type: spec.map_type,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        map_flags: spec.map_flags,
        ..MapAttr::default()
    };
    (Map::create(&attr).map_err(|errno| errno.0), vm.create_map(spec).map_err(|error| error.errno.0))
}

fn stack_map(value_size: u32, max_entries: u32, map_flags: u32) -> MapSpec {
    MapSpec {
        map_type: MapType::StackTrace.id(),
        key_size: 4,
        value_size,
        max_entries,
        map_flags,
        ..MapSpec::default()
    }
}

/// Runs a raw tracepoint program in both; `lddw rN, 0xffff` is the map. Answers both r0.
fn run(vm: &Arc<Vm>, kernel: &Map, ours: &Arc<MapRef>, text: &str) -> [i32; 2] {
    let slots = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let with_map = |insn: &RawInsn| match (insn.opcode, insn.imm) {
        (0x18, 0xffff) => RawInsn { src: 1, imm: kernel.as_raw_fd(), ..*insn },
        _ => *insn,
    };
    let insns: Vec<u8> = slots.iter().flat_map(|insn| with_map(insn).to_bytes(ByteOrder::NATIVE)).collect();
    let prog_type = ProgType::RawTracepoint;
    let attr = ProgAttr { prog_type: prog_type.id(), insns: &insns, license: "GPL", ..ProgAttr::default() };
    let prog = Prog::load_or_explain(&attr).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let answer = prog.test_run(&TestRunAttr::default());
    assert_eq!(answer.errno, 0);
    let refs = slots.iter().enumerate().filter(|(_, insn)| insn.opcode == 0x18 && insn.imm == 0xffff);
    let refs = refs.map(|(pc, _)| Ref { pc: pc as u32, target: RefTarget::Map(0) }).collect();
    let mut linked = Program { refs, ..Program::from_code("test", slots, ByteOrder::NATIVE) };
    linked.prog_type = Some(prog_type);
    let program = vm.add(linked, std::slice::from_ref(ours)).unwrap_or_else(|error| panic!("{error}"));
    let mut process = vm.process(&program, 0).expect("memory");
    let r0 = process.run(&mut RawContext::default()).unwrap_or_else(|error| panic!("{text}: {error}")).r0;
    vm.remove_program(program.id());
    [answer.retval as i32, r0 as i32]
}

#[test]
fn maps_of_traces_are_made_and_used_alike() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    let vm = vm();
    let mut differences = Vec::new();
    for value_size in [0, 4, 8, 12, 16, 32, 40, 8 * 127, 8 * 128, 32 * 127, 32 * 128] {
        for (max_entries, map_flags) in
            [(1, 0), (3, 0), (0, 0), (1, 1 << 5), (1, 1 << 3), (1, 1 << 6), (1, 1)]
        {
            let spec = stack_map(value_size, max_entries, map_flags);
            let (theirs, ours) = make(&vm, &spec);
            let (theirs, ours) = (theirs.map(drop), ours.map(|map| drop(vm.remove_map(map.id))));
            if theirs != ours {
                differences
                    .push(format!("{value_size} x {max_entries}, {map_flags:#x}: {theirs:?}, {ours:?}"));
            }
        }
    }
    let (theirs, ours) = make(&vm, &stack_map(80, 4, 0));
    let (theirs, ours) = (theirs.expect("it is good"), ours.expect("it is good"));
    let keys = [0u32, 1, 3, 4, u32::MAX];
    for key in keys.map(u32::to_ne_bytes) {
        let value = [1; 80];
        let theirs = [
            theirs.lookup(&key).map(|_| ()),
            theirs.update(&key, &value, 0),
            theirs.delete(&key),
            theirs.next_key(Some(&key)).map(|_| ()),
        ];
        let ours = [
            ours.lookup_copy(&key, 0).map(|_| ()),
            ours.update_copy(&key, &value, 0),
            ours.delete_key(&key),
            ours.next_key(Some(&key)).map(|_| ()),
        ];
        if theirs != ours {
            differences.push(format!("key {key:?}: {theirs:?}, {ours:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn helpers_refuse_alike() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    let vm = vm();
    let (theirs, ours) = make(&vm, &stack_map(80, 64, 0));
    let (theirs, ours) = (theirs.expect("it is good"), ours.expect("it is good"));
    let events = MapSpec { map_type: 4, key_size: 4, value_size: 4, max_entries: 2, ..MapSpec::default() };
    let (their_events, our_events) = make(&vm, &events);
    let (their_events, our_events) = (their_events.expect("it is good"), our_events.expect("it is good"));
    let mut differences = Vec::new();
    let mut compare = |what: String, [theirs, ours]: [i32; 2]| {
        // How much there is, and under which id, is the stack's own.
        if theirs.min(0) != ours.min(0) {
            differences.push(format!("{what}: kernel {theirs}, mimic {ours}"));
        }
    };
    let flags = [0u64, 1, 0xff, 0x100, 0x1ff, 0x200, 0x400, 0x800, 0x900, 0x1000, 1 << 40];
    for flags in flags {
        let text = format!("lddw r2, 0xffff\nlddw r3, {flags}\ncall 27\nexit");
        compare(format!("stackid {flags:#x}"), run(&vm, &theirs, &ours, &text));
        for size in [0, 4, 8, 32, 40, 64] {
            let text = format!("r2 = r10\nr2 += -64\nr3 = {size}\nlddw r4, {flags}\ncall 67\nexit");
            compare(format!("stack {size} {flags:#x}"), run(&vm, &theirs, &ours, &text));
        }
    }
    for flags in [0u64, 1, 2, 3, 0xffff_fffe, 0xffff_ffff, 1 << 32] {
        let text = format!("lddw r1, 0xffff\nlddw r2, {flags}\ncall 22\nexit");
        compare(format!("perf_event_read {flags:#x}"), run(&vm, &their_events, &our_events, &text));
        for size in [8, 24, 32] {
            let text =
                format!("lddw r1, 0xffff\nlddw r2, {flags}\nr3 = r10\nr3 += -32\nr4 = {size}\ncall 55\nexit");
            compare(format!("read_value {flags:#x} {size}"), run(&vm, &their_events, &our_events, &text));
        }
    }
    for signal in [0u64, 65, 1000, 0xffff_ffff] {
        for helper in [109, 117] {
            let text = format!("lddw r1, {signal}\ncall {helper}\nexit");
            compare(format!("signal {signal}"), run(&vm, &theirs, &ours, &text));
        }
    }
    for (size, flags) in [(48, 1u64), (24, 1 << 33)] {
        let text = format!("r1 = r10\nr1 += -48\nr2 = {size}\nlddw r3, {flags}\ncall 176\nexit");
        compare(format!("snapshot {size} {flags:#x}"), run(&vm, &theirs, &ours, &text));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
