//! Contexts of kprobes and tracepoints.

use mimic_abi::ByteOrder;
use mimic_abi::asm::assemble;
use mimic_linux::Linux;
use mimic_linux::progs::{Arch, KprobeContext, TracepointContext, TracepointFormat};
use mimic_object::Program;
use mimic_vm::{Context, RunError, Vm};

fn run(text: &str, context: &mut impl Context) -> Result<u64, String> {
    let vm = Vm::builder(Linux::default()).build().expect("address space");
    let code = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let program = vm.add(Program::from_code("test", code, ByteOrder::Little), &[]).expect("it loads");
    match vm.process(&program, 0).expect("memory").run(context) {
        Ok(outcome) => Ok(outcome.r0),
        Err(RunError::Fault(fault)) => Err(fault.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Offsets are those of `PT_REGS_PARM1` to 6, `PT_REGS_RC` and `PT_REGS_IP` in libbpf's `bpf_tracing.h`.
#[test]
fn registers_are_where_libbpf_looks() {
    let args = [11, 12, 13, 14, 15, 16];
    let mut x86 = KprobeContext::call(Arch::X86_64, &args).at(0xffff_ffff_8100_0000);
    for (off, expected) in [(112, 11), (104, 12), (96, 13), (88, 14), (72, 15), (64, 16)] {
        assert_eq!(run(&format!("r0 = *(u64 *)(r1 + {off})\nexit"), &mut x86), Ok(expected), "{off}");
    }
    assert_eq!(run("r0 = *(u64 *)(r1 + 128)\nexit", &mut x86), Ok(0xffff_ffff_8100_0000));
    assert_eq!(run("r0 = *(u32 *)(r1 + 132)\nexit", &mut x86), Ok(0xffff_ffff));
    let mut returned = KprobeContext::ret(Arch::X86_64, 5);
    assert_eq!(run("r0 = *(u64 *)(r1 + 80)\nexit", &mut returned), Ok(5));
    let mut arm = KprobeContext::call(Arch::Arm64, &args).at(77);
    for (off, expected) in [(0, 11), (40, 16), (256, 77)] {
        assert_eq!(run(&format!("r0 = *(u64 *)(r1 + {off})\nexit"), &mut arm), Ok(expected), "{off}");
    }
    assert!(run("*(u64 *)(r1 + 112) = 1\nexit", &mut x86).is_err());
    assert!(run("r0 = *(u64 *)(r1 + 168)\nexit", &mut x86).is_err());
    assert!(run("r0 = *(u64 *)(r1 + 108)\nexit", &mut x86).is_err());
    assert!(!x86.set("no such", 1));
}

const OPENAT: &str = "name: sched_process_exec
ID: 318
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:__data_loc char[] filename;	offset:8;	size:4;	signed:0;
	field:pid_t pid;	offset:12;	size:4;	signed:1;
	field:char comm[8];	offset:16;	size:8;	signed:0;

print fmt: \"filename=%s pid=%d\", __get_str(filename), REC->pid
";

#[test]
fn records_are_as_tracefs_says() {
    let format = TracepointFormat::parse(OPENAT).expect("a format");
    let order = ByteOrder::Little;
    assert_eq!(format.field("filename").map(|field| (field.off, field.len)), Some((8, 4)));
    let mut context = format.record();
    assert!(context.set(&format, "pid", 42, order) && context.set_bytes(&format, "comm", b"ls", order));
    assert!(context.set_bytes(&format, "filename", b"/bin/ls\0", order));
    assert!(!context.set(&format, "none", 1, order));
    assert_eq!(run("r0 = *(u32 *)(r1 + 12)\nexit", &mut context), Ok(42));
    let name = "r2 = *(u32 *)(r1 + 8)\nr2 &= 0xffff\nr1 += r2\nr0 = *(u8 *)(r1 + 5)\nexit";
    assert_eq!(run(name, &mut context), Ok(u64::from(b'l')));
    assert_eq!(run("r0 = *(u16 *)(r1 + 10)\nexit", &mut context), Ok(8));
    assert!(run("r0 = *(u32 *)(r1 + 4)\nexit", &mut context).is_err());
    assert!(run("*(u32 *)(r1 + 12) = 1\nexit", &mut context).is_err());
    let mut long = TracepointContext { record: vec![0; 9000] };
    assert!(run("r0 = 0\nexit", &mut long).is_err());
    assert!(TracepointFormat::parse("field:int x;	offset:8192;	size:4;	signed:1;").is_err());
}
