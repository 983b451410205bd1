//! bpf_snprintf and bpf_strtol against the real kernel, on random formats, arguments and texts: what is refused, what is written,
//! what is answered.
#![cfg(target_os = "linux")]

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, Errno, MapType, ProgType};
use mimic_linux::Linux;
use mimic_object::{Contents, MapSpec, Program, Ref, RefTarget};
use mimic_tests::kernel::{Kernel, Parts, TestRunAttr, TraceBuffer};
use mimic_tests::random::Rng;
use mimic_vm::{RawContext, Vm};

const FMT: usize = 0;
const DATA: usize = 1;
const OUT: usize = 2;
const OUT_LEN: usize = 600;
const ROUNDS: u64 = 1500;

/// Strings and addresses that arguments point at; each ends with a NUL.
const TEXTS: &[u8] = b"\0some text\0a longer text, to be cut short\0\xc3\xa9t\xc3\xa9\0\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\xff\0";

/// An argument: a number, or the address of a byte of [`TEXTS`].
#[derive(Clone, Copy, Debug)]
enum Arg {
    Number(u64),
    Text(u32),
}

/// What came of a call: refused by the verifier, or r0 and what lies in the buffer.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Refused(Errno),
    Called(u32, Vec<u8>),
}

fn array(name: &str, bytes: Vec<u8>, map_flags: u32) -> MapSpec {
    MapSpec {
        name: name.into(),
        map_type: MapType::Array.id(),
        key_size: 4,
        value_size: bytes.len() as u32,
        max_entries: 1,
        map_flags,
        contents: Contents::Data { bytes, frozen: map_flags != 0 },
        ..MapSpec::default()
    }
}

/// A socket filter of this text. `lddw rN, 0x<off><map>fff` (three digits each) becomes the address of a byte in a map's value.
fn socket_filter(text: &str) -> Program {
    let code = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let refs = code.iter().enumerate().filter(|(_, insn)| insn.opcode == 0x18 && insn.imm & 0xfff == 0xfff);
    let target = |imm: i32| RefTarget::MapValue { map: (imm >> 12 & 0xf) as usize, off: (imm >> 16) as u32 };
    let refs = refs.map(|(pc, insn)| Ref { pc: pc as u32, target: target(insn.imm) }).collect();
    let prog_type = Some(ProgType::SocketFilter);
    let license = "GPL".into();
    Program { refs, prog_type, license, ..Program::from_code("test", code.clone(), ByteOrder::Little) }
}

fn in_map(map: usize, off: u32) -> String {
    format!("{:#x} ll", off << 16 | (map as u32) << 12 | 0xfff)
}

fn in_kernel(kernel: &Kernel, maps: &[MapSpec], program: &Program) -> Answer {
    let loaded = kernel.load(&Parts { maps, programs: &[program], btf: None }).expect("the maps are good");
    match &loaded.progs[0] {
        Err(error) => Answer::Refused(error.errno),
        Ok(prog) => {
            let answer = prog.test_run(&TestRunAttr { data_in: Some(&[0; 64]), ..TestRunAttr::default() });
            assert_eq!(answer.errno, 0);
            Answer::Called(answer.retval, loaded.maps[OUT].map.lookup(&[0; 4]).expect("it is there"))
        }
    }
}

fn in_mimic(maps: &[MapSpec], program: &Program) -> Answer {
    let vm = Vm::builder(Linux::default()).build().expect("address space");
    let maps = vm.load_maps(maps).unwrap_or_else(|error| panic!("{error}"));
    let program = vm.add(program.clone(), &maps).unwrap_or_else(|error| panic!("{error}"));
    let mut process = vm.process(&program, 0).expect("memory");
    let outcome = process.run(&mut RawContext::new([0; 192])).unwrap_or_else(|error| panic!("{error}"));
    Answer::Called(outcome.r0 as u32, maps[OUT].lookup_copy(&[0; 4], 0).expect("it is there"))
}

/// The kernel's verifier refuses what mimic answers with `EINVAL` when it comes to it.
fn same(kernel: &Answer, mimic: &Answer) -> bool {
    match (kernel, mimic) {
        (Answer::Refused(Errno::EINVAL), Answer::Called(r0, _)) => *r0 == -Errno::EINVAL.0 as u32,
        _ => kernel == mimic,
    }
}

fn snprintf(kernel: &Kernel, fmt: &[u8], args: &[Arg], room: usize) -> (Answer, Answer) {
    let mut text = String::new();
    for (index, arg) in args.iter().enumerate() {
        let value = match arg {
            // Some numbers look like places in maps.
            Arg::Number(number) => {
                let flip = if *number & 0xfff == 0xfff { 1 } else { 0 };
                format!("{:#x} ll\nr1 ^= {flip}", number ^ flip)
            }
            Arg::Text(off) => in_map(DATA, *off),
        };
        text += &format!("r1 = {value}\n*(u64 *)(r10 - {}) = r1\n", (args.len() - index) * 8);
    }
    text += &format!("r1 = {}\nr2 = {room}\nr3 = {}\nr4 = r10\n", in_map(OUT, 0), in_map(FMT, 0));
    text += &format!("r4 += -{}\nr5 = {}\ncall 165\nexit\n", args.len() * 8, args.len() * 8);
    if args.is_empty() {
        text = text.replace("r4 = r10\nr4 += -0\n", "r4 = 0\n");
    }
    let mut fmt = fmt.to_vec();
    fmt.push(0);
    const RDONLY_PROG: u32 = 1 << 7;
    let maps = [
        array("fmt", fmt, RDONLY_PROG),
        array("data", TEXTS.to_vec(), 0),
        array("out", vec![0x7e; OUT_LEN], 0),
    ];
    let program = socket_filter(&text);
    (in_kernel(kernel, &maps, &program), in_mimic(&maps, &program))
}

/// A format that is right more often than not.
fn random_format(rng: &mut Rng) -> Vec<u8> {
    const CONVERSIONS: &[&str] = &[
        "d", "i", "u", "x", "X", "ld", "li", "lu", "lx", "lX", "lld", "llu", "llx", "s", "s", "s", "c", "px",
        "ps", "pS", "pB", "pks", "pus", "pI4", "pi4", "pI6", "pi6", "pxyz", "pI6c", "o", "n", "f", "lll",
        "ls", "hd", "pI", "pK4", "", "p!",
    ];
    let mut fmt = Vec::new();
    for _ in 0..rng.range(0, 6) {
        match rng.below(10) {
            0 => fmt.extend(b"%%"),
            1..4 => fmt.extend(
                (0..rng.range(1, 6)).map(|_| rng.range(0x20, 0x7e) as u8).filter(|byte| *byte != b'%'),
            ),
            4 if rng.chance(10) => fmt.push(rng.range(1, 255) as u8),
            _ => {
                fmt.push(b'%');
                fmt.extend((0..rng.below(3)).map(|_| rng.pick(b"0+- ")));
                match rng.below(12) {
                    0..4 => fmt.extend(rng.range(1, 30).to_string().bytes()),
                    4 => fmt.extend(rng.range(1, 700).to_string().bytes()),
                    _ => {}
                }
                // Wrong ones now and then.
                let known = if rng.chance(6) { CONVERSIONS.len() } else { 28 };
                fmt.extend(CONVERSIONS[rng.below(known)].bytes());
                if rng.chance(60) {
                    fmt.push(rng.pick(b" ,|:"));
                }
            }
        }
    }
    fmt
}

/// Arguments for the conversions of a format, most often as many as it has.
fn random_args(rng: &mut Rng, fmt: &[u8]) -> Vec<Arg> {
    let fmt = String::from_utf8_lossy(fmt).replace("%%", "");
    let pieces = fmt.as_bytes().split(|byte| *byte == b'%').skip(1);
    let arg = |piece: &[u8], rng: &mut Rng| {
        let after = piece.iter().position(|byte| !b"0+- 123456789".contains(byte)).unwrap_or(0);
        let reads = matches!(piece[after..], [b's', ..] | [b'p', b'i' | b'I' | b'k', ..]);
        // Low addresses are nobody's, in the kernel as here. Of guest memory nothing is a user's in the kernel (`%pus`).
        if reads && !rng.chance(10) {
            Arg::Text(rng.below(TEXTS.len() - 17) as u32)
        } else if reads || piece[after..].starts_with(b"pu") {
            Arg::Number(rng.below(4096) as u64)
        } else if matches!(piece[after..], [b'p', letter, ..] if letter == b'K' || !letter.is_ascii_alphanumeric())
        {
            // Others are hashed with a secret.
            Arg::Number(0)
        } else if piece[after..].starts_with(b"p") {
            Arg::Number(rng.below(1 << 30) as u64)
        } else {
            Arg::Number(rng.value())
        }
    };
    let mut args: Vec<Arg> = pieces.map(|piece| arg(piece, rng)).collect();
    match rng.below(20) {
        0 => drop(args.pop()),
        1 => args.push(Arg::Number(1)),
        _ => {}
    }
    args.truncate(12);
    args
}

#[test]
fn random_formats() {
    let Some(kernel) = Kernel::or_skip() else { return };
    let mut wrong = Vec::new();
    let mut called = 0;
    for seed in 0..ROUNDS {
        let rng = &mut Rng::new(seed);
        let fmt = random_format(rng);
        let args = random_args(rng, &fmt);
        // What is printed early is read again when there was no room for it, and so is what is left of other calls.
        let early = ["pI", "pi", "pk", "pu", "pB"]
            .iter()
            .any(|letters| fmt.windows(2).any(|at| at == letters.as_bytes()));
        let room = match rng.below(8) {
            _ if early => OUT_LEN,
            0 => rng.range(1, 4),
            1..4 => rng.range(1, 60),
            _ => OUT_LEN,
        };
        let (theirs, ours) = snprintf(&kernel, &fmt, &args, room);
        called += u32::from(matches!(theirs, Answer::Called(..)));
        if !same(&theirs, &ours) {
            let text = String::from_utf8_lossy(&fmt).into_owned();
            wrong.push(format!(
                "seed {seed}: {text:?} {args:x?} room {room}:\n  kernel {}\n  mimic  {}",
                show(&theirs),
                show(&ours)
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {ROUNDS} differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(called > 500, "the kernel took only {called} formats");
}

fn show(answer: &Answer) -> String {
    match answer {
        Answer::Refused(errno) => format!("refuses: {errno}"),
        Answer::Called(r0, out) => {
            let end = out.iter().rposition(|byte| *byte != 0x7e).map_or(0, |at| at + 1);
            format!("{} {:?}", *r0 as i32, String::from_utf8_lossy(&out[..end]))
        }
    }
}

/// A program that prints, with `bpf_trace_printk` (at most three arguments) or `bpf_trace_vprintk`.
fn printer(fmt: &[u8], args: &[Arg], vprintk: bool) -> Program {
    let mut text = String::new();
    for (at, arg) in args.iter().enumerate() {
        let value = match arg {
            // Some numbers look like places in maps.
            Arg::Number(number) => {
                let flip = u64::from(number & 0xfff == 0xfff);
                format!("{:#x} ll\nr0 ^= {flip}", number ^ flip)
            }
            Arg::Text(off) => in_map(DATA, *off),
        };
        text += &format!("r0 = {value}\n*(u64 *)(r10 - {}) = r0\n", (args.len() - at) * 8);
    }
    let data = args.len() * 8;
    text += &format!("r1 = {}\nr2 = {}\n", in_map(FMT, 0), fmt.len());
    match vprintk {
        true if args.is_empty() => text += "r3 = 0\nr4 = 0\ncall 177\nexit\n",
        true => text += &format!("r3 = r10\nr3 += -{data}\nr4 = {data}\ncall 177\nexit\n"),
        false => {
            let reg = |(at, _)| format!("r{} = *(u64 *)(r10 - {})\n", 3 + at, (args.len() - at) * 8);
            let given: String = args.iter().enumerate().map(reg).collect();
            text += &format!("r3 = 0\nr4 = 0\nr5 = 0\n{given}call 6\nexit\n");
        }
    }
    socket_filter(&text)
}

#[test]
fn printed_lines() {
    let Some(kernel) = Kernel::or_skip() else { return };
    let same = kernel.with_trace(|buffer| {
        let (mut wrong, mut printed) = (Vec::new(), 0);
        for seed in 0..400 {
            let rng = &mut Rng::new(seed);
            let mut fmt = random_format(rng);
            let vprintk = rng.chance(2);
            let mut args = random_args(rng, &fmt);
            args.truncate(if vprintk { 12 } else { 3 });
            if !rng.chance(20) {
                fmt.push(0);
            }
            let maps = [array("fmt", fmt.clone(), 1 << 7), array("data", TEXTS.to_vec(), 0)];
            if fmt.is_empty() {
                continue;
            }
            let program = printer(&fmt, &args, vprintk);
            let theirs = printed_by_kernel(&kernel, buffer, &maps, &program);
            let ours = printed_by_mimic(&maps, &program);
            printed += theirs.1.len();
            if theirs != ours {
                let text = String::from_utf8_lossy(&fmt).into_owned();
                wrong.push(format!(
                    "seed {seed}: {text:?} {args:x?}:\n  kernel {theirs:?}\n  mimic  {ours:?}"
                ));
            }
        }
        assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
        assert!(printed > 150, "the kernel printed only {printed} lines");
    });
    if same.is_none() {
        eprintln!("skipped: there is no tracefs");
    }
}

/// r0 and the lines.
type Printed = (u32, Vec<String>);

fn printed_by_kernel(kernel: &Kernel, buffer: &TraceBuffer, maps: &[MapSpec], program: &Program) -> Printed {
    let loaded = kernel.load(&Parts { maps, programs: &[program], btf: None }).expect("the maps are good");
    let prog = loaded.progs[0].as_ref().unwrap_or_else(|error| panic!("{error}"));
    let answer = prog.test_run(&TestRunAttr { data_in: Some(&[0; 64]), ..TestRunAttr::default() });
    assert_eq!(answer.errno, 0);
    let lines = buffer.take().expect("the buffer can be read");
    (answer.retval, lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect())
}

fn printed_by_mimic(maps: &[MapSpec], program: &Program) -> Printed {
    let vm = Vm::builder(Linux::default()).build().expect("address space");
    let maps = vm.load_maps(maps).unwrap_or_else(|error| panic!("{error}"));
    let program = vm.add(program.clone(), &maps).unwrap_or_else(|error| panic!("{error}"));
    let mut process = vm.process(&program, 0).expect("memory");
    let outcome = process.run(&mut RawContext::new([0; 192])).unwrap_or_else(|error| panic!("{error}"));
    let trace = vm.emulator_as::<Linux>().expect("it is").take_trace();
    let lines = trace.lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned());
    (outcome.r0 as u32, lines.collect())
}

/// r0 and the number of a conversion, in the kernel and in mimic: `helper` is 105 or 106.
fn convert(kernel: &Kernel, helper: u32, text: &[u8], flags: u64) -> (Answer, Answer) {
    let program = socket_filter(&format!(
        "r1 = {}\nr2 = {}\nr3 = {flags:#x} ll\nr4 = {}\ncall {helper}\nexit\n",
        in_map(DATA, 0),
        text.len(),
        in_map(OUT, 0)
    ));
    let maps =
        [array("none", vec![0; 8], 0), array("text", text.to_vec(), 0), array("out", vec![0x7e; 8], 0)];
    (in_kernel(kernel, &maps, &program), in_mimic(&maps, &program))
}

#[test]
fn random_numbers() {
    let Some(kernel) = Kernel::or_skip() else { return };
    let mut wrong = Vec::new();
    for seed in 0..ROUNDS {
        let rng = &mut Rng::new(seed);
        let value = rng.value();
        let mut text: Vec<u8> = (0..rng.below(3)).map(|_| rng.pick(b" \t\n\x0b\xa0")).collect();
        text.extend((0..rng.below(2)).map(|_| rng.pick(b"-+-0")));
        let digits = match rng.below(5) {
            0 => format!("{value:#x}"),
            1 => format!("0{value:o}"),
            2 => format!("{value:X}"),
            3 => format!("{:0>70}", value),
            _ => value.to_string(),
        };
        text.extend(digits.bytes());
        if rng.chance(30) {
            text.extend(rng.pick(&["0", "7", "99", "f", "z", " ", "\0"]).bytes());
        }
        let flags = rng.pick(&[0, 0, 8, 10, 10, 16, 16, 2, 31, 1 << 33]);
        let helper = rng.pick(&[105, 106]);
        let (theirs, ours) = convert(&kernel, helper, &text, flags);
        if theirs != ours {
            let text = String::from_utf8_lossy(&text).into_owned();
            wrong.push(format!(
                "seed {seed}: helper {helper} {text:?} flags {flags}: {theirs:?} and {ours:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {ROUNDS} differ\n{}", wrong.len(), wrong.join("\n"));
}
