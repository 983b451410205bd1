//! Programs that are asked the same things in a network namespace of the kernel and in a world that states it. What the kernel answered is
//! kept in `oracle/net/`, so that the tests say something where it cannot be asked; `MIMIC_BLESS=1` writes the files anew.

use mimic_abi::asm::assemble;
use mimic_abi::{AttachType, ByteOrder, ProgType, RawInsn};
use mimic_linux::progs::{TestRun, TestRunError, TestRunOut, test_run};
use mimic_linux::{Linux, World};
use mimic_object::{Program, Ref, RefTarget};
use mimic_tests::engines::engines;
use mimic_tests::kernel::{Kernel, Map, Prog, ProgAttr, TestRunAttr};
use mimic_vm::{MapRef, Vm};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// A program and the inputs that it is asked with, each with a name.
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) prog_type: ProgType,
    pub(crate) text: String,
    pub(crate) inputs: Vec<(String, Input)>,
}

/// A packet's payload, behind 14 bytes of an Ethernet header, and a context.
#[derive(Clone, Default)]
pub(crate) struct Input {
    pub(crate) payload: Vec<u8>,
    pub(crate) ctx: Vec<u8>,
}

/// Asks all questions; `set_up` makes the kernel's namespace and keeps what it returns until all is asked.
pub(crate) fn ask<T>(file: &str, world: &World, questions: &[Question], set_up: impl FnOnce() -> T + Send) {
    let kernel = || {
        let _kept = set_up();
        questions.iter().flat_map(|question| ask_kernel(question, &[])).collect()
    };
    check(file, world, kernel, |vm| {
        questions.iter().flat_map(|question| ask_mimic(vm, question, &[])).collect()
    });
}

/// Compares what the kernel says, in an empty namespace, with its record, and what mimic says in a VM of this world with that too.
pub(crate) fn check(
    file: &str,
    world: &World,
    kernel: impl FnOnce() -> Vec<String> + Send,
    mimic: impl Fn(&Arc<Vm>) -> Vec<String>,
) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("oracle/net").join(file);
    let kernel = Kernel::or_skip().map(|known| known.in_empty_netns(kernel));
    if let Some(answers) = kernel.as_ref().filter(|_| std::env::var_os("MIMIC_BLESS").is_some()) {
        std::fs::write(&path, answers.join("\n") + "\n").expect("it can be written");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let known: Vec<&str> = known.lines().collect();
    if let Some(answers) = kernel {
        compare("the kernel here", &answers, "its record", &known);
    }
    let order = ByteOrder::NATIVE;
    for (engine, checks) in engines(order) {
        let vm = Vm::builder(Linux::new(world.clone())).byte_order(order).cpus(2);
        let vm = vm.engine(*engine).checks(*checks).build().expect("guest memory");
        compare(&format!("mimic ({engine:?}, {checks:?})"), &mimic(&vm), "the kernel", &known);
    }
}

fn compare(who: &str, answers: &[String], whose: &str, known: &[&str]) {
    let lines = answers.iter().map(String::as_str).zip(known.iter().copied());
    let differences: Vec<String> = lines
        .filter(|(ours, known)| ours != known)
        .map(|(ours, known)| format!("{who}:\n  {ours}\n{whose}:\n  {known}"))
        .collect();
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
    assert_eq!(answers.len(), known.len(), "{who} was asked more or less than {whose}: bless the file");
}

/// A line for each input.
fn line(question: &Question, name: &str, errno: i32, retval: u32, data: &[u8]) -> String {
    let hex: String = data.iter().skip(14).map(|byte| format!("{byte:02x}")).collect();
    let errno = if errno == 0 { String::new() } else { format!(" errno {errno}") };
    format!("{} [{name}]:{errno} {} {hex}", question.name, retval as i32)
}

/// The same for socket lookups, which have no packet: what they left in the first map, an array. Of a cookie only whether there is one.
fn lookup_line(question: &Question, name: &str, errno: i32, retval: u32, ctx: &[u8], left: &[u8]) -> String {
    let cookie =
        if errno == 0 && ctx.get(..8).is_some_and(|cookie| cookie != [0; 8]) { "a socket" } else { "none" };
    let retval = if errno == 0 { retval } else { 0 };
    let hex: String = left.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} [{name}]: errno {errno} {retval} {cookie} {hex}", question.name)
}

fn attach_type(prog_type: ProgType) -> u32 {
    match prog_type {
        ProgType::SkLookup => AttachType::SkLookup.id(),
        ProgType::Netfilter => AttachType::Netfilter.id(),
        _ => 0,
    }
}

fn frame(input: &Input) -> Vec<u8> {
    let header = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    [&header[..], &input.payload].concat()
}

/// `r1 = 0x1ffff ll` in a program is the second map.
pub(crate) fn ask_kernel(question: &Question, maps: &[Map]) -> Vec<String> {
    let slots =
        assemble(&question.text, &()).unwrap_or_else(|errors| panic!("{}: {errors:?}", question.text)).slots;
    let insns: Vec<u8> =
        slots.iter().flat_map(|slot| with_fd(slot, maps).to_bytes(ByteOrder::NATIVE)).collect();
    let attr = ProgAttr {
        prog_type: question.prog_type.id(),
        insns: &insns,
        license: "GPL",
        expected_attach_type: attach_type(question.prog_type),
        ..ProgAttr::default()
    };
    let prog = Prog::load_or_explain(&attr).unwrap_or_else(|error| panic!("{}: {error}", question.name));
    let is_lookup = question.prog_type == ProgType::SkLookup;
    let ask = |(name, input): &(String, Input)| {
        if is_lookup {
            maps[0].update(&[0; 4], &input.payload, 0).expect("the array takes it");
            let run = TestRunAttr { ctx_in: Some(&input.ctx), ctx_size_out: 72, ..TestRunAttr::default() };
            let answer = prog.test_run(&run);
            let left = maps[0].lookup(&[0; 4]).expect("it is there");
            return lookup_line(question, name, answer.errno, answer.retval, &answer.ctx_out, &left);
        }
        let data = frame(input);
        let ctx_in = (!input.ctx.is_empty()).then_some(&input.ctx[..]);
        let run = TestRunAttr { data_in: Some(&data), data_size_out: 1024, ctx_in, ..TestRunAttr::default() };
        let answer = prog.test_run(&run);
        if answer.errno != 0 {
            return line(question, name, answer.errno, 0, &[]);
        }
        line(question, name, answer.errno, answer.retval, &answer.data_out)
    };
    question.inputs.iter().map(ask).collect()
}

fn with_fd(slot: &RawInsn, maps: &[Map]) -> RawInsn {
    match map_of(slot) {
        Some(at) => RawInsn { src: 1, imm: maps[at].as_raw_fd(), ..*slot },
        None => *slot,
    }
}

/// The map that an instruction names.
fn map_of(slot: &RawInsn) -> Option<usize> {
    (slot.opcode == 0x18 && slot.imm & 0xffff == 0xffff).then_some((slot.imm >> 16) as usize)
}

pub(crate) fn ask_mimic(vm: &Arc<Vm>, question: &Question, maps: &[Arc<MapRef>]) -> Vec<String> {
    let slots = assemble(&question.text, &()).expect("it was assembled before").slots;
    let refs = slots.iter().enumerate();
    let refs =
        refs.filter_map(|(pc, slot)| Some(Ref { pc: pc as u32, target: RefTarget::Map(map_of(slot)?) }));
    let mut linked =
        Program { refs: refs.collect(), ..Program::from_code("test", slots.clone(), ByteOrder::NATIVE) };
    linked.prog_type = Some(question.prog_type);
    let program = vm.add(linked, maps).expect("it loads");
    let mut process = vm.process(&program, 0).expect("a process");
    let is_lookup = question.prog_type == ProgType::SkLookup;
    let mut ask = |(name, input): &(String, Input)| {
        if is_lookup {
            maps[0].update_copy(&[0; 4], &input.payload, 0).expect("the array takes it");
            let run = TestRun { ctx_in: &input.ctx, ctx_size_out: 72, ..TestRun::default() };
            let (errno, out) = match test_run(&mut process, &run) {
                Ok(out) => (out.errno.map_or(0, |errno| errno.0), out),
                Err(TestRunError::Errno(errno, _)) => (errno.0, TestRunOut::default()),
                Err(error) => return format!("{} [{name}]: {error}", question.name),
            };
            let left = maps[0].lookup_copy(&[0; 4], 0).expect("it is there");
            return lookup_line(question, name, errno, out.retval, &out.ctx_out, &left);
        }
        let data = frame(input);
        let run = TestRun {
            data_in: &data,
            data_out: true,
            data_size_out: 1024,
            ctx_in: &input.ctx,
            ..TestRun::default()
        };
        match test_run(&mut process, &run) {
            Ok(out) => line(question, name, out.errno.map_or(0, |errno| errno.0), out.retval, &out.data_out),
            Err(TestRunError::Errno(errno, _)) => line(question, name, errno.0, 0, &[]),
            Err(error) => format!("{} [{name}]: {error}", question.name),
        }
    };
    question.inputs.iter().map(&mut ask).collect()
}

/// Runs `ip` with these words, in the calling thread's namespace.
pub(crate) fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sets a sysctl of the calling thread's namespace.
pub(crate) fn sysctl(name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/{name}"), value).unwrap_or_else(|error| panic!("{name}: {error}"));
}
