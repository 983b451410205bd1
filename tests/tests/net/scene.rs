//! Programs that are asked the same things in a network namespace of the kernel and in a world that states it. What the kernel answered is
//! kept in `oracle/net/`, so that the tests say something where it cannot be asked; `MIMIC_BLESS=1` writes the files anew.

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, ProgType, RawInsn};
use mimic_linux::progs::{TestRun, test_run};
use mimic_linux::{Linux, World};
use mimic_object::Program;
use mimic_tests::engines::engines;
use mimic_tests::kernel::{Kernel, Prog, ProgAttr, TestRunAttr};
use mimic_vm::Vm;
use std::path::PathBuf;
use std::process::Command;

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
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("oracle/net").join(file);
    let kernel = Kernel::or_skip().map(|kernel| {
        kernel.in_empty_netns(|| {
            let _kept = set_up();
            questions.iter().flat_map(ask_kernel).collect::<Vec<_>>()
        })
    });
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
        let vm = || Vm::builder(Linux::new(world.clone())).byte_order(order).cpus(2);
        let ask = |question| {
            ask_mimic(question, || vm().engine(*engine).checks(*checks).build().expect("guest memory"))
        };
        let answers: Vec<String> = questions.iter().flat_map(ask).collect();
        compare(&format!("mimic ({engine:?}, {checks:?})"), &answers, "the kernel", &known);
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

fn frame(input: &Input) -> Vec<u8> {
    let header = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    [&header[..], &input.payload].concat()
}

fn ask_kernel(question: &Question) -> Vec<String> {
    let slots =
        assemble(&question.text, &()).unwrap_or_else(|errors| panic!("{}: {errors:?}", question.text)).slots;
    let insns: Vec<u8> = slots.iter().flat_map(|slot: &RawInsn| slot.to_bytes(ByteOrder::NATIVE)).collect();
    let attr =
        ProgAttr { prog_type: question.prog_type.id(), insns: &insns, license: "GPL", ..ProgAttr::default() };
    let prog = Prog::load_or_explain(&attr).unwrap_or_else(|error| panic!("{}: {error}", question.name));
    let ask = |(name, input): &(String, Input)| {
        let data = frame(input);
        let ctx_in = (!input.ctx.is_empty()).then_some(&input.ctx[..]);
        let run = TestRunAttr { data_in: Some(&data), data_size_out: 1024, ctx_in, ..TestRunAttr::default() };
        let answer = prog.test_run(&run);
        line(question, name, answer.errno, answer.retval, &answer.data_out)
    };
    question.inputs.iter().map(ask).collect()
}

fn ask_mimic(question: &Question, vm: impl Fn() -> std::sync::Arc<Vm>) -> Vec<String> {
    let slots = assemble(&question.text, &()).expect("it was assembled before").slots;
    let vm = vm();
    let mut linked = Program::from_code("test", slots, ByteOrder::NATIVE);
    linked.prog_type = Some(question.prog_type);
    let program = vm.add(linked, &[]).expect("it loads");
    let mut process = vm.process(&program, 0).expect("a process");
    let mut ask = |(name, input): &(String, Input)| {
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
