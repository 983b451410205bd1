//! The machine through its public API, with a small emulator of its own.

use mimic_abi::asm::assemble;
use mimic_abi::{ArgType, ByteOrder, Errno, HelperFlags, HelperSpec, arg};
use mimic_object::{Program, Ref, RefTarget};
use mimic_vm::sched::{Inline, Job, Naive, PerCpu, Scheduler};
use mimic_vm::{
    At, Before, Call, Emulator, FaultKind, Flow, Helper, HelperResult, Hook, Hygiene, Limits, LoadedProgram,
    Next, NoProbe, Outcome, Probe, Process, RawContext, RunError, Step, Trap, Vm, VmBuilder,
};
use std::sync::Arc;

/// Helpers: 1 adds its arguments, 2 fails with EINVAL, 3 calls a function r2 times, 4 throws, 5 is only listed, 6 is a tail call
/// to the running program, 7 reads a byte for the program.
struct Small;

const ROWS: &[Helper] = &[
    Helper::new(HelperSpec::new(1, "add"), |_, a, b, c, d, e| Ok(a + b + c + d + e)),
    Helper::new(HelperSpec::new(2, "fail"), |_, _, _, _, _, _| Err(Errno::EINVAL.into())),
    Helper::new(
        HelperSpec::new(3, "times").args(&[arg("func", ArgType::Func)]).flags(HelperFlags::CALLS_BACK),
        times,
    ),
    Helper::new(HelperSpec::new(4, "throw"), |_, cookie, _, _, _, _| Err(Trap::Throw(cookie))),
    Helper::listed(HelperSpec::new(5, "listed").support(mimic_abi::Support::Refused("it needs a moon"))),
    Helper::new(HelperSpec::new(6, "again"), |call, _, _, _, _, _| {
        Err(Trap::TailCall(call.program().clone()))
    }),
    Helper::new(HelperSpec::new(7, "peek"), |call, addr, _, _, _, _| call.load(addr, mimic_abi::Size::B)),
];

fn times(call: &mut Call<'_>, func: u64, count: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let func = call.func(func)?;
    let mut done = 0;
    let then = move |_: &mut Call<'_>, r0: u64| {
        done += 1;
        Ok(if done == count || r0 == 1 { Next::Return(done) } else { Next::Again([done, 0, 0, 0, 0]) })
    };
    Err(call.call_back(func, [0; 5], then))
}

impl Emulator for Small {
    fn helper(&self, id: u32) -> Option<&Helper> {
        ROWS.iter().find(|row| row.spec.id == id)
    }
}

fn builder() -> VmBuilder {
    Vm::builder(Small)
}

fn linked(text: &str) -> Program {
    let assembly = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    Program::from_code("test", assembly.slots, ByteOrder::Little)
}

fn load(vm: &Arc<Vm>, text: &str) -> Arc<LoadedProgram> {
    vm.add(linked(text), &[]).expect("it loads")
}

fn process(vm: VmBuilder, text: &str) -> Process {
    let vm = vm.build().expect("there is memory");
    let program = load(&vm, text);
    vm.process(&program, 0).expect("there is memory")
}

fn run(text: &str) -> Result<Outcome, RunError> {
    process(builder(), text).run(&mut RawContext::with_len([1, 2, 3, 4]))
}

fn r0(text: &str) -> u64 {
    run(text).unwrap_or_else(|error| panic!("{text}: {error}")).r0
}

fn fault(text: &str) -> String {
    match run(text) {
        Err(RunError::Fault(fault)) => fault.to_string(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn counts_instructions_exactly() {
    assert_eq!(run("r0 = 1 ll; exit").expect("runs").insns, 2);
    let looped = run("r1 = 3; again: r1 += -1; if r1 != 0 goto again; r0 = r1; exit").expect("runs");
    assert_eq!(looped.insns, 1 + 3 * 2 + 2);
    assert_eq!(run("r1 = 1; call 1; r0 += 1; exit").expect("runs").insns, 4);
    assert_eq!(run("call sub; exit; sub: r0 = 7; exit").expect("runs").insns, 4);
}

#[test]
fn faults_name_object_bounds_and_place() {
    assert_eq!(
        fault("r0 = *(u32 *)(r1 + 1); exit"),
        "read of 4 bytes at context+1: the context ends at 4 (pc 0 of test)"
    );
    assert_eq!(
        fault("r0 = *(u8 *)(r1 - 1); exit"),
        "read of 1 byte at context-1: the context begins at 0 (pc 0 of test)"
    );
    assert_eq!(fault("r1 = 0; r0 = *(u64 *)(r1 + 0); exit"), "read of 8 bytes at NULL (pc 1 of test)");
    assert_eq!(
        fault("*(u64 *)(r10 + 0) = 1; exit"),
        "write of 8 bytes at stack+512: the stack ends at 512 (pc 0 of test)"
    );
    assert_eq!(
        fault("*(u64 *)(r10 - 520) = 1; exit"),
        "write of 8 bytes at stack-8: the stack begins at 0 (pc 0 of test)"
    );
    assert_eq!(
        fault("*(u64 *)(r10 - 4) = 1; exit"),
        "write of 8 bytes at stack+508: the stack ends at 512 (pc 0 of test)"
    );
    assert_eq!(
        fault("r1 = 5; call 7; exit"),
        "bpf_peek: read of 1 byte at 0x5: no object is there (pc 1 of test)"
    );
    assert_eq!(fault("r0 = 1"), "execution ran past the program's last instruction (pc 1 of test)");
}

#[test]
fn truncated_pointers_are_not_pointers() {
    let text = "r2 = 0x100000000 ll; r1 += r2; r0 = *(u8 *)(r1 + 0); exit";
    assert!(fault(text).contains("no object is there"));
}

#[test]
fn frames_are_512_bytes_and_8_deep() {
    assert_eq!(r0("*(u64 *)(r10 - 512) = 5; r0 = *(u64 *)(r10 - 512); exit"), 5);
    assert!(fault("*(u64 *)(r10 - 520) = 5; exit").contains("stack"));
    assert!(fault("call deeper; exit; deeper: call deeper; exit").starts_with("more than 8 frames"));
    // A callee reads its caller's frame through a pointer, and its own frame is another.
    let text = "*(u64 *)(r10 - 8) = 3; r1 = r10; r1 += -8; call f; r0 += r6; exit
                f: *(u64 *)(r10 - 8) = 9; r0 = *(u64 *)(r1 + 0); r6 = 100; exit";
    assert_eq!(r0(text), 3, "r6 is the caller's again");
}

#[test]
fn helpers_return_errors_and_faults() {
    assert_eq!(r0("r1 = 1; r2 = 2; r3 = 3; r4 = 4; r5 = 5; call 1; exit"), 15);
    assert_eq!(r0("call 2; exit"), Errno::EINVAL.to_r0());
    assert!(fault("call 5; exit").starts_with("bpf_listed (helper 5): it needs a moon"));
    assert!(fault("call 99; exit").starts_with("helper 99 is not known"));
    assert_eq!(
        r0("r0 = 4; if r0 == 4 goto out; call 99; out: exit"),
        4,
        "an unknown helper that is not reached harms nobody"
    );
}

fn with_func(text: &str, func_at: u32) -> Program {
    let mut program = linked(text);
    program.refs.push(Ref { pc: 0, target: RefTarget::Func(func_at) });
    program
}

fn run_linked(program: Program) -> Result<Outcome, RunError> {
    let vm = builder().build().expect("there is memory");
    let program = vm.add(program, &[]).expect("it loads");
    vm.process(&program, 0).expect("there is memory").run(&mut RawContext::new([]))
}

#[test]
fn callbacks_iterate_without_host_stack() {
    let text = "r1 = 0 ll; r2 = 1000000; call 3; exit; f: r0 = 0; exit";
    let outcome = run_linked(with_func(text, 5)).expect("runs");
    assert_eq!((outcome.r0, outcome.insns), (1_000_000, 4 + 2 * 1_000_000));
    let stops = "r1 = 0 ll; r2 = 1000000; call 3; exit; f: r0 = 0; if r1 != 9 goto +1; r0 = 1; exit";
    assert_eq!(run_linked(with_func(stops, 5)).expect("runs").r0, 10);
    let nested = "r1 = 0 ll; r2 = 2; call 3; exit; f: r1 = 0 ll; r2 = 2; call 3; exit";
    let mut program = with_func(nested, 5);
    program.refs.push(Ref { pc: 5, target: RefTarget::Func(5) });
    let Err(RunError::Fault(fault)) = run_linked(program) else { panic!("it recurses for ever") };
    assert_eq!(fault.kind, FaultKind::CallDepth { frames_max: 8 });
}

#[test]
fn throwing_leaves_all_frames() {
    assert_eq!(r0("call f; r0 = 1; exit; f: r1 = 42; call 4; r0 = 2; exit"), 42);
    let mut program = linked("r1 = 42; call 4; exit; handler: r0 = r1; r0 += 1; exit");
    program.exception_callback = Some(3);
    assert_eq!(run_linked(program).expect("runs").r0, 43);
}

#[test]
fn tail_calls_end_at_33() {
    let outcome = run("r0 = *(u8 *)(r1 + 0); call 6; r0 = 5; exit").expect("runs");
    assert_eq!((outcome.r0, outcome.tail_calls), (5, 33));
}

#[test]
fn budget_stops_loops() {
    let limits = Limits { insns_max: 1000, ..Limits::default() };
    let mut process = process(builder().limits(limits), "again: goto again");
    let Err(RunError::Fault(fault)) = process.run(&mut RawContext::new([])) else {
        panic!("it loops for ever")
    };
    assert_eq!(fault.kind, FaultKind::Budget { insns_max: 1000 });
    assert_eq!(process.insns(), 1001);
}

#[test]
fn programs_that_cannot_run_are_refused() {
    let refused = |text: &str| {
        let vm = builder().build().expect("there is memory");
        vm.add(linked(text), &[]).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(refused("goto +1; exit").contains("jump to 2"));
    assert!(
        refused("if r0 == 0 goto +1; r0 = 1 ll; exit").contains("jump to 2, where no instruction begins")
    );
    assert_eq!(refused("exit"), "");
}

/// The kernel too loads programs with a write of r10 that is never reached.
#[test]
fn writing_r10_is_a_fault_when_it_happens() {
    let mut process = process(builder(), "r10 = 1; exit");
    let Err(RunError::Fault(fault)) = process.run(&mut RawContext::new([])) else { panic!("it ran") };
    assert_eq!(fault.kind, FaultKind::FramePointer);
    assert_eq!(run("r0 = 5; if r0 == 5 goto out; r10 = 1; out: exit").expect("runs").r0, 5);
}

#[test]
fn a_step_at_a_time_is_the_same_as_a_run() {
    let text = "r6 = 3; again: r6 += -1; call f; if r6 != 0 goto again; r0 = r6; exit; f: *(u8 *)(r10 - 1) = 1; exit";
    let whole = run(text).expect("runs");
    let mut process = process(builder(), text);
    process.start(Box::new(RawContext::with_len([1, 2, 3, 4]))).expect("enters");
    for step in 1.. {
        match process.step() {
            Step::Running => assert_eq!(process.insns(), step),
            Step::Exited(outcome) => {
                assert_eq!(outcome, whole);
                assert_eq!(outcome.insns, step);
                break;
            }
            Step::Faulted(fault) => panic!("{fault}"),
        }
    }
    assert!(matches!(process.step(), Step::Exited(_)), "an ended process stays so");
}

#[test]
fn probes_see_each_instruction_and_can_stop() {
    struct StopAt(u32, Vec<u32>);
    impl Probe for StopAt {
        fn insn(&mut self, at: &At<'_>) -> Flow {
            self.1.push(at.pc);
            if at.pc == self.0 { Flow::Stop } else { Flow::Go }
        }
    }
    let mut process = process(builder(), "r0 = 1; r0 = 2; r0 = 3; exit");
    process.start(Box::new(RawContext::new([]))).expect("enters");
    let mut probe = StopAt(2, Vec::new());
    assert!(matches!(process.run_until(&mut probe), Step::Running));
    assert_eq!((probe.1, process.at().regs[0], process.insns()), (vec![0, 1, 2], 2, 2));
    assert!(matches!(process.run_until(&mut NoProbe), Step::Exited(Outcome { r0: 3, insns: 4, .. })));
}

#[test]
fn helpers_can_be_overridden_and_hooked() {
    let mut process =
        process(builder().helper("bpf_fail", |_, _| Ok(1)), "call 2; r6 = r0; call 1; r0 += r6; exit");
    let mut context = RawContext::new([]);
    assert_eq!(process.run(&mut context).expect("runs").r0, 1);
    process.override_helper("fail", Arc::new(|_, _| Ok(100)));
    assert_eq!(process.run(&mut context).expect("runs").r0, 100);

    struct Answer(Vec<(String, u64)>);
    impl Hook for Answer {
        fn before(&mut self, call: &mut Call<'_>, _args: [u64; 5]) -> Result<Before, Trap> {
            Ok(if &**call.name() == "bpf_add" { Before::Return(7) } else { Before::Run })
        }
        fn after(&mut self, call: &mut Call<'_>, _args: [u64; 5], r0: u64) -> Result<u64, Trap> {
            self.0.push((call.name().to_string(), r0));
            Ok(r0)
        }
    }
    process.set_hook(Some(Box::new(Answer(Vec::new()))));
    assert_eq!(process.run(&mut context).expect("runs").r0, 107);
}

#[test]
fn hygiene_zeroes_or_poisons_reused_frames() {
    let text = "r1 = 5; call write; call read; exit
                write: *(u64 *)(r10 - 8) = r1; r0 = 0; exit
                read: r0 = *(u64 *)(r10 - 8); exit";
    let run = |hygiene| process(builder().hygiene(hygiene), text).run(&mut RawContext::new([]));
    assert_eq!(run(Hygiene::Off).expect("runs").r0, 5);
    assert_eq!(run(Hygiene::Zero).expect("runs").r0, 0);
    let Err(RunError::Fault(fault)) = run(Hygiene::Poison) else { panic!("it reads what was never written") };
    assert!(fault.to_string().contains("byte 504 was never written"), "{fault}");
}

#[test]
fn big_endian_programs_see_big_endian_memory() {
    let vm = builder().byte_order(ByteOrder::Big).build().expect("there is memory");
    let text = "r0 = *(u32 *)(r1 + 0); *(u16 *)(r1 + 2) = 0x0102; lock *(u32 *)(r1 + 4) += r0; exit";
    let code = assemble(text, &()).expect("assembles").slots;
    assert!(vm.add(Program::from_code("little", code.clone(), ByteOrder::Little), &[]).is_err());
    let program = vm.add(Program::from_code("big", code, ByteOrder::Big), &[]).expect("loads");
    let mut context = RawContext::new([0x12, 0x34, 0x56, 0x78, 0, 0, 0, 1]);
    let outcome = vm.process(&program, 0).expect("memory").run(&mut context).expect("runs");
    assert_eq!(outcome.r0, 0x1234_5678);
    assert_eq!(context.bytes, [0x12, 0x34, 1, 2, 0x12, 0x34, 0x56, 0x79]);
}

fn jobs(program: &Arc<LoadedProgram>) -> impl Iterator<Item = Job> {
    let program = program.clone();
    (0..200u64).map(move |tag| {
        let context = Box::new(RawContext::new(tag.to_le_bytes()));
        Job { program: program.clone(), context, cpu: Some(tag as u32 % 4), tag }
    })
}

#[test]
fn schedulers_run_every_job_once() {
    let vm = builder().cpus(4).build().expect("there is memory");
    let program = load(&vm, "r0 = *(u64 *)(r1 + 0); r0 *= 3; *(u64 *)(r1 + 0) = r0; exit");
    let schedulers: [Box<dyn Scheduler>; 3] =
        [Box::new(Inline::new(&vm)), Box::new(PerCpu::new(&vm, 8)), Box::new(Naive::new(&vm))];
    for mut scheduler in schedulers {
        jobs(&program).for_each(|job| scheduler.submit(job));
        let mut finished = scheduler.join();
        finished.sort_by_key(|finished| finished.tag);
        assert_eq!(finished.len(), 200);
        for (tag, finished) in (0..).zip(finished) {
            assert_eq!((finished.tag, finished.cpu), (tag, tag as u32 % 4));
            assert_eq!(finished.result.as_ref().expect("runs").r0, tag * 3);
            let Ok(context) = finished.into_context::<RawContext>() else {
                panic!("another context came back")
            };
            assert_eq!(context.bytes, (tag * 3).to_le_bytes());
        }
        assert!(scheduler.join().is_empty());
    }
}

#[test]
fn a_panic_in_a_closure_ends_only_its_job() {
    let vm = builder().helper("fail", |_, _| panic!("on purpose")).build().expect("there is memory");
    let (bad, good) = (load(&vm, "call 2; exit"), load(&vm, "r0 = 3; exit"));
    let mut scheduler = PerCpu::new(&vm, 1);
    for program in [&bad, &good] {
        let context = Box::new(RawContext::new([]));
        scheduler.submit(Job { program: program.clone(), context, cpu: None, tag: program.id().into() });
    }
    let finished = scheduler.join();
    let result = |program: &Arc<LoadedProgram>| {
        finished
            .iter()
            .find(|finished| finished.tag == u64::from(program.id()))
            .map(|finished| &finished.result)
    };
    assert!(
        matches!(result(&bad), Some(Err(RunError::Fault(fault))) if fault.to_string().contains("on purpose"))
    );
    assert!(matches!(result(&good), Some(Ok(Outcome { r0: 3, .. }))));
}
