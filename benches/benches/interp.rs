//! The interpreter on five mixes of instructions, and rbpf's on the same; the cost of a run; loading; packets; maps.

use mimic::abi::asm::assemble;
use mimic::abi::{ByteOrder, RawInsn};
use mimic::linux::Linux;
use mimic::object::Program;
use mimic::vm::{Process, RawContext, Vm};
use mimic_benches::{Engine, compare, geomean};

/// A mix: what it is, the program, and the instructions that it runs.
struct Mix {
    name: &'static str,
    text: &'static str,
}

const MIXES: &[Mix] = &[
    Mix {
        name: "alu64",
        text: "r0 = 88172645463325252 ll; r2 = 20000
               again: r3 = r0; r3 <<= 13; r0 ^= r3; r3 = r0; r3 >>= 7; r0 ^= r3; r3 = r0; r3 <<= 17; r0 ^= r3
               r2 += -1; if r2 != 0 goto again; exit",
    },
    Mix {
        name: "alu32",
        text: "w0 = 1; r2 = 20000
               again: w3 = w0; w3 *= 1664525; w3 += 1013904223; w0 ^= w3; w3 >>= 5; w0 += w3; w0 &= 0x7fffffff
               r2 += -1; if r2 != 0 goto again; exit",
    },
    Mix {
        name: "branch",
        text: "r0 = 0; r2 = 20000; r4 = 12345
               again: r4 *= 1103515245; r4 += 12345; r3 = r4; r3 >>= 16; r3 &= 7
               if r3 == 0 goto a; if r3 == 1 goto b; if r3 > 5 goto c; r0 += 1; goto next
               a: r0 += 2; goto next
               b: r0 += 3; goto next
               c: r0 ^= 4
               next: r2 += -1; if r2 != 0 goto again; exit",
    },
    Mix {
        name: "packet",
        text: "r0 = 0; r6 = r1; r2 = 200
               outer: r3 = r6; r4 = 90
               inner: r5 = *(u8 *)(r3 + 0); r0 += r5; r5 = *(u16 *)(r3 + 2); r0 ^= r5; r5 = *(u32 *)(r3 + 4); r0 += r5; r3 += 8
               r4 += -1; if r4 != 0 goto inner
               r2 += -1; if r2 != 0 goto outer; exit",
    },
    Mix {
        name: "stack",
        text: "r0 = 0; r2 = 20000
               again: *(u64 *)(r10 - 8) = r2; *(u32 *)(r10 - 16) = r2; r3 = *(u64 *)(r10 - 8); r4 = *(u32 *)(r10 - 16)
               r5 = r10; r5 += -16; r3 += r4; r4 = *(u16 *)(r5 + 0); r0 += r3; r0 ^= r4
               r2 += -1; if r2 != 0 goto again; exit",
    },
];

fn code(text: &str) -> Vec<RawInsn> {
    assemble(text, &()).expect("the mixes are well-formed").slots
}

fn bytes(code: &[RawInsn]) -> Vec<u8> {
    code.iter().flat_map(|slot| slot.to_bytes(ByteOrder::Little)).collect()
}

fn process(code: Vec<RawInsn>) -> Process {
    let vm = Vm::builder(Linux::default()).build().expect("there is memory");
    let program = vm.add(Program::from_code("bench", code, ByteOrder::Little), &[]).expect("it loads");
    vm.process(&program, 0).expect("there is memory")
}

fn main() {
    let rounds = 15;
    let packet: Vec<u8> = (0..1500u32).map(|n| (n * 7) as u8).collect();
    println!(
        "{:<10} {:>14} {:>14} {:>14} {:>8}",
        "mix", "mimic ns/insn", "M insns/s", "rbpf ns/insn", "ratio"
    );
    let mut ratios = Vec::new();
    for mix in MIXES {
        let code = code(mix.text);
        let raw = bytes(&code);
        let mut process = process(code);
        let mut context = RawContext::with_len(packet.clone());
        let insns = process.run(&mut context).expect("the mix runs").insns as f64;
        let peer = rbpf::EbpfVmRaw::new(Some(&raw)).expect("rbpf takes it");
        let mut memory = packet.clone();
        let times = compare(
            &mut [
                Engine {
                    name: "mimic-interp",
                    run: Box::new(|| process.run(&mut context).expect("it runs").r0),
                },
                Engine {
                    name: "rbpf-interp",
                    run: Box::new(|| peer.execute_program(&mut memory).expect("it runs")),
                },
            ],
            rounds,
        );
        let [mimic, rbpf] = [times[0].best_ns / insns, times[1].best_ns / insns];
        ratios.push(rbpf / mimic);
        println!(
            "{:<10} {mimic:>14.3} {:>14.0} {rbpf:>14.3} {:>8.2}",
            mix.name,
            1000.0 / mimic,
            rbpf / mimic
        );
    }
    println!("geometric mean of the ratios: {:.2}", geomean(ratios));

    let mut empty = process(code("r0 = 0; exit"));
    let mut context = RawContext::new([]);
    let raw = bytes(&code("r0 = 0; exit"));
    let peer = rbpf::EbpfVmRaw::new(Some(&raw)).expect("rbpf takes it");
    let times = compare(
        &mut [
            Engine { name: "mimic-interp", run: Box::new(|| empty.run(&mut context).expect("it runs").r0) },
            Engine { name: "rbpf-interp", run: Box::new(|| peer.execute_program(&mut []).expect("it runs")) },
        ],
        rounds,
    );
    println!("empty run: mimic {:.1} ns, rbpf {:.1} ns", times[0].best_ns, times[1].best_ns);
}
