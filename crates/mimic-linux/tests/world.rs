//! Helpers that depend on the world: clocks, timers, locks, random numbers, trace output, tasks.

use mimic_abi::asm::assemble;
use mimic_abi::btf::{Btf, BtfBuilder, Field, IntEncoding};
use mimic_abi::{ByteOrder, Errno, MapType};
use mimic_linux::{ClockSpec, Linux, TIMER_CALLS_MAX, Task, TraceLimits, World, kfuncs};
use mimic_object::{FieldKind, MapField, MapSpec, Program, Ref, RefTarget};
use mimic_vm::{Fault, LoadedProgram, MapRef, RawContext, RunError, Vm};
use std::collections::BTreeSet;
use std::sync::Arc;

const SECOND_NS: u64 = 1_000_000_000;

fn vm_in(world: World) -> Arc<Vm> {
    Vm::builder(Linux::new(world)).cpus(4).build().expect("address space")
}

fn linux(vm: &Vm) -> &Linux {
    vm.emulator_as().expect("it is Linux")
}

fn map(vm: &Vm, kind: MapType, value_size: u32) -> Arc<MapRef> {
    let spec = MapSpec { map_type: kind.id(), key_size: 4, value_size, max_entries: 4, ..MapSpec::default() };
    vm.create_map(&spec).unwrap_or_else(|error| panic!("{error}"))
}

/// A program. `lddw rN, 0x<index>ffff` becomes the address of a map, `0x<slot>fffe` that of a function.
fn program(vm: &Arc<Vm>, text: &str, maps: &[Arc<MapRef>]) -> Arc<LoadedProgram> {
    let code = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let target = |insn: &mimic_abi::RawInsn| match insn.imm & 0xffff {
        0xffff if insn.opcode == 0x18 => Some(RefTarget::Map((insn.imm >> 16) as usize)),
        0xfffe if insn.opcode == 0x18 => Some(RefTarget::Func((insn.imm >> 16) as u32)),
        _ => None,
    };
    let refs =
        code.iter().enumerate().filter_map(|(pc, insn)| Some(Ref { pc: pc as u32, target: target(insn)? }));
    let refs = refs.collect();
    vm.add(Program { refs, ..Program::from_code("test", code.clone(), ByteOrder::Little) }, maps)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn try_run(vm: &Arc<Vm>, cpu: u32, program: &Arc<LoadedProgram>) -> Result<u64, Box<Fault>> {
    let mut process = vm.process(program, cpu).expect("memory");
    match process.run(&mut RawContext::default()) {
        Ok(outcome) => Ok(outcome.r0),
        Err(RunError::Fault(fault)) => Err(fault),
        Err(error) => panic!("{error}"),
    }
}

fn run(vm: &Arc<Vm>, text: &str, maps: &[Arc<MapRef>]) -> u64 {
    try_run(vm, 0, &program(vm, text, maps)).unwrap_or_else(|fault| panic!("{fault}"))
}

fn value(map: &MapRef, key: u32) -> u64 {
    let bytes = map.lookup_copy(&key.to_le_bytes(), 0).expect("it is there");
    u64::from_le_bytes(*bytes.first_chunk().expect("8 bytes"))
}

/// r6 = the address of the value of key 1.
const FIND: &str = "
    *(u32 *)(r10 - 4) = 1
    r1 = 0xffff ll
    r2 = r10
    r2 += -4
    call 1
    if r0 != 0 goto +2
    r0 = -1
    exit
    r6 = r0
";

#[test]
fn clocks_stand_where_the_world_says() {
    let clock = ClockSpec {
        start_ns: 10 * SECOND_NS + 7,
        suspended_ns: 3 * SECOND_NS,
        epoch_ns: 1000 * SECOND_NS,
        tai_offset_ns: 37 * SECOND_NS,
        hz: 100,
        ..ClockSpec::default()
    };
    let vm = vm_in(World { clock, ..World::default() });
    let read = |helper: u32| run(&vm, &format!("call {helper}\nexit"), &[]);
    assert_eq!(read(5), 10 * SECOND_NS + 7);
    assert_eq!(read(125), 13 * SECOND_NS + 7);
    assert_eq!(read(160), 10 * SECOND_NS);
    assert_eq!(read(208), 1047 * SECOND_NS + 7);
    assert_eq!(read(118), (1 << 32) - 300 * 100 + 1000);
    linux(&vm).clock().set_ns(20 * SECOND_NS);
    assert_eq!(read(5), 20 * SECOND_NS);
}

#[test]
fn readings_move_the_clock_if_asked_to() {
    let clock = ClockSpec { start_ns: 5, step_ns: 10, ..ClockSpec::default() };
    let vm = vm_in(World { clock, ..World::default() });
    assert_eq!(run(&vm, "call 5\nr6 = r0\ncall 5\nr0 -= r6\nexit", &[]), 10);
    assert_eq!(linux(&vm).clock().now_ns(), 25);
}

#[test]
fn random_numbers_repeat_on_each_cpu() {
    let numbers = |cpu, seed| {
        let vm = vm_in(World::with_seed(seed));
        // What another CPU draws in between changes nothing.
        let program = program(&vm, "call 7\nexit", &[]);
        (0..4)
            .map(|_| {
                try_run(&vm, cpu + 1, &program).expect("it runs");
                try_run(&vm, cpu, &program).expect("it runs")
            })
            .collect::<Vec<u64>>()
    };
    assert_eq!(numbers(0, 1), numbers(0, 1));
    assert_ne!(numbers(0, 1), numbers(1, 1));
    assert_ne!(numbers(0, 1), numbers(0, 2));
    assert!(numbers(2, 9).iter().all(|number| *number <= u64::from(u32::MAX)));
    assert_eq!(numbers(2, 9).into_iter().collect::<BTreeSet<_>>().len(), 4);
}

#[test]
fn the_current_task_is_the_worlds() {
    let web = Task {
        pid: 7,
        tgid: 5,
        uid: 33,
        gid: 44,
        comm: "a-name-of-more-than-15-bytes".into(),
        ..Task::default()
    };
    let vm = vm_in(World { tasks: vec![web], ..World::default() });
    assert_eq!(run(&vm, "call 14\nexit", &[]), 5 << 32 | 7);
    assert_eq!(run(&vm, "call 15\nexit", &[]), 44 << 32 | 33);
    let comm = |len: u32, off: i32| {
        let text = format!("r1 = r10\nr1 += -24\nr2 = {len}\ncall 16\nr0 = *(u64 *)(r10 - {off})\nexit");
        run(&vm, &text, &[]).to_le_bytes()
    };
    assert_eq!(&comm(24, 24), b"a-name-o");
    assert_eq!(&comm(24, 16), b"f-more-\0");
    assert_eq!(&comm(24, 8), &[0; 8]);
    assert_eq!(&comm(5, 24)[..5], b"a-na\0");
    linux(&vm).set_task(2, Task { pid: 99, tgid: 99, ..Task::default() });
    let ids = program(&vm, "call 14\nexit", &[]);
    assert_eq!(try_run(&vm, 2, &ids).expect("it runs"), 99 << 32 | 99);
    assert_eq!(try_run(&vm, 1, &ids).expect("it runs"), 5 << 32 | 7);
}

const PRINT: &str = "
    r1 = 0x2c642520726f66 ll
    *(u64 *)(r10 - 8) = r1
    r1 = r10
    r1 += -8
    r2 = 8
    r3 = 42
    call 6
    exit
";

#[test]
fn trace_output_has_a_limit() {
    let vm = vm_in(World { trace: TraceLimits { lines_max: 3, bytes_max: 17 }, ..World::default() });
    for _ in 0..5 {
        assert_eq!(run(&vm, PRINT, &[]), 7);
    }
    let trace = linux(&vm).take_trace();
    assert_eq!((trace.lines.len(), trace.dropped), (2, 3));
    assert_eq!(trace.lines[0].message(), "for 42,");
    let line = trace.lines[0].to_string();
    assert_eq!(line, "           mimic-1000    [000]     1.000000: bpf_trace_printk: for 42,");
    run(&vm, PRINT, &[]);
    assert_eq!(linux(&vm).take_trace().lines.len(), 1);
}

fn lock_spec() -> MapSpec {
    let field = MapField { kind: FieldKind::SpinLock, off: 8, len: 4 };
    MapSpec {
        map_type: 2,
        key_size: 4,
        value_size: 16,
        max_entries: 2,
        fields: vec![field],
        ..MapSpec::default()
    }
}

const LOCK: &str = "r1 = r6\nr1 += 8\ncall 93\n";
const UNLOCK: &str = "r1 = r6\nr1 += 8\ncall 94\n";

#[test]
fn a_lock_makes_counting_exact() {
    let vm = vm_in(World::default());
    let map = vm.create_map(&lock_spec()).expect("valid");
    let count = "r1 = *(u64 *)(r6 + 0)\nr1 += 1\n*(u64 *)(r6 + 0) = r1\n";
    let counter =
        program(&vm, &format!("{FIND}{LOCK}{count}{UNLOCK}r0 = 0\nexit"), std::slice::from_ref(&map));
    std::thread::scope(|scope| {
        for cpu in 0..4 {
            let (vm, counter) = (&vm, &counter);
            scope.spawn(move || {
                let mut process = vm.process(counter, cpu).expect("memory");
                for _ in 0..5_000 {
                    process.run(&mut RawContext::default()).expect("it runs");
                }
            });
        }
    });
    assert_eq!(value(&map, 1), 20_000);
    assert_eq!(map.lookup_copy(&1u32.to_le_bytes(), 4).expect("under the lock")[8..], [0; 8]);
}

#[test]
fn locks_that_would_never_be_free_are_faults() {
    let vm = vm_in(World::default());
    let maps = [vm.create_map(&lock_spec()).expect("valid")];
    let fault = |text: String| try_run(&vm, 0, &program(&vm, &text, &maps)).expect_err("a fault").to_string();
    let twice = fault(format!("{FIND}{LOCK}{LOCK}exit"));
    assert!(twice.contains("already taken, by pc 12 of test") && twice.contains("(pc 15 of test"), "{twice}");
    let kept = fault(format!("{FIND}{LOCK}r0 = 0\nexit"));
    assert!(kept.contains("still taken, by pc 12 of test"), "{kept}");
    let foreign = fault(format!("{FIND}{UNLOCK}exit"));
    assert!(foreign.contains("not this program's"), "{foreign}");
    // None of them left the lock taken behind.
    assert_eq!(run(&vm, &format!("{FIND}{LOCK}{UNLOCK}r0 = 0\nexit"), &maps), 0);
}

/// Starts the timer at value + 8 of key 1, of map 0: `clock`, `ns`, `flags`. Its callback adds 1 to the value, and does `more`.
fn timer(clock: u32, ns: &str, flags: u32, more: &str) -> String {
    let start = format!(
        "{FIND}
        r1 = r6
        r1 += 8
        r2 = 0xffff ll
        r3 = {clock}
        call 169
        r1 = r6
        r1 += 8
        r2 = @func ll
        call 170
        r1 = r6
        r1 += 8
        r2 = {ns} ll
        r3 = {flags}
        call 171
        exit
        "
    );
    let slots = assemble(&start.replace("@func", "0"), &()).expect("valid").slots.len();
    let start = start.replace("@func", &format!("{:#x}", slots << 16 | 0xfffe));
    format!(
        "{start}
        r6 = r3
        r1 = *(u64 *)(r6 + 0)
        r1 += 1
        *(u64 *)(r6 + 0) = r1
        r7 = *(u32 *)(r2 + 0)
        *(u64 *)(r6 + 24) = r7
        {more}
        r0 = 0
        exit"
    )
}

const VALUE_LEN: u32 = 32;

#[test]
fn timers_run_when_the_clock_gets_there() {
    for kind in [MapType::Array, MapType::Hash] {
        let vm = vm_in(World::default());
        let map = map(&vm, kind, VALUE_LEN);
        map.update_copy(&1u32.to_le_bytes(), &[0; VALUE_LEN as usize], 0).expect("room");
        assert_eq!(run(&vm, &timer(1, "5000000000", 0, ""), std::slice::from_ref(&map)), 0);
        let linux = linux(&vm);
        assert_eq!(linux.advance_to(&vm, 6 * SECOND_NS - 1).expect("no fault"), 0);
        assert_eq!(value(&map, 1), 0);
        assert_eq!(linux.advance_to(&vm, 60 * SECOND_NS).expect("no fault"), 1);
        let bytes = map.lookup_copy(&1u32.to_le_bytes(), 0).expect("it is there");
        assert_eq!((bytes[0], bytes[24]), (1, 1), "called once, with the key");
        assert_eq!(linux.clock().now_ns(), 60 * SECOND_NS);
        assert_eq!(linux.advance_to(&vm, 600 * SECOND_NS).expect("no fault"), 0);
    }
}

#[test]
fn absolute_times_are_on_the_timers_clock() {
    let clock = ClockSpec { start_ns: 0, suspended_ns: 50, epoch_ns: 1000, ..ClockSpec::default() };
    for (number, at_ns) in [(0, 2000 - 1000), (1, 2000), (7, 2000 - 50)] {
        let vm = vm_in(World { clock: clock.clone(), ..World::default() });
        let map = map(&vm, MapType::Array, VALUE_LEN);
        assert_eq!(run(&vm, &timer(number, "2000", 1, ""), &[map]), 0);
        assert_eq!(linux(&vm).advance_to(&vm, at_ns - 1).expect("no fault"), 0, "clock {number}");
        assert_eq!(linux(&vm).advance_to(&vm, at_ns).expect("no fault"), 1, "clock {number}");
    }
}

#[test]
fn an_element_takes_its_timer_along() {
    let vm = vm_in(World::default());
    let map = map(&vm, MapType::Hash, VALUE_LEN);
    let key = 1u32.to_le_bytes();
    map.update_copy(&key, &[0; VALUE_LEN as usize], 0).expect("room");
    let start = timer(1, "1000", 0, "");
    assert_eq!(run(&vm, &start, std::slice::from_ref(&map)), 0);
    map.delete_key(&key).expect("it was there");
    map.update_copy(&key, &[0; VALUE_LEN as usize], 0).expect("room");
    assert_eq!(linux(&vm).advance_to(&vm, 2 * SECOND_NS).expect("no fault"), 0);
    // It can be initialised again.
    assert_eq!(run(&vm, &start, std::slice::from_ref(&map)), 0);
    assert_eq!(linux(&vm).advance_to(&vm, 3 * SECOND_NS).expect("no fault"), 1);
}

#[test]
fn a_timer_may_start_itself_again_but_not_for_ever() {
    let again = |ns: u32| format!("r1 = r6\nr1 += 8\nr2 = {ns}\nr3 = 0\ncall 171");
    let vm = vm_in(World::default());
    let map = map(&vm, MapType::Array, VALUE_LEN);
    assert_eq!(run(&vm, &timer(1, "100", 0, &again(100)), std::slice::from_ref(&map)), 0);
    assert_eq!(linux(&vm).advance_to(&vm, SECOND_NS + 1050).expect("no fault"), 10);
    assert_eq!(value(&map, 1), 10);

    let vm = vm_in(World::default());
    assert_eq!(run(&vm, &timer(1, "100", 0, &again(0)), &[self::map(&vm, MapType::Array, VALUE_LEN)]), 0);
    let error = linux(&vm).advance_to(&vm, 2 * SECOND_NS).expect_err("it never ends");
    assert!(error.to_string().contains(&format!("TIMER_CALLS_MAX of {TIMER_CALLS_MAX}")), "{error}");
}

#[test]
fn a_timer_cannot_cancel_itself() {
    let vm = vm_in(World::default());
    let map = map(&vm, MapType::Array, VALUE_LEN);
    let cancel = "r1 = r6\nr1 += 8\ncall 172\n*(u64 *)(r6 + 24) = r0";
    assert_eq!(run(&vm, &timer(1, "100", 0, cancel), std::slice::from_ref(&map)), 0);
    assert_eq!(linux(&vm).advance_to(&vm, 2 * SECOND_NS).expect("no fault"), 1);
    let bytes = map.lookup_copy(&1u32.to_le_bytes(), 0).expect("it is there");
    assert_eq!(bytes[24..], Errno::EDEADLK.to_r0().to_le_bytes());
}

#[test]
fn a_fault_in_a_timer_is_told() {
    let vm = vm_in(World::default());
    let map = map(&vm, MapType::Array, VALUE_LEN);
    assert_eq!(run(&vm, &timer(1, "100", 0, "r1 = 0\nr1 = *(u8 *)(r1 + 0)"), &[map]), 0);
    let error = linux(&vm).advance_to(&vm, 2 * SECOND_NS).expect_err("a fault").to_string();
    assert!(error.contains("NULL"), "{error}");
    assert_eq!(linux(&vm).advance_to(&vm, 2 * SECOND_NS).expect("it is over"), 0);
}

#[test]
fn kfuncs_have_names_of_their_own() {
    let mut names = BTreeSet::new();
    for row in kfuncs::all() {
        assert!(names.insert(row.spec.name), "{} is there twice", row.spec.name);
        assert_eq!(row.spec.id, 0, "{}", row.spec.name);
        assert!(row.spec.args.len() <= 5 && row.spec.name.starts_with("bpf_"), "{}", row.spec.name);
        assert_eq!(kfuncs::by_name(row.spec.name).map(|row| row.spec.name), Some(row.spec.name));
    }
    assert!(kfuncs::by_name("bpf_no_such_thing").is_none());
}

/// A program reads the current task's structure where the kernel's types say.
#[test]
fn the_current_task_is_a_structure() {
    let pid_at = 4;
    let mut btf = BtfBuilder::new();
    let int = btf.int("int", 4, IntEncoding::default());
    btf.structure("task_struct", 16, [Field::new("tgid", int, 0), Field::new("pid", int, pid_at * 8)]);
    let btf = btf.to_bytes(ByteOrder::Little).expect("small");
    let btf = Arc::new(Btf::parse(btf).expect("well-formed"));
    let vm = vm_in(World { tasks: vec![Task { pid: 7, tgid: 5, ..Task::default() }], ..World::default() });
    let read = program(&vm, "call 35\nr0 = *(u32 *)(r0 + 4)\nexit", &[]);
    linux(&vm).offer_btf(&btf);
    assert_eq!(try_run(&vm, 0, &read).expect("it runs"), 7);
    linux(&vm).set_task(0, Task { pid: 8, ..Task::default() });
    assert_eq!(try_run(&vm, 0, &read).expect("it runs"), 8);
    let beyond = program(&vm, "call 35\nr0 = *(u32 *)(r0 + 16)\nexit", &[]);
    assert!(try_run(&vm, 0, &beyond).is_err());
    let write = program(&vm, "call 35\n*(u32 *)(r0 + 0) = 1\nexit", &[]);
    assert!(try_run(&vm, 0, &write).is_err());
}

/// What a string kfunc answers for texts on the stack, `a` at r10-64 and `b` at r10-32, and a third argument.
fn string_kfunc(name: &str, a: &str, b: Option<&str>, third: u64) -> i32 {
    let store = |text: &str, at: i64| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(32, 0);
        let words = bytes.as_chunks::<8>().0.iter().zip((at..).step_by(8));
        words
            .map(|(word, at)| {
                format!("r1 = {:#x} ll\n*(u64 *)(r10 - {}) = r1\n", u64::from_le_bytes(*word), -at)
            })
            .collect::<String>()
    };
    let second = if b.is_some() { "r2 = r10\nr2 += -32\n".into() } else { format!("r2 = {third}\n") };
    let text = format!(
        "{}{}r1 = r10\nr1 += -64\n{second}r3 = {third}\ncall 1\nexit",
        store(a, -64),
        store(b.unwrap_or_default(), -32)
    );
    let vm = vm_in(World::default());
    let mut code = assemble(&text, &()).unwrap_or_else(|errors| panic!("{errors:?}")).slots;
    let pc = code.len() - 2;
    // A call of a kernel function.
    (code[pc].src, code[pc].imm) = (2, 0);
    let target = RefTarget::Kfunc { name: name.into(), weak: false, btf_id: 0 };
    let refs = vec![Ref { pc: pc as u32, target }];
    let linked = Program { refs, ..Program::from_code("test", code, ByteOrder::Little) };
    let program = vm.add(linked, &[]).unwrap_or_else(|error| panic!("{error}"));
    try_run(&vm, 0, &program).unwrap_or_else(|fault| panic!("{fault}")) as i32
}

#[test]
fn strings_are_searched() {
    let missing = -Errno::ENOENT.0;
    let cases: &[(&str, &str, Option<&str>, u64, i32)] = &[
        ("bpf_strcmp", "abc", Some("abc"), 0, 0),
        ("bpf_strcmp", "abc", Some("abd"), 0, -1),
        ("bpf_strcmp", "abc", Some("ab"), 0, 1),
        ("bpf_strcmp", "", Some("a"), 0, -1),
        ("bpf_strcasecmp", "HeLLo", Some("hEllO"), 0, 0),
        ("bpf_strchr", "hello", None, u64::from(b'l'), 2),
        ("bpf_strchr", "hello", None, u64::from(b'z'), missing),
        ("bpf_strchr", "hello", None, 0, 5),
        ("bpf_strchrnul", "hello", None, u64::from(b'z'), 5),
        ("bpf_strrchr", "hello", None, u64::from(b'l'), 3),
        ("bpf_strrchr", "hello", None, u64::from(b'z'), missing),
        ("bpf_strlen", "hello", None, 0, 5),
        ("bpf_strnlen", "hello", None, 3, 3),
        ("bpf_strnlen", "hello", None, 30, 5),
        ("bpf_strspn", "hello", Some("leh"), 0, 4),
        ("bpf_strcspn", "hello", Some("ol"), 0, 2),
        ("bpf_strcspn", "hello", Some(""), 0, 5),
        ("bpf_strstr", "hello, world", Some("world"), 0, 7),
        ("bpf_strstr", "hello, world", Some("word"), 0, missing),
        ("bpf_strstr", "hello", Some(""), 0, 0),
        ("bpf_strnstr", "hello, world", Some("world"), 11, missing),
        ("bpf_strnstr", "hello, world", Some("world"), 12, 7),
    ];
    for (name, a, b, third, expected) in cases {
        assert_eq!(string_kfunc(name, a, *b, *third), *expected, "{name}({a:?}, {b:?}, {third})");
    }
}

/// `if (bpf_foo)`: the address of a weak kernel function is 0 if it is not there.
#[test]
fn weak_kernel_functions_have_addresses_if_they_are_there() {
    let vm = vm_in(World::default());
    let load = |name: &str, weak: bool| {
        let slots = assemble("r0 = 0 ll; exit", &()).expect("it is good").slots;
        let mut linked = Program::from_code("ask", slots, ByteOrder::Little);
        let target = RefTarget::Ksym { name: name.into(), weak, type_id: 0, btf_id: 0 };
        linked.refs.push(Ref { pc: 0, target });
        vm.add(linked, &[])
    };
    let address = |name: &str| {
        let program = load(name, true).expect("it loads");
        let mut process = vm.process(&program, 0).expect("a process");
        process.run(&mut RawContext::new([])).expect("it runs").r0
    };
    let (size, lock) = (address("bpf_dynptr_size"), address("bpf_rcu_read_lock"));
    assert!(size != 0 && lock != 0 && size != lock);
    assert_eq!(address("bpf_no_such_kfunc"), 0);
    assert!(load("bpf_no_such_kfunc", false).is_err());
}
