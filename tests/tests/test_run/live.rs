//! Live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`): what is refused, how often programs run, and on what.

use crate::both::{Both, Input, in_netns};
use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, MapType, ProgType};
use mimic_linux::progs::{BPF_F_TEST_XDP_LIVE_FRAMES, TestRun, Xdp, test_run};
use mimic_linux::{Linux, World};
use mimic_object::{MapSpec, Program, Ref, RefTarget};
use mimic_tests::kernel::{Kernel, Parts, TestRunAttr};
use mimic_vm::Vm;

/// A frame's length.
const LEN: usize = 60;
/// Words that the program counts in.
const COUNTERS: u32 = 6;

#[test]
fn live_frames_are_refused_alike() {
    in_netns(|differences| {
        let mut both = Both::load(ProgType::Xdp, "r0 = 1; exit");
        let flags = BPF_F_TEST_XDP_LIVE_FRAMES;
        for len in [0usize, 13, 14, 60, 1514, 3000, 3407, 3408, 3409, 3520, 5000] {
            let input = Input { data: vec![7; len], flags, ..Input::default() };
            both.compare(format!("len {len}"), &input);
            both.compare(format!("len {len}, data out"), &Input { data_size_out: 4000, ..input.clone() });
            for meta in [0u32, 4, 8, 212, 216, 220, 252, 256] {
                let words = [meta, len as u32, 0, 0, 0, 0];
                let ctx: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                let input = Input { ctx, ..input.clone() };
                both.compare(format!("len {len} meta {meta}"), &input);
                for (data_size_out, ctx_size_out) in [(100, 0), (0, 24)] {
                    let input = Input { data_size_out, ctx_size_out, ..input.clone() };
                    both.compare(format!("len {len} meta {meta}, out"), &input);
                }
            }
        }
        for (repeat, batch_size) in [(0, 0), (1, 1), (3, 256), (300, 255), (3, 257)] {
            let input = Input { data: vec![7; LEN], flags, repeat, batch_size, ..Input::default() };
            both.compare(format!("repeat {repeat} batch {batch_size}"), &input);
        }
        differences.append(&mut both.differences);
    });
}

#[test]
fn live_frames_run_alike() {
    let Some(kernel) = Kernel::or_skip() else { return };
    kernel.in_empty_netns(|| {
        for verdict in 0..6u32 {
            for repeat in [0, 1, 5, 64, 200] {
                for grow in [-10, 0, 20] {
                    let program = counts(verdict, grow);
                    let theirs = in_kernel(&kernel, &program, repeat);
                    let ours = in_mimic(&program, repeat);
                    assert_eq!(ours, theirs, "verdict {verdict}, repeat {repeat}, growing by {grow}");
                }
            }
        }
    });
}

#[test]
fn what_became_of_live_frames_is_counted() {
    let vm = Vm::builder(Linux::new(World::default())).build().expect("address space");
    let maps = vm.load_maps(&[counters()]).expect("they are good");
    let program = vm.add(counts(2, 0), &maps).expect("it loads");
    let mut process = vm.process(&program, 0).expect("memory");
    let frame = [0; LEN];
    let run =
        TestRun { data_in: &frame, flags: BPF_F_TEST_XDP_LIVE_FRAMES, repeat: 70, ..TestRun::default() };
    let out = test_run(&mut process, &run).expect("it runs");
    assert_eq!(out.frames.into_iter().collect::<Vec<_>>(), [(Xdp::Pass, 70)]);
}

fn counters() -> MapSpec {
    MapSpec {
        name: "counters".into(),
        map_type: MapType::Array.id(),
        key_size: 4,
        value_size: 8 * COUNTERS,
        max_entries: 1,
        ..MapSpec::default()
    }
}

/// Counts its runs, lengths, devices, queues, and a byte of the frame, which it changes; moves the frame's end.
fn counts(verdict: u32, grow: i32) -> Program {
    let count = |at: u32, what: &str| {
        format!("r3 = *(u64 *)(r9 + {0}); r3 += {what}; *(u64 *)(r9 + {0}) = r3;", 8 * at)
    };
    let text = [
        "r6 = r1; r9 = 0 ll; r7 = *(u32 *)(r1 + 0); r8 = *(u32 *)(r1 + 4); r2 = r7; r2 += 14; if r2 > r8 goto end;",
        &count(0, "1"),
        "r8 -= r7;",
        &count(1, "r8"),
        "r4 = *(u8 *)(r7 + 13);",
        &count(2, "r4"),
        "r4 += 1; *(u8 *)(r7 + 13) = r4; r4 = *(u32 *)(r6 + 12);",
        &count(3, "r4"),
        "r4 = *(u32 *)(r6 + 16);",
        &count(4, "r4"),
        &format!("r1 = r6; r2 = {grow}; call 65;"),
        &count(5, "r0"),
        &format!("end: r0 = {verdict}; exit"),
    ];
    let code = assemble(&text.join("\n"), &()).unwrap_or_else(|errors| panic!("{errors:?}")).slots;
    let refs = vec![Ref { pc: 1, target: RefTarget::MapValue { map: 0, off: 0 } }];
    let prog_type = Some(ProgType::Xdp);
    Program { refs, prog_type, license: "GPL".into(), ..Program::from_code("live", code, ByteOrder::NATIVE) }
}

fn in_kernel(kernel: &Kernel, program: &Program, repeat: u32) -> (i32, Vec<u8>) {
    let maps = [counters()];
    let loaded =
        kernel.load(&Parts { maps: &maps, programs: &[program], btf: None }).expect("the map is good");
    let prog = loaded.progs[0].as_ref().unwrap_or_else(|error| panic!("{error}"));
    let attr = TestRunAttr {
        data_in: Some(&[0; LEN]),
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        repeat,
        ..TestRunAttr::default()
    };
    let answer = prog.test_run(&attr);
    (answer.errno, loaded.maps[0].map.lookup(&[0; 4]).expect("it is there"))
}

fn in_mimic(program: &Program, repeat: u32) -> (i32, Vec<u8>) {
    let vm = Vm::builder(Linux::new(World::of_test_run(0))).build().expect("address space");
    let maps = vm.load_maps(&[counters()]).expect("they are good");
    let program = vm.add(program.clone(), &maps).expect("it loads");
    let mut process = vm.process(&program, 0).expect("memory");
    let run = TestRun { data_in: &[0; LEN], flags: BPF_F_TEST_XDP_LIVE_FRAMES, repeat, ..TestRun::default() };
    let out = test_run(&mut process, &run).unwrap_or_else(|error| panic!("{error}"));
    (out.errno.map_or(0, |errno| errno.0), maps[0].lookup_copy(&[0; 4], 0).expect("it is there"))
}
