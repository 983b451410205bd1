//! One program in the kernel and in mimic, and the packets that both get.

use mimic_abi::asm::assemble;
use mimic_abi::uapi::prog_flags::BPF_F_SLEEPABLE;
use mimic_abi::{AttachType, ByteOrder, Errno, ProgType, RawInsn};
use mimic_linux::progs::{TestRun, TestRunError, test_run};
use mimic_linux::{Linux, World};
use mimic_object::Program;
use mimic_tests::engines::engines;
use mimic_tests::kernel::{Kernel, Prog, ProgAttr, TestRunAttr};
use mimic_vm::{Checks, Engine, Process, Vm};
use std::fmt::Write;

/// One program on both sides.
pub(crate) struct Both {
    kernel: Prog,
    /// One for each engine.
    mimic: Vec<Process>,
    name: String,
    pub(crate) differences: Vec<String>,
}

/// What either side answered, as far as it can be the same.
#[derive(Debug, PartialEq)]
struct Answer {
    errno: i32,
    retval: u32,
    data_out: Vec<u8>,
    data_size_out: u32,
    ctx_out: Vec<u8>,
    ctx_size_out: u32,
    ctx_in_after: Vec<u8>,
}

/// Inputs of one run.
#[derive(Clone, Default)]
pub(crate) struct Input {
    pub(crate) data: Vec<u8>,
    pub(crate) data_size_out: u32,
    pub(crate) ctx: Vec<u8>,
    pub(crate) ctx_size_out: u32,
    pub(crate) repeat: u32,
    pub(crate) flags: u32,
    pub(crate) cpu: u32,
    pub(crate) batch_size: u32,
}

impl Both {
    /// Loads a program into the kernel and into mimic. Each statement of `text` may stand on a line.
    pub(crate) fn load(prog_type: ProgType, text: &str) -> Both {
        // cgroup_skb programs return one bit: what they have to say goes to their context.
        let text = &match (prog_type, text.strip_suffix("exit")) {
            (ProgType::CgroupSkb, Some(text)) => {
                format!("r9 = r1; {text} *(u32 *)(r9 + 48) = r0; r0 = 1; exit")
            }
            _ => text.to_string(),
        };
        let assembly = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        let bytes: Vec<u8> =
            assembly.slots.iter().flat_map(|slot: &RawInsn| slot.to_bytes(ByteOrder::NATIVE)).collect();
        let attr = ProgAttr {
            prog_type: prog_type.id(),
            insns: &bytes,
            license: "GPL",
            log_level: 1,
            expected_attach_type: if prog_type == ProgType::SkLookup { AttachType::SkLookup.id() } else { 0 },
            prog_flags: if prog_type == ProgType::Syscall { BPF_F_SLEEPABLE } else { 0 },
            ..ProgAttr::default()
        };
        let kernel =
            Prog::load_or_explain(&attr).unwrap_or_else(|error| panic!("{prog_type} {text}: {error}"));
        let process = |(engine, checks): &(Engine, Checks)| {
            let vm = Vm::builder(Linux::new(World::default())).byte_order(ByteOrder::NATIVE).cpus(2);
            let vm = vm.engine(*engine).checks(*checks).build().expect("guest memory");
            let mut linked = Program::from_code("test", assembly.slots.clone(), ByteOrder::NATIVE);
            linked.prog_type = Some(prog_type);
            let program = vm.add(linked, &[]).expect("it loads");
            vm.process(&program, 0).expect("a process")
        };
        let mimic = engines(ByteOrder::NATIVE).iter().map(process).collect();
        Both { kernel, mimic, name: format!("{prog_type}: {text}"), differences: Vec::new() }
    }

    /// Says what the program does in place of its text.
    pub(crate) fn name(&mut self, name: &str) {
        self.name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    }

    fn kernel(&self, input: &Input) -> Answer {
        let given = |bytes: &Vec<u8>| if bytes.is_empty() { None } else { Some(bytes.clone()) };
        let (data_in, ctx_in) = (given(&input.data), given(&input.ctx));
        let answer = self.kernel.test_run(&TestRunAttr {
            data_in: data_in.as_deref(),
            data_size_out: input.data_size_out,
            ctx_in: ctx_in.as_deref(),
            ctx_size_out: input.ctx_size_out,
            repeat: input.repeat,
            flags: input.flags,
            cpu: input.cpu,
            batch_size: input.batch_size,
        });
        // What a refused run leaves in the attributes is what was asked.
        let refused = answer.errno != 0 && answer.errno != Errno::ENOSPC.0;
        Answer {
            errno: answer.errno,
            retval: answer.retval,
            data_out: if refused { Vec::new() } else { answer.data_out },
            data_size_out: if refused { 0 } else { answer.data_size_out },
            ctx_out: if refused { Vec::new() } else { answer.ctx_out },
            ctx_size_out: if refused { 0 } else { answer.ctx_size_out },
            ctx_in_after: if refused { Vec::new() } else { answer.ctx_in_after },
        }
    }

    /// What the interpreter answers, if all engines answer the same.
    fn mimic(&mut self, input: &Input) -> Result<Answer, String> {
        let mut answers = self.mimic.iter_mut().map(|process| answer(process, input));
        let first = answers.next().expect("there is an interpreter").map_err(|error| error.to_string())?;
        for other in answers {
            let other = other.map_err(|error| format!("on another engine: {error}"))?;
            if other != first {
                return Err(format!("two things: {first:?}, on another engine {other:?}"));
            }
        }
        Ok(first)
    }

    /// Runs both and notes a difference.
    pub(crate) fn compare(&mut self, what: impl AsRef<str>, input: &Input) {
        let mut kernel = self.kernel(input);
        let mimic = match self.mimic(input) {
            Ok(mimic) => mimic,
            Err(error) => {
                self.differences.push(format!("{} [{}]: mimic says {error}", self.name, what.as_ref()));
                return;
            }
        };
        // Only syscall programs answer in what they were given.
        if mimic.ctx_in_after.is_empty() {
            kernel.ctx_in_after.clear();
        }
        // Nothing was written: the buffer is as it was made.
        if mimic.errno == Errno::ENOSPC.0 && mimic.data_out.is_empty() && is_zero(&kernel.data_out) {
            kernel.data_out.clear();
        }
        if mimic.errno == Errno::ENOSPC.0 && mimic.ctx_out.is_empty() && is_zero(&kernel.ctx_out) {
            kernel.ctx_out.clear();
        }
        if kernel != mimic {
            let mut text = format!("{} [{}]:", self.name, what.as_ref());
            let mut field = |name: &str, kernel: &dyn std::fmt::Debug, mimic: &dyn std::fmt::Debug| {
                let (kernel, mimic) = (format!("{kernel:?}"), format!("{mimic:?}"));
                if kernel != mimic {
                    let cut = |text: String| text.chars().take(700).collect::<String>();
                    let _ = write!(
                        text,
                        "\n    {name}: kernel {}\n    {name}: mimic  {}",
                        cut(kernel),
                        cut(mimic)
                    );
                }
            };
            field("errno", &kernel.errno, &mimic.errno);
            field("retval", &(kernel.retval as i32), &(mimic.retval as i32));
            field("data_out", &Hex(&kernel.data_out), &Hex(&mimic.data_out));
            field("data_size_out", &kernel.data_size_out, &mimic.data_size_out);
            for (at, (kernel, mimic)) in kernel.ctx_out.chunks(4).zip(mimic.ctx_out.chunks(4)).enumerate() {
                field(&format!("ctx_out[{}]", 4 * at), &Hex(kernel), &Hex(mimic));
            }
            field("ctx_out's length", &kernel.ctx_out.len(), &mimic.ctx_out.len());
            field("ctx_size_out", &kernel.ctx_size_out, &mimic.ctx_size_out);
            field("ctx_in_after", &Hex(&kernel.ctx_in_after), &Hex(&mimic.ctx_in_after));
            self.differences.push(text);
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Debug for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Runs `ask` where socket and device lookups answer the same each time; fails with all differences.
pub(crate) fn in_netns(ask: impl FnOnce(&mut Vec<String>) + Send) {
    let Some(kernel) = Kernel::or_skip() else { return };
    let differences = kernel.in_empty_netns(|| {
        let mut differences = Vec::new();
        ask(&mut differences);
        differences
    });
    let (count, shown) = (differences.len(), &differences[..differences.len().min(25)]);
    assert!(differences.is_empty(), "{count} differences\n{}", shown.join("\n"));
}

/// A frame of this type and length whose bytes all differ.
pub(crate) fn frame(ethertype: u16, len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|at| (at * 7 + 1) as u8 & 0xfe).collect();
    frame[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
    match ethertype {
        0x0800 if len >= 34 => {
            frame[14..18].copy_from_slice(&[0x45, 2, 0, (len - 14) as u8]);
            frame[23] = 17;
        }
        0x86dd if len >= 54 => {
            frame[14..18].copy_from_slice(&[0x60, 0x20, 0, 0]);
            frame[20] = 6;
        }
        _ => {}
    }
    frame
}

/// Frames of each kind that the kernel tells apart.
pub(crate) fn packets() -> Vec<(&'static str, Vec<u8>)> {
    let mut broadcast = frame(0x0806, 42);
    broadcast[..6].fill(0xff);
    let mut multicast = frame(0x86dd, 70);
    multicast[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    let mut other = frame(0x0800, 60);
    other[5] = 9;
    let mut raw = frame(0x0010, 60);
    raw[14..16].fill(0xff);
    let mut tagged = frame(0x8100, 64);
    tagged[14..18].copy_from_slice(&[0x20, 0x64, 0x08, 0x00]);
    let mut twice = frame(0x88a8, 68);
    twice[14..22].copy_from_slice(&[0, 5, 0x81, 0, 0, 6, 0x86, 0xdd]);
    vec![
        ("ipv4", frame(0x0800, 60)),
        ("ipv6", frame(0x86dd, 80)),
        ("arp to all", broadcast),
        ("ipv6 to a group", multicast),
        ("ipv4 to another", other),
        ("802.3", raw),
        ("802.2", frame(0x0010, 60)),
        ("802.2, header only", frame(0x0010, 14)),
        ("vlan", tagged),
        ("two vlans", twice),
        ("short ipv4", frame(0x0800, 33)),
        ("short ipv6", frame(0x86dd, 53)),
        ("just ipv4", frame(0x0800, 34)),
        ("just ipv6", frame(0x86dd, 54)),
        ("zeros", vec![0; 64]),
    ]
}

fn answer(process: &mut Process, input: &Input) -> Result<Answer, TestRunError> {
    let run = TestRun {
        data_in: &input.data,
        data_out: input.data_size_out > 0,
        data_size_out: input.data_size_out,
        ctx_in: &input.ctx,
        ctx_size_out: input.ctx_size_out,
        repeat: input.repeat,
        flags: input.flags,
        cpu: input.cpu,
        batch_size: input.batch_size,
    };
    let refused = |errno: Errno| Answer {
        errno: errno.0,
        retval: 0,
        data_out: Vec::new(),
        data_size_out: 0,
        ctx_out: Vec::new(),
        ctx_size_out: 0,
        ctx_in_after: Vec::new(),
    };
    let out = match test_run(process, &run) {
        Ok(out) => out,
        Err(TestRunError::Errno(errno, _)) => return Ok(refused(errno)),
        Err(error) => return Err(error),
    };
    Ok(Answer {
        errno: out.errno.map_or(0, |errno| errno.0),
        retval: out.retval,
        data_out: out.data_out,
        data_size_out: out.data_size_out,
        ctx_out: out.ctx_out,
        ctx_size_out: out.ctx_size_out,
        ctx_in_after: out.ctx_in_after,
    })
}
