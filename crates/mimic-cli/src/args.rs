//! What can be typed: one table that drives parsing, `--help`, completions and man pages.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Run, test, debug and embed eBPF programs in userspace, with Linux's semantics.
///
/// mimic loads the object file that ships, with no root, no kernel support and no VM image, on any operating system.
///
/// Exit codes: 0 done; 1 the input is bad or was refused; 2 the command line is wrong; 3 a program was stopped (a fault, the budget)
/// or needs a helper that is not there.
#[derive(Parser)]
#[command(name = "mimic", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a program of an object, over packets if it takes them: verdicts, maps, trace output, ring buffer records
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<Run>),
    /// Show the instructions of an object's programs, with source lines and jump arrows
    #[command(
        after_help = "Examples:\n  mimic disasm prog.bpf.o\n  mimic disasm prog.bpf.o --prog xdp_filter --no-source\n  mimic disasm --hex 'b7000000 07000000 95000000 00000000'"
    )]
    Disasm(Disasm),
    /// Show types: of an object, or of a kernel's BTF file
    Btf(Btf),
    /// Show what is in an object file; fails with every reason if it cannot be opened
    #[command(after_help = OBJECT_EXAMPLES)]
    Object(ObjectArgs),
    /// Run a program once as BPF_PROG_TEST_RUN does, for scripts and comparison with the kernel
    #[command(after_help = TEST_RUN_EXAMPLES)]
    TestRun(Box<TestRun>),
    /// Make context files of a capture, one context for each packet
    #[command(
        after_help = "Examples:\n  mimic pcap-to-ctx in.pcap contexts.json\n  mimic pcap-to-ctx in.pcap - --type sk_buff | jq '.[0]'"
    )]
    PcapToCtx(PcapToCtx),
    /// Show the world that a program would see, or make a World file of this machine
    World(WorldArgs),
    /// List what mimic knows: helpers, kfuncs, maps, program types, instructions
    #[command(after_help = "Examples:\n  mimic list helpers\n  mimic list insns --json")]
    List(List),
    /// Assemble a text in the kernel's or LLVM's syntax
    #[command(
        after_help = "Examples:\n  echo 'r0 = 7; exit' | mimic asm -\n  mimic asm prog.s --format raw > prog.bin"
    )]
    Asm(Asm),
    /// Write completions for a shell, or the man pages
    #[command(
        after_help = "Examples:\n  mimic completions bash > /etc/bash_completion.d/mimic\n  mimic completions man --out man/"
    )]
    Completions(Completions),
}

/// Options that all commands with results for machines have.
#[derive(ClapArgs, Clone, Copy)]
pub(crate) struct Json {
    /// Write JSON to standard output; its `version` is 1
    #[arg(long)]
    pub(crate) json: bool,
}

/// What programs are whose sections do not say.
#[derive(ClapArgs, Default)]
pub(crate) struct OfType {
    /// The type of the program (xdp, sched_cls…; see mimic list progs), for one whose section does not say it, or says another
    #[arg(long = "type", value_name = "TYPE", value_parser = prog_type)]
    pub(crate) prog_type: Option<mimic::abi::ProgType>,
}

fn prog_type(word: &str) -> Result<mimic::abi::ProgType, String> {
    mimic::abi::ProgType::by_name(word)
        .ok_or_else(|| "no such program type; mimic list progs shows all".into())
}

/// The world that programs run in.
#[derive(ClapArgs, Default)]
pub(crate) struct InWorld {
    /// What is around the program: tasks, network, files, clock… as JSON (docs/world.schema.json); see mimic world
    #[arg(long, value_name = "FILE")]
    pub(crate) world: Option<PathBuf>,
}

#[derive(ClapArgs)]
pub(crate) struct WorldArgs {
    #[command(subcommand)]
    pub(crate) command: WorldCommand,
}

#[derive(Subcommand)]
pub(crate) enum WorldCommand {
    /// Write all that a program would see as a World file
    #[command(
        after_help = "Examples:\n  mimic world dump\n  mimic world dump world.json --stated\n  mimic world dump --test-run | jq .tasks"
    )]
    Dump(WorldDump),
    /// Make a World file of this machine, from /proc and /sys; what is left out is said
    #[command(
        after_help = "Examples:\n  mimic world capture > world.json\n  mimic world capture --ksyms | mimic run prog.o --world - --hex 00"
    )]
    Capture(WorldCapture),
}

#[derive(ClapArgs)]
pub(crate) struct WorldCapture {
    /// With the kernel's symbols: some hundred thousand
    #[arg(long)]
    pub(crate) ksyms: bool,
    /// Do not say what was left out
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(ClapArgs)]
pub(crate) struct WorldDump {
    /// The World file; without one it is the world that programs run in when none is given
    #[arg(conflicts_with = "test_run")]
    pub(crate) file: Option<PathBuf>,
    /// The world of test-run
    #[arg(long)]
    pub(crate) test_run: bool,
    /// Only what is not as by default
    #[arg(long)]
    pub(crate) stated: bool,
}

const OBJECT_EXAMPLES: &str = "Examples:
  mimic object prog.bpf.o
  mimic object prog.bpf.o --json | jq '.programs[].name'

Exit codes: 0 the file was opened; 1 it was not, each reason on a line of standard error.";

const TEST_RUN_EXAMPLES: &str = "F is a file, - for standard input, or hex:BYTES.

Examples:
  mimic test-run prog.bpf.o --prog xdp_filter --data-in hex:ffffffffffff0200000000010800 --json
  mimic test-run prog.bpf.o --prog f --set counts=00000000:01000000 --set jumps=00000000:fd:target
  mimic test-run prog.bpf.o --all --data-in packet.bin

Writes one line of JSON for each program: errno (0, or what the kernel would answer), retval,
data_out, ctx_out, insns, trace, and maps. The world is an empty network namespace whose lo is
down; programs run on CPU 0.

Exit codes: 0 there is an answer, errno included; 1 the object, or a program of it, cannot be
loaded; 2 wrong command line; 3 the program was stopped ({\"fault\":…}) or needs what is not there
({\"unsupported\":…}).";

#[derive(ClapArgs)]
pub(crate) struct Disasm {
    /// The object file
    #[arg(required_unless_present = "hex")]
    pub(crate) object: Option<PathBuf>,
    /// Only this program
    #[arg(long, value_name = "NAME")]
    pub(crate) prog: Option<String>,
    /// Instructions as hexadecimal bytes instead of an object
    #[arg(long, value_name = "BYTES", conflicts_with = "object")]
    pub(crate) hex: Option<String>,
    #[command(flatten)]
    pub(crate) kernel: Kernel,
    /// Without source lines
    #[arg(long)]
    pub(crate) no_source: bool,
    /// Without jump arrows
    #[arg(long)]
    pub(crate) no_arrows: bool,
    /// Whose spelling
    #[arg(long, value_enum, default_value = "kernel")]
    pub(crate) syntax: Syntax,
    /// With the bytes of each instruction
    #[arg(long)]
    pub(crate) opcodes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Syntax {
    /// The verifier's and bpftool's
    Kernel,
    /// llvm-objdump's
    Llvm,
}

#[derive(ClapArgs)]
pub(crate) struct Btf {
    #[command(subcommand)]
    pub(crate) command: BtfCommand,
}

#[derive(Subcommand)]
pub(crate) enum BtfCommand {
    /// Print all types
    #[command(
        after_help = "Examples:\n  mimic btf dump c prog.bpf.o\n  mimic btf dump raw /sys/kernel/btf/vmlinux\n  mimic btf dump c prog.bpf.o --type event"
    )]
    Dump(BtfDump),
}

#[derive(ClapArgs)]
pub(crate) struct BtfDump {
    /// How: a C header, JSON, or records as bpftool lists them
    #[arg(value_enum)]
    pub(crate) format: BtfFormat,
    /// An object file, or a file of BTF
    pub(crate) file: PathBuf,
    /// Only this type and what it is made of (C only); can be given several times
    #[arg(long = "type", value_name = "NAME")]
    pub(crate) types: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BtfFormat {
    /// A header that compiles
    C,
    /// JSON, with bpftool's words
    Json,
    /// A line for each type and member
    Raw,
}

#[derive(ClapArgs)]
pub(crate) struct ObjectArgs {
    /// The object file
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) kernel: Kernel,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(ClapArgs)]
pub(crate) struct TestRun {
    /// The object file
    pub(crate) object: PathBuf,
    /// The program; needed if the object has more than one
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub(crate) prog: Option<String>,
    #[command(flatten)]
    pub(crate) of_type: OfType,
    #[command(flatten)]
    pub(crate) kernel: Kernel,
    /// Each program of the object, each in a world of its own
    #[arg(long)]
    pub(crate) all: bool,
    /// The packet
    #[arg(long, value_name = "F")]
    pub(crate) data_in: Option<String>,
    /// The context
    #[arg(long, value_name = "F")]
    pub(crate) ctx_in: Option<String>,
    /// How often; the packet goes on as the last run left it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) repeat: u32,
    /// BPF_F_TEST_* bits
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) flags: u32,
    /// Set a map's entry first: bytes in hexadecimal, or fd:NAME of a program or map; can be given several times
    #[arg(long, value_name = "MAP=KEYHEX:VALHEX")]
    pub(crate) set: Vec<String>,
    /// Virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) cpus: u32,
    /// What random numbers are drawn from (0 unless --world says)
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) world: InWorld,
    /// The most instructions that one run may take
    #[arg(long, value_name = "N", default_value_t = 1_000_000_000)]
    pub(crate) budget: u64,
    /// What executes instructions
    #[arg(long, value_enum, default_value = "interp")]
    pub(crate) engine: Engine,
    /// JSON is all that it writes; taken for plainness
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs)]
pub(crate) struct PcapToCtx {
    /// The capture
    pub(crate) pcap: PathBuf,
    /// The context file; `-` is standard output
    pub(crate) out: PathBuf,
    /// The contexts' type
    #[arg(long = "type", value_enum, default_value = "xdp_md")]
    pub(crate) kind: CtxType,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CtxType {
    /// For XDP programs
    #[value(name = "xdp_md")]
    XdpMd,
    /// For tc, socket filter, cgroup and tunnel programs
    #[value(name = "sk_buff")]
    SkBuff,
}

const RUN_EXAMPLES: &str = "Examples:
  mimic run prog.bpf.o --pcap in.pcap                      every packet of a capture
  mimic run prog.bpf.o --pcap in.pcap --out sorted/        one pcapng per verdict
  mimic run prog.bpf.o --pcap in.pcap --json | jq .verdicts
  mimic run prog.bpf.o --hex 'ffffffffffff 020000000001 0800 45…' --trace
  tcpdump -w - | mimic run prog.bpf.o --pcap -
  mimic run fw.bpf.o --pcap in.pcap --map 'block_v4=10.0.0.0/8:{\"action\":0}'
  mimic run prog.bpf.o --pcap in.pcap --record run.json    what went in, and what helpers answered
  mimic run prog.bpf.o --replay run.json --replay-as verify
  mimic run trace.bpf.o --prog on_switch                   no packets: a context of zeros, or --ctx
  mimic run iter.bpf.o --btf /sys/kernel/btf/vmlinux       what reading an iterator's file gives

Keys and values (--map, --preset) are read by the map's BTF types: numbers, names of enumeration
constants, addresses (1.2.3.4, 10.0.0.0/8 for LPM tries), JSON for structures, or bytes as
hex:0a000001.

Exit codes: 0 all packets were run; 1 bad input; 2 wrong command line; 3 the program was stopped
on a packet (a fault, the budget, a helper that is not there).";

#[derive(ClapArgs)]
pub(crate) struct Run {
    /// The object file, as clang writes it
    pub(crate) object: PathBuf,
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// The program; needed if the object has more than one
    #[arg(long, value_name = "NAME")]
    pub(crate) prog: Option<String>,
    #[command(flatten)]
    pub(crate) of_type: OfType,
    /// Run each packet so many times; the last run counts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,
    /// How packets are run; with per-cpu, CPUs change what they share in an order that is another each time
    #[arg(long, value_enum, default_value = "inline")]
    pub(crate) scheduler: Scheduler,
    /// Write one pcapng for each verdict into this folder: the packets as the program left them, the verdict as comment
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Write what the program got and what every helper answered into this context file; `-` is standard
    /// output, which then has no report
    #[arg(long, value_name = "FILE", conflicts_with_all = ["repeat", "replay"])]
    pub(crate) record: Option<PathBuf>,
    /// Whose answers a replayed program gets
    #[arg(long, value_enum, value_name = "HOW", default_value = "prefer")]
    pub(crate) replay_as: ReplayAs,
    /// Stop a program that calls a helper with other arguments than a captured context has; without this it is noted
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print each instruction with the registers that it changed and its source line
    #[arg(long)]
    pub(crate) trace: bool,
    /// Show at most so many entries of each map and records of each ring buffer
    #[arg(long, value_name = "N")]
    pub(crate) entries: Option<usize>,
    /// Show a ring buffer's records as this type of the object's BTF
    #[arg(long, value_name = "MAP=TYPE")]
    pub(crate) record_type: Vec<String>,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Where packets or contexts come from. Programs that get no packets may run without.
#[derive(ClapArgs)]
#[group(multiple = false)]
pub(crate) struct Input {
    /// A capture: pcap or pcapng, Ethernet, raw IP or Linux cooked; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
    /// A packet as hexadecimal bytes; can be given several times
    #[arg(long, value_name = "BYTES")]
    pub(crate) hex: Vec<String>,
    /// A file that is one packet; `-` is standard input; can be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// A context file: JSON of one context or several (docs/context.schema.json); `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) ctx: Option<PathBuf>,
    /// A context file that --record wrote: its runs again, with the captured answers (see --replay-as); `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<PathBuf>,
}

impl Input {
    /// Whether none of them was given.
    pub(crate) fn is_empty(&self) -> bool {
        let Input { pcap, hex, file, ctx, replay } = self;
        pcap.is_none() && hex.is_empty() && file.is_empty() && ctx.is_none() && replay.is_none()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReplayAs {
    /// The captured answers; the emulator's where there are none
    Prefer,
    /// Only the captured answers; a call that was not captured stops the program
    Only,
    /// The emulator's answers; where they differ from the captured ones, it is said, and the exit code is 1
    Verify,
}

/// The kernel that programs are linked for.
#[derive(ClapArgs, Default)]
pub(crate) struct Kernel {
    /// The kernel's types for CO-RE, an ELF file or BTF as in /sys/kernel/btf/vmlinux; otherwise those of the object itself
    #[arg(long, value_name = "FILE")]
    pub(crate) btf: Option<PathBuf>,
    /// The kernel's configuration for .kconfig externs, a file as in /boot/config-*
    #[arg(long, value_name = "FILE")]
    pub(crate) kconfig: Option<PathBuf>,
}

/// The machine that a program runs on.
#[derive(ClapArgs)]
pub(crate) struct Machine {
    #[command(flatten)]
    pub(crate) kernel: Kernel,
    /// Set a map's entry before the run; can be given several times
    #[arg(long, value_name = "NAME=KEY:VALUE")]
    pub(crate) map: Vec<String>,
    /// Set maps before the run from a JSON file, also one that --json wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) preset: Option<PathBuf>,
    /// Virtual CPUs; packets of a flow go to the same one, as a network card deals them out
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) cpus: u32,
    /// What random numbers are drawn from; the same seed gives the same run (0 unless the world says)
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) world: InWorld,
    /// The most instructions that one run may take
    #[arg(long, value_name = "N", default_value_t = 1_000_000_000)]
    pub(crate) budget: u64,
    /// What executes instructions
    #[arg(long, value_enum, default_value = "interp")]
    pub(crate) engine: Engine,
}

/// Who runs packets, and where.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scheduler {
    /// One packet after the other, on one thread: a run repeats bit for bit
    Inline,
    /// A thread for each virtual CPU
    PerCpu,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// The interpreter
    Interp,
    /// Native code
    Jit,
    /// Native code where it can be had, for programs that run often
    Auto,
}

impl From<Engine> for mimic::vm::Engine {
    fn from(engine: Engine) -> mimic::vm::Engine {
        match engine {
            Engine::Interp => mimic::vm::Engine::Interp,
            Engine::Jit => mimic::vm::Engine::Jit,
            Engine::Auto => mimic::vm::Engine::Auto,
        }
    }
}

#[derive(ClapArgs)]
pub(crate) struct List {
    /// What to list
    pub(crate) what: Listing,
    /// Only names that contain this
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Listing {
    /// Helper functions, by number
    Helpers,
    /// Kernel functions
    Kfuncs,
    /// Map types
    Maps,
    /// Program types
    Progs,
    /// Instructions
    Insns,
}

#[derive(ClapArgs)]
pub(crate) struct Asm {
    /// The text; `-` is standard input
    pub(crate) file: PathBuf,
    /// How to write the program
    #[arg(long, value_enum, default_value = "hex")]
    pub(crate) format: AsmFormat,
    /// For big-endian machines
    #[arg(long)]
    pub(crate) big_endian: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum AsmFormat {
    /// One line of hexadecimal bytes
    Hex,
    /// The bytes themselves
    Raw,
    /// A listing
    List,
}

#[derive(ClapArgs)]
pub(crate) struct Completions {
    /// For what
    pub(crate) target: CompletionTarget,
    /// The folder that man pages are written to, a file for each command
    #[arg(long, value_name = "DIR", required_if_eq("target", "man"))]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum CompletionTarget {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
    /// Man pages, one for each command
    Man,
}
