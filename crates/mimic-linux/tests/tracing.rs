//! Tracing contexts and iterators through the public API.

use mimic_abi::asm::assemble;
use mimic_abi::btf::{Btf, BtfBuilder, Field, IntEncoding};
use mimic_abi::{ByteOrder, Errno, MapType, ProgType};
use mimic_linux::progs::{
    Arg, CgroupOrder, IterContext, IterLink, RawTracepointContext, SeqFile, TracingContext, read_iter,
    run_iter,
};
use mimic_linux::{Cgroup, File, Ksym, Linux, Net, Socket, Task, UserArea, World};
use mimic_object::{MapSpec, Program};
use mimic_vm::{Context, Process, Vm};
use std::sync::Arc;

fn process(prog_type: ProgType, text: &str) -> Process {
    let vm = Vm::builder(Linux::new(World::default())).build().expect("memory");
    let slots = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let mut linked = Program::from_code("test", slots, ByteOrder::Little);
    linked.prog_type = Some(prog_type);
    let program = vm.add(linked, &[]).expect("it loads");
    vm.process(&program, 0).expect("a process")
}

fn run(text: &str, context: &mut impl Context) -> i64 {
    process(ProgType::Tracing, text).run(context).unwrap_or_else(|error| panic!("{text}: {error}")).r0 as i64
}

#[test]
fn arguments_and_the_return_value_lie_in_the_context() {
    let args = || [Arg::Number(7), Arg::bytes([1, 2, 3, 4]), Arg::Number(u64::MAX)];
    let deref = "r2 = *(u64 *)(r1 + 8); r0 = *(u32 *)(r2 + 0); exit";
    assert_eq!(run(deref, &mut TracingContext::entry(args())), 0x0403_0201);
    let ret = "r0 = *(u64 *)(r1 + 24); exit";
    assert_eq!(run(ret, &mut TracingContext::exit(args(), 99)), 99);
    let error = process(ProgType::Tracing, ret).run(&mut TracingContext::entry(args())).expect_err("no ret");
    assert!(error.to_string().contains("context"), "{error}");
    let error = process(ProgType::Tracing, "*(u64 *)(r1 + 0) = 1; r0 = 0; exit")
        .run(&mut TracingContext::entry(args()))
        .expect_err("it can only be read");
    assert!(error.to_string().contains("write"), "{error}");
}

/// bpf-helpers(7): EINVAL for an argument that there is not, EOPNOTSUPP where there is no return value.
#[test]
fn func_helpers_answer_from_the_context() {
    let args = || [Arg::Number(7), Arg::Number(8)];
    let arg = |n: i64| {
        format!(
            "r2 = {n}; r3 = r10; r3 += -8; call 183; if r0 != 0 goto out; r0 = *(u64 *)(r10 - 8); out: exit"
        )
    };
    assert_eq!(run(&arg(1).replace(';', "\n"), &mut TracingContext::entry(args())), 8);
    for n in [2i64, -1, 1 << 33] {
        let text = format!("lddw r2, {n}\nr3 = r10\nr3 += -8\ncall 183\nexit");
        assert_eq!(run(&text, &mut TracingContext::exit(args(), 1)), -22, "{n}");
    }
    let ret = "r2 = r10\nr2 += -8\ncall 184\nif r0 != 0 goto out\nr0 = *(u64 *)(r10 - 8)\nout: exit";
    assert_eq!(run(ret, &mut TracingContext::exit(args(), 55)), 55);
    assert_eq!(run(ret, &mut TracingContext::modify_return(args(), 56)), 56);
    assert_eq!(run(ret, &mut TracingContext::entry(args())), -i64::from(Errno::EOPNOTSUPP.0));
    assert_eq!(run("call 185; exit", &mut TracingContext::exit(args(), 55)), 2);
}

#[test]
fn writable_arguments_come_back() {
    let arg = Arg::Bytes { bytes: vec![0; 8], writable: true };
    let mut context = TracingContext::entry([arg]);
    run("r1 = *(u64 *)(r1 + 0); *(u32 *)(r1 + 4) = 5; r0 = 0; exit", &mut context);
    assert_eq!(context.args, [Arg::Bytes { bytes: vec![0, 0, 0, 0, 5, 0, 0, 0], writable: true }]);
}

/// Loads through pointers to nothing read zero in tracing programs, where the kernel's are fault-safe, and nowhere else.
#[test]
fn loads_from_nothing_read_zero_and_are_counted() {
    let text = "r2 = *(u64 *)(r1 + 0); r0 = *(u64 *)(r2 + 0); r0 = *(u64 *)(r0 + 64); r0 += 3; exit";
    for prog_type in [ProgType::Tracing, ProgType::RawTracepoint, ProgType::Lsm] {
        let outcome = process(prog_type, text).run(&mut RawTracepointContext::new([0xdead_0000_0000u64]));
        let outcome = outcome.expect("it runs");
        assert_eq!((outcome.r0, outcome.absent_loads), (3, 2));
    }
    for (prog_type, text) in [
        (ProgType::Xdp, text),
        (ProgType::Tracing, "r2 = 0; *(u64 *)(r2 + 0) = 1; r0 = 0; exit"),
        (ProgType::Tracing, "r0 = *(u64 *)(r1 + 8); exit"),
    ] {
        let mut context = RawTracepointContext::new([0u64]);
        process(prog_type, text).run(&mut context).expect_err("a fault");
    }
}

fn written(text: &str) -> (String, u64, Option<Errno>) {
    let mut process = process(ProgType::Tracing, text);
    let objects = (1..=3u64).map(|number| vec![Arg::bytes(number.to_le_bytes())]);
    let out =
        read_iter(&mut process, 1, objects, vec![Arg::Number(0)]).unwrap_or_else(|error| panic!("{error}"));
    (String::from_utf8_lossy(&out.text).into_owned(), out.runs, out.errno)
}

#[test]
fn iterators_print_for_each_object_and_once_more() {
    // '0' + seq_num, and '+' or, for the last, '.'.
    let text = "
        r6 = *(u64 *)(r1 + 0)
        r7 = *(u64 *)(r1 + 8)
        r1 = *(u64 *)(r6 + 16)
        r1 += 48
        *(u8 *)(r10 - 8) = r1
        *(u8 *)(r10 - 7) = 43
        if r7 != 0 goto write
        *(u8 *)(r10 - 7) = 46
    write:
        r1 = *(u64 *)(r6 + 0)
        r2 = r10
        r2 += -8
        r3 = 2
        call 127
        exit";
    assert_eq!(written(text), ("0+1+2+3.".into(), 4, None));
}

/// What does not fit the rest of the buffer is printed again by the next read.
#[test]
fn iterators_repeat_what_does_not_fit() {
    let text = |len: u32| {
        format!(
            "
        r1 = *(u64 *)(r1 + 0)
        r6 = *(u64 *)(r1 + 0)
        r7 = {}
    more:
        r1 = r6
        r2 = r10
        r2 += -512
        r3 = 512
        call 127
        r7 += -1
        if r7 != 0 goto more
        r0 = 0
        exit",
            len / 512
        )
    };
    let (out, runs, errno) = written(&text(16384));
    // Two do not fit together: the buffer has to be longer than the text. So from the second on each is run twice.
    assert_eq!((out.len(), runs, errno), (4 * 16384, 7, None));
    let (out, runs, errno) = written(&text(SeqFile::SIZE as u32));
    assert_eq!((out.len(), runs, errno), (0, 1, Some(Errno::E2BIG)));
    let (out, _, errno) = written("r0 = 1; exit");
    assert_eq!((out.as_str(), errno), ("", Some(Errno::EAGAIN)));
}

#[test]
fn only_the_iterators_own_file_can_be_printed_into() {
    let text = "r2 = r10; r2 += -8; r3 = 0; r1 = 5; call 127; exit";
    let mut context = IterContext::new([Arg::Number(0)]);
    let error = process(ProgType::Tracing, text).run(&mut context).expect_err("not a seq_file");
    assert!(error.to_string().contains("is not the seq_file"), "{error}");
}

/// A kernel with as few members as the tests look at.
fn types() -> Arc<Btf> {
    let mut btf = BtfBuilder::new();
    let int = btf.int("int", 4, IntEncoding::default());
    let long = btf.int("long", 8, IntEncoding::default());
    btf.structure("task_struct", 8, [Field::new("pid", int, 0), Field::new("tgid", int, 32)]);
    btf.structure("file", 8, [Field::new("f_pos", long, 0)]);
    btf.structure("vm_area_struct", 8, [Field::new("vm_start", long, 0)]);
    btf.structure("cgroup", 8, [Field::new("level", long, 0)]);
    btf.structure("bpf_map", 8, [Field::new("id", int, 0), Field::new("max_entries", int, 32)]);
    btf.structure("bpf_prog", 8, [Field::new("len", long, 0)]);
    btf.structure("kallsym_iter", 16, [Field::new("type", int, 64), Field::new("value", long, 0)]);
    btf.structure("tcp_sock", 8, [Field::new("snd_cwnd", int, 0), Field::new("srtt_us", int, 32)]);
    let btf = btf.to_bytes(ByteOrder::Little).expect("small");
    Arc::new(Btf::parse(btf).expect("well-formed"))
}

/// Iterates over a target with a program that writes the first 8 bytes of what member `member` points at; answers them.
fn iterate(target: &str, member: u32, link: &IterLink) -> Vec<u64> {
    let area = |start| UserArea { start, len: 4096, flags: 1, ..UserArea::default() };
    let web = Task {
        pid: 5,
        tgid: 5,
        files: vec![(3, 2), (0, 1)],
        memory: vec![area(0x5000), area(0x9000)],
        ..Task::default()
    };
    let connection =
        Socket { cookie: 9, family: 2, sock_type: 1, protocol: 6, state: 1, ..Socket::default() };
    let file = |id: u32| File { id, path: "/x".into(), pos: 100 + u64::from(id), ..File::default() };
    let world = World {
        tasks: vec![Task { pid: 7, tgid: 5, ..Task::default() }, web],
        cgroups: vec![Cgroup::child(30, 1, "b"), Cgroup::child(20, 1, "a"), Cgroup::child(40, 20, "c")],
        files: vec![file(1), file(2)],
        ksyms: [10, 20].map(|addr| Ksym { addr, name: "f".into() }).into(),
        net: Net { sockets: vec![connection], ..Net::default() },
        ..World::default()
    };
    let text = format!(
        "
        r6 = *(u64 *)(r1 + 0)
        r7 = *(u64 *)(r1 + {})
        if r7 == 0 goto out
        r1 = *(u64 *)(r6 + 0)
        r2 = r7
        r3 = 8
        call 127
    out:
        r0 = 0
        exit",
        8 * member
    );
    let vm = Vm::builder(Linux::new(world)).build().expect("memory");
    vm.emulator_as::<Linux>().expect("Linux").offer_btf(&types());
    let array = MapSpec { map_type: 2, key_size: 4, value_size: 8, max_entries: 3, ..MapSpec::default() };
    let map = vm.create_map(&array).unwrap_or_else(|error| panic!("{error}"));
    map.update(0, &2u32.to_le_bytes(), &77u64.to_le_bytes(), 0).expect("it is there");
    for (kind, flags, entries, key, value) in
        [(MapType::Sockmap, 0, 3, 1u32, 9u64), (MapType::SkStorage, 1, 0, 9, 55)]
    {
        let spec = MapSpec {
            map_type: kind.id(),
            key_size: 4,
            value_size: 8,
            max_entries: entries,
            map_flags: flags,
            key_type: 1,
            value_type: 2,
            ..MapSpec::default()
        };
        let map = vm.create_map(&spec).unwrap_or_else(|error| panic!("{error}"));
        let put = map.update_copy(&key.to_le_bytes(), &value.to_le_bytes(), 0);
        put.unwrap_or_else(|errno| panic!("{kind}: {errno}"));
    }
    let slots = assemble(&text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let mut linked = Program::from_code("test", slots, ByteOrder::Little);
    (linked.prog_type, linked.attach_to) = (Some(ProgType::Tracing), Some(target.into()));
    let program = vm.add(linked, &[]).expect("it loads");
    let mut process = vm.process(&program, 0).expect("a process");
    let out = run_iter(&mut process, link).unwrap_or_else(|error| panic!("{target}: {error}"));
    assert_eq!(out.errno, None);
    out.text.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("whole words"))).collect()
}

#[test]
fn iterators_go_over_the_worlds_objects() {
    let all = IterLink::default();
    let task = |pid: u64, tgid: u64| tgid << 32 | pid;
    assert_eq!(iterate("task", 1, &all), [task(5, 5), task(7, 5)]);
    assert_eq!(iterate("task", 1, &IterLink { tid: Some(7), ..all.clone() }), [task(7, 5)]);
    assert_eq!(iterate("task", 1, &IterLink { pid: Some(7), ..all.clone() }), []);
    assert_eq!(iterate("task_file", 3, &all), [101, 102]);
    assert_eq!(iterate("task_vma", 2, &all), [0x5000, 0x9000]);
    // Levels of 1, 20, 40, 30.
    assert_eq!(iterate("cgroup", 1, &all), [0, 1, 2, 1]);
    let order = |order, cgroup| IterLink { order, cgroup, ..IterLink::default() };
    assert_eq!(iterate("cgroup", 1, &order(CgroupOrder::DescendantsPost, 0)), [2, 1, 1, 0]);
    assert_eq!(iterate("cgroup", 1, &order(CgroupOrder::AncestorsUp, 40)), [2, 1, 0]);
    assert_eq!(iterate("cgroup", 1, &order(CgroupOrder::SelfOnly, 20)), [1]);
    assert_eq!(iterate("bpf_map", 1, &all), [3 << 32 | 1, 3 << 32 | 2, 3]);
    assert_eq!(iterate("ksym", 1, &all), [10, 20]);
    assert_eq!((iterate("bpf_link", 1, &all), iterate("netlink", 1, &all)), (vec![], vec![]));
    assert_eq!(iterate("sockmap", 3, &IterLink { map: 2, ..all.clone() }), [10]);
    assert_eq!(iterate("bpf_sk_storage_map", 3, &IterLink { map: 3, ..all.clone() }), [55]);
    // The map is there in the last run too.
    assert_eq!(iterate("sockmap", 1, &IterLink { map: 2, ..all.clone() }), [3 << 32 | 2; 2]);
    assert_eq!(iterate("bpf_map_elem", 3, &IterLink { map: 1, ..all.clone() }), [0, 0, 77]);
    assert_eq!(iterate("bpf_prog", 1, &all), [9]);
}
