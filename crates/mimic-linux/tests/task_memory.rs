//! Tasks' memory, stacks and symbols, as helpers see them. Errnos are those of bpf-helpers(7) and of kernel/bpf/stackmap.c.

mod common;

use common::{assemble_with_kfuncs, linux, try_run, vm_in};
use mimic_abi::asm::assemble;
use mimic_abi::btf::{Btf, BtfBuilder, Field, IntEncoding};
use mimic_abi::{ByteOrder, MapType};
use mimic_linux::progs::{Branch, Counter, PerfEventContext};
use mimic_linux::{Effect, File, Ksym, Task, UserArea, World};
use mimic_object::{MapSpec, Program, Ref, RefTarget};
use mimic_vm::{MapRef, RawContext, Vm};
use std::sync::Arc;

const READ: u64 = 1;
const WRITE: u64 = 2;
const TEXT: u64 = 0x7f00_0000_0000;

fn world() -> World {
    let area = |start, len, flags, bytes: &[u8], file| UserArea {
        start,
        len,
        flags,
        bytes: bytes.into(),
        pgoff: 2,
        file,
    };
    let web = Task {
        pid: 5,
        tgid: 5,
        memory: vec![
            area(TEXT, 0x1000, READ, b"hello\0rest", 9),
            area(TEXT + 0x1000, 0x1000, READ | WRITE, b"more", 0),
            area(TEXT + 0x2000, 0x1000, 0, b"secret", 0),
        ],
        kernel_stack: vec![0xffff_ffff_8100_0010, 0xffff_ffff_8100_0104, 0xffff_ffff_8100_0230],
        user_stack: vec![TEXT + 0x10, 0x1234],
        ..Task::default()
    };
    World {
        tasks: vec![
            web,
            Task { pid: 6, tgid: 5, ..Task::default() },
            Task { pid: 2, tgid: 2, flags: 0x20_0000, ..Task::default() },
        ],
        current: vec![5, 6, 2],
        files: vec![File { id: 9, path: "/bin/web".into(), build_id: vec![0xab; 20], ..File::default() }],
        ksyms: [
            ("_text", 0xffff_ffff_8100_0000),
            ("do_it", 0xffff_ffff_8100_0100),
            ("__end", 0xffff_ffff_8100_0200),
        ]
        .map(|(name, addr): (_, u64)| Ksym { name: name.into(), addr })
        .into(),
        ..World::default()
    }
}

fn run(vm: &Arc<Vm>, cpu: u32, text: &str) -> i64 {
    let program = assemble_with_kfuncs(vm, text);
    try_run(vm, cpu, &program).unwrap_or_else(|fault| panic!("{text}: {fault}")) as i64
}

/// Reads 8 bytes at an address with a helper; answers its answer and, after success, the bytes instead.
fn read(vm: &Arc<Vm>, cpu: u32, helper: u32, addr: u64, len: u32) -> (i64, u64) {
    let text = |last: &str| {
        format!(
            "*(u64 *)(r10 - 8) = -1\nr1 = r10\nr1 += -8\nr2 = {len}\nlddw r3, {addr}\ncall {helper}\n{last}\nexit"
        )
    };
    (run(vm, cpu, &text("")), run(vm, cpu, &text("r0 = *(u64 *)(r10 - 8)")) as u64)
}

#[test]
fn user_memory_is_the_current_tasks() {
    let vm = vm_in(world());
    for helper in [4, 112, 148] {
        for cpu in [0, 1] {
            assert_eq!(read(&vm, cpu, helper, TEXT, 8), (0, u64::from_le_bytes(*b"hello\0re")), "{helper}");
        }
        // Over a border, beyond the bytes that are stated.
        assert_eq!(read(&vm, 0, helper, TEXT + 0xffc, 8), (0, u64::from_le_bytes(*b"\0\0\0\0more")));
        for addr in [TEXT - 4, TEXT + 0x1ffc, TEXT + 0x2000] {
            assert_eq!(read(&vm, 0, helper, addr, 8), (-14, 0), "{helper} {addr:#x}");
        }
        // A kernel thread has none.
        assert_eq!(read(&vm, 2, helper, TEXT, 8), (-14, 0));
    }
    assert_eq!(read(&vm, 0, 113, TEXT, 8), (-34, 0));
    assert_eq!(read(&vm, 0, 114, TEXT, 8), (6, 0xffff_006f_6c6c_6568));
    assert_eq!(read(&vm, 0, 114, TEXT, 4), (4, 0xffff_ffff_006c_6568));
}

#[test]
fn probe_write_user_changes_the_task() {
    let vm = vm_in(world());
    let write = |cpu: u32, addr: u64| {
        run(
            &vm,
            cpu,
            &format!("*(u64 *)(r10 - 8) = 7\nlddw r1, {addr}\nr2 = r10\nr2 += -8\nr3 = 8\ncall 36\nexit"),
        )
    };
    assert_eq!(write(0, TEXT + 0x1100), 0);
    assert_eq!(read(&vm, 1, 112, TEXT + 0x1100, 8), (0, 7));
    assert_eq!(write(1, TEXT), -14);
    assert_eq!(write(0, TEXT + 0x1ffc), -14);
    assert_eq!(write(2, TEXT + 0x1100), -1);
}

/// `get_stack` into 48 bytes below r10.
fn stack(vm: &Arc<Vm>, cpu: u32, size: u32, flags: u64, last: &str) -> i64 {
    let text = format!("r2 = r10\nr2 += -64\nr3 = {size}\nlddw r4, {flags}\ncall 67\n{last}\nexit");
    run(vm, cpu, &text)
}

#[test]
fn stacks_are_those_that_the_task_states() {
    let vm = vm_in(world());
    assert_eq!(stack(&vm, 0, 48, 0, ""), 24);
    assert_eq!(stack(&vm, 0, 48, 0, "r0 = *(u64 *)(r10 - 56)") as u64, 0xffff_ffff_8100_0104);
    assert_eq!(stack(&vm, 0, 48, 1, ""), 16);
    assert_eq!(stack(&vm, 0, 16, 0, ""), 16);
    assert_eq!(stack(&vm, 0, 48, 3, ""), 0);
    assert_eq!(stack(&vm, 0, 48, 4, ""), -14);
    assert_eq!(stack(&vm, 0, 48, 0x100, ""), 16);
    assert_eq!(stack(&vm, 2, 48, 0x100, ""), 0);
    for (size, flags) in [(44, 0), (48, 0x800), (48, 0x900), (48, 0x200), (48, 1 << 40)] {
        assert_eq!(stack(&vm, 0, size, flags, ""), -22, "{size} {flags:#x}");
    }
    // Status, the first bytes of the build id, and the offset in the file.
    assert_eq!(stack(&vm, 0, 64, 0x900, ""), 64);
    assert_eq!(stack(&vm, 0, 64, 0x900, "r0 = *(u64 *)(r10 - 64)") as u64, 0xabab_abab_0000_0001);
    assert_eq!(stack(&vm, 0, 64, 0x900, "r0 = *(u64 *)(r10 - 40)"), 0x2010);
    assert_eq!(stack(&vm, 0, 64, 0x900, "r0 = *(u64 *)(r10 - 32)"), 2);
}

fn with_map(vm: &Arc<Vm>, map: &Arc<MapRef>, cpu: u32, flags: u64) -> i64 {
    let text = format!("lddw r2, 0xffff\nlddw r3, {flags}\ncall 27\nexit");
    let code = assemble(&text, &()).expect("it assembles").slots;
    let refs = code.iter().enumerate().filter(|(_, insn)| insn.opcode == 0x18 && insn.imm == 0xffff);
    let refs = refs.map(|(pc, _)| Ref { pc: pc as u32, target: RefTarget::Map(0) }).collect();
    let linked = Program { refs, ..Program::from_code("test", code, ByteOrder::Little) };
    let program = vm.add(linked, std::slice::from_ref(map)).unwrap_or_else(|error| panic!("{error}"));
    let mut process = vm.process(&program, cpu).expect("memory");
    process.run(&mut RawContext::default()).unwrap_or_else(|error| panic!("{error}")).r0 as i64
}

#[test]
fn stack_ids_lead_to_traces() {
    let vm = vm_in(world());
    let spec = MapSpec {
        map_type: MapType::StackTrace.id(),
        key_size: 4,
        value_size: 16,
        max_entries: 1,
        ..MapSpec::default()
    };
    let map = vm.create_map(&spec).unwrap_or_else(|error| panic!("{error}"));
    let id = with_map(&vm, &map, 0, 0);
    assert_eq!(id, 0, "there is one bucket");
    assert_eq!(with_map(&vm, &map, 0, 0), 0);
    let value = map.lookup_copy(&[0; 4], 0).expect("it is there");
    assert_eq!(value, [0xffff_ffff_8100_0010u64, 0xffff_ffff_8100_0104].map(u64::to_le_bytes).concat());
    // Another trace in the same bucket; a new one needs room before the old one goes.
    assert_eq!(with_map(&vm, &map, 0, 2), -17);
    assert_eq!(with_map(&vm, &map, 0, 2 | 0x400), -12);
    assert_eq!(with_map(&vm, &map, 0, 3), -14);
    assert_eq!(with_map(&vm, &map, 0, 0x800), -22);
    assert_eq!(map.next_key(None), Ok(vec![0; 4]));
    assert!(map.next_key(Some(&[0; 4])).is_err());
    map.delete_key(&[0; 4]).expect("it is there");
    assert_eq!(with_map(&vm, &map, 0, 2), 0);
    assert_eq!(map.lookup_copy(&[0; 4], 0).expect("it is there")[8..], [0; 8]);
}

#[test]
fn symbols_by_address_and_name() {
    let vm = vm_in(world());
    // "%ps %pS %pB", one address of the middle symbol and one of its end.
    let print = |conversion: [u8; 3], addr: u64| {
        let fmt = u32::from_le_bytes([conversion[0], conversion[1], conversion[2], 0]);
        let text =
            format!("*(u32 *)(r10 - 8) = {fmt}\nr1 = r10\nr1 += -8\nr2 = 4\nlddw r3, {addr}\ncall 6\nexit");
        run(&vm, 0, &text);
        linux(&vm).take_trace().lines[0].message()
    };
    assert_eq!(print(*b"%ps", 0xffff_ffff_8100_0104), "do_it");
    assert_eq!(print(*b"%pS", 0xffff_ffff_8100_0104), "do_it+0x4/0x100");
    assert_eq!(print(*b"%pB", 0xffff_ffff_8100_0200), "do_it+0x100/0x100");
    assert_eq!(print(*b"%pS", 0xffff_ffff_8100_0200), "__end+0x0/0x1000");
    assert_eq!(print(*b"%ps", 0x1234), "0x1234");
    let lookup = |name: &[u8; 8], flags: u64, last: &str| {
        let (low, high) = name.split_at(4);
        let word = |half: &[u8]| i32::from_le_bytes(half.try_into().expect("4"));
        let text = format!(
            "*(u32 *)(r10 - 16) = {}\n*(u32 *)(r10 - 12) = {}\nr1 = r10\nr1 += -16\nr2 = 6\nr3 = {flags}\n\
             r4 = r10\nr4 += -8\ncall 179\n{last}\nexit",
            word(low),
            word(high)
        );
        run(&vm, 0, &text)
    };
    assert_eq!(lookup(b"do_it\0\0\0", 0, ""), 0);
    assert_eq!(lookup(b"do_it\0\0\0", 0, "r0 = *(u64 *)(r10 - 8)") as u64, 0xffff_ffff_8100_0100);
    assert_eq!(lookup(b"do_at\0\0\0", 0, ""), -2);
    assert_eq!(lookup(b"do_itx\0\0", 0, ""), -22);
    assert_eq!(lookup(b"do_it\0\0\0", 1, ""), -22);
}

#[test]
fn signals_are_noted() {
    let vm = vm_in(world());
    let send =
        |cpu: u32, helper: u32, signal: u64| run(&vm, cpu, &format!("r1 = {signal}\ncall {helper}\nexit"));
    assert_eq!((send(1, 109, 10), send(1, 117, 12), send(1, 109, 0)), (0, 0, 0));
    assert_eq!((send(1, 109, 65), send(2, 109, 10)), (-22, -1));
    let signal = |pid, signal, thread| Effect::Signal { pid, signal, thread };
    assert_eq!(linux(&vm).take_effects(), [signal(5, 10, false), signal(6, 12, true)]);
    assert_eq!(linux(&vm).take_effects(), []);
}

#[test]
fn registers_and_areas_are_kernel_objects() {
    let vm = vm_in(world());
    let mut btf = BtfBuilder::new();
    let long = btf.int("long", 8, IntEncoding::default());
    btf.structure("task_struct", 8, [Field::new("pid", long, 0)]);
    btf.structure("vm_area_struct", 16, [Field::new("vm_start", long, 0), Field::new("vm_end", long, 64)]);
    btf.structure("pt_regs", 8, [Field::new("ip", long, 0)]);
    let btf = btf.to_bytes(ByteOrder::Little).expect("small");
    linux(&vm).offer_btf(&Arc::new(Btf::parse(btf).expect("well-formed")));
    let regs = "call 158\nr1 = r0\ncall 175\nr0 = *(u64 *)(r0 + 0)\nexit";
    assert_eq!(run(&vm, 0, regs) as u64, TEXT + 0x10);
    // The callback writes where the area begins into what its context points at.
    let find = |addr: u64, flags: u64, last: &str| {
        let main = format!(
            "call 158\nr1 = r0\nlddw r2, {addr}\nlddw r3, 0xfffe\nr4 = r10\nr4 += -8\nr5 = {flags}\ncall 180\n{last}\nexit"
        );
        let func = "r0 = *(u64 *)(r2 + 0)\n*(u64 *)(r3 + 0) = r0\nr0 = 0\nexit";
        let main_len = assemble(&main, &()).expect("it assembles").slots.len() as u32;
        let code = assemble(&format!("{main}\n{func}"), &()).expect("it assembles").slots;
        let at = code.iter().position(|insn| insn.opcode == 0x18 && insn.imm == 0xfffe).expect("it is there");
        let refs = vec![Ref { pc: at as u32, target: RefTarget::Func(main_len) }];
        let program = vm.add(Program { refs, ..Program::from_code("test", code, ByteOrder::Little) }, &[]);
        let program = program.unwrap_or_else(|error| panic!("{error}"));
        try_run(&vm, 1, &program).unwrap_or_else(|fault| panic!("{fault}")) as i64
    };
    assert_eq!(find(TEXT + 0x1800, 0, ""), 0);
    assert_eq!(find(TEXT + 0x1800, 0, "r0 = *(u64 *)(r10 - 8)") as u64, TEXT + 0x1000);
    assert_eq!(find(TEXT - 1, 0, ""), -2);
    assert_eq!(find(TEXT, 1, ""), -22);
}

/// Offsets as in `registers_and_areas_are_kernel_objects`.
#[test]
fn open_coded_iterators_go_over_tasks_and_areas() {
    let vm = vm_in(world());
    let mut btf = BtfBuilder::new();
    let long = btf.int("long", 8, IntEncoding::default());
    btf.structure("task_struct", 8, [Field::new("pid", long, 0)]);
    btf.structure("vm_area_struct", 16, [Field::new("vm_start", long, 0), Field::new("vm_end", long, 64)]);
    let btf = btf.to_bytes(ByteOrder::Little).expect("small");
    linux(&vm).offer_btf(&Arc::new(Btf::parse(btf).expect("well-formed")));
    // The sum of the first words of all objects, each times ten of what came before.
    let sum = |kind: &str, second: &str, third: u64, cpu: u32| {
        let text = format!(
            "call 158
            r6 = r0
            r7 = 0
            r1 = r10
            r1 += -24
            r2 = {second}
            lddw r3, {third}
            call bpf_iter_{kind}_new
            r8 = r0
            next:
            r1 = r10
            r1 += -24
            call bpf_iter_{kind}_next
            if r0 == 0 goto done
            r1 = *(u64 *)(r0 + 0)
            r7 *= 10
            r7 += r1
            goto next
            done:
            r1 = r10
            r1 += -24
            call bpf_iter_{kind}_destroy
            r0 = r7
            if r8 == 0 goto out
            r0 = r8
            out:
            exit"
        );
        run(&vm, cpu, &text)
    };
    assert_eq!(sum("task", "0", 0, 0), 25);
    assert_eq!(sum("task", "0", 1, 0), 256);
    assert_eq!(sum("task", "r6", 2, 1), 6);
    assert_eq!(sum("task", "0", 2, 0), -22);
    assert_eq!(sum("task", "0", 3, 0), -22);
    let start = TEXT as i64;
    assert_eq!(sum("task_vma", "r6", TEXT + 0x1fff, 0), (start + 0x1000) * 10 + start + 0x2000);
    assert_eq!(sum("task_vma", "r6", 0, 2), -2);
}

#[test]
fn counters_and_branches_of_a_perf_event() {
    let branches = vec![Branch { from: 1, to: 2, flags: 3 }, Branch { from: 4, to: 5, flags: 6 }];
    let vm = vm_in(World { branches: branches.clone(), ..World::default() });
    let run = |text: &str, branches: Option<Vec<Branch>>| {
        let code = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
        let program = vm.add(Program::from_code("test", code, ByteOrder::Little), &[]);
        let program = program.unwrap_or_else(|error| panic!("{error}"));
        let mut context = PerfEventContext { sample_period: 0x1122, addr: 9, branches, ..Default::default() };
        context.regs[16] = 0x8100;
        context.counter = Counter { counter: 10, enabled_ns: 20, running_ns: 30 };
        let mut process = vm.process(&program, 0).expect("memory");
        process.run(&mut context).unwrap_or_else(|error| panic!("{text}: {error}")).r0 as i64
    };
    assert_eq!(run("r0 = *(u64 *)(r1 + 128); exit", None), 0x8100);
    assert_eq!(run("r0 = *(u8 *)(r1 + 168); r2 = *(u64 *)(r1 + 176); r0 += r2; exit", None), 0x22 + 9);
    let value = |size: u32, last: &str| {
        run(&format!("r2 = r10\nr2 += -24\nr3 = {size}\ncall 56\n{last}\nexit"), None)
    };
    assert_eq!((value(24, ""), value(24, "r0 = *(u64 *)(r10 - 8)"), value(16, "")), (0, 30, -22));
    let records = |buf: &str, size: u32, flags: u32, branches: Option<&Vec<Branch>>| {
        let text = format!("r2 = {buf}\nr2 += -48\nr3 = {size}\nr4 = {flags}\ncall 119\nexit");
        run(&text, branches.cloned())
    };
    let some = Some(&branches);
    assert_eq!(records("r10", 48, 0, some), 48);
    assert_eq!(records("r10", 24, 0, some), 24);
    assert_eq!(
        (records("r10", 40, 0, some), records("r10", 48, 2, some), records("r10", 48, 0, None)),
        (-22, -22, -2)
    );
    assert_eq!(records("48", 0, 1, some), 48);
    assert_eq!(run("r1 = r10; r1 += -48; r2 = 48; r3 = 0; call 176; r0 = *(u64 *)(r10 - 8); exit", None), 6);
}
