//! `BPF_PROG_TEST_RUN` in the kernel and in mimic: the same programs, inputs and answers.
#![cfg(target_os = "linux")]

mod both;
mod helpers;
mod live;

use both::{Both, Input, frame, in_netns, packets};
use mimic_abi::ProgType;

const SKB_TYPES: [ProgType; 8] = [
    ProgType::SocketFilter,
    ProgType::SchedCls,
    ProgType::SchedAct,
    ProgType::CgroupSkb,
    ProgType::LwtIn,
    ProgType::LwtOut,
    ProgType::LwtXmit,
    ProgType::LwtSeg6local,
];

const LENS: [usize; 14] = [0, 1, 13, 14, 15, 33, 34, 64, 3519, 3520, 3711, 3712, 3713, 4096];

#[test]
fn skb_lengths_rooms_and_flags() {
    in_netns(|differences| {
        for prog_type in SKB_TYPES {
            let mut both = Both::load(prog_type, "r0 = *(u32 *)(r1 + 0); exit");
            for len in LENS {
                let data = if len >= 14 { frame(0x1234, len) } else { vec![1; len] };
                let input = Input { data, data_size_out: 5000, ..Input::default() };
                both.compare(format!("len {len}"), &input);
                for room in [0, 1, len as u32, len as u32 + 1, (len as u32).saturating_sub(1)] {
                    let input = Input { data_size_out: room, ctx_size_out: 192, ..input.clone() };
                    both.compare(format!("len {len} room {room}"), &input);
                }
            }
            let plain = Input { data: frame(0x0800, 60), data_size_out: 100, ..Input::default() };
            for (flags, cpu, batch_size) in [(1, 0, 0), (2, 0, 0), (4, 0, 0), (8, 0, 0), (0, 1, 0), (0, 0, 1)]
            {
                let input = Input { flags, cpu, batch_size, ..plain.clone() };
                both.compare(format!("flags {flags} cpu {cpu} batch {batch_size}"), &input);
            }
            for (ctx_len, ctx_size_out) in
                [(1, 0), (4, 192), (192, 191), (192, 1), (192, 193), (200, 300), (4096, 192), (4097, 192)]
            {
                let input = Input { ctx: vec![0; ctx_len], ctx_size_out, ..plain.clone() };
                both.compare(format!("ctx {ctx_len} room {ctx_size_out}"), &input);
            }
            let mut long = vec![0; 200];
            long[195] = 1;
            both.compare("ctx too long", &Input { ctx: long, ..plain.clone() });
            differences.append(&mut both.differences);
        }
    });
}

#[test]
fn skb_context_fields() {
    in_netns(|differences| {
        for prog_type in SKB_TYPES {
            let mut both =
                Both::load(prog_type, "r0 = *(u32 *)(r1 + 8); r2 = *(u32 *)(r1 + 56); r0 += r2; exit");
            for at in 0..48 {
                for value in [1u32, 2, 60, 0x1_0000, 0x1_0001, 0x8000_0001] {
                    let mut ctx = vec![0; 192];
                    ctx[4 * at..4 * at + 4].copy_from_slice(&value.to_ne_bytes());
                    let input = Input {
                        data: frame(0x0800, 60),
                        data_size_out: 100,
                        ctx,
                        ctx_size_out: 192,
                        ..Input::default()
                    };
                    both.compare(format!("word {at} {value:#x}"), &input);
                }
            }
            differences.append(&mut both.differences);
        }
    });
}

/// Every field that each type may read, at every size, over every packet.
#[test]
fn skb_fields_as_programs_see_them() {
    let addresses = [76, 80, 140, 144, 168];
    let common: Vec<u32> =
        vec![0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 84, 164, 176];
    in_netns(|differences| {
        for prog_type in SKB_TYPES {
            let mut offs = common.clone();
            match prog_type {
                ProgType::SchedCls | ProgType::SchedAct => offs.extend([72, 160]),
                ProgType::CgroupSkb => offs.extend((88..=136).step_by(4)),
                _ => {}
            }
            for off in offs.iter().filter(|off| !addresses.contains(off)) {
                let mut both = Both::load(prog_type, &format!("r0 = *(u32 *)(r1 + {off}); exit"));
                for (name, data) in packets() {
                    let mut ctx = vec![0; 192];
                    for at in [8, 32, 36, 48, 52, 56, 60, 64, 164, 176] {
                        ctx[at..at + 4].copy_from_slice(&(at as u32 * 3).to_ne_bytes());
                    }
                    let input =
                        Input { data, data_size_out: 100, ctx, ctx_size_out: 192, ..Input::default() };
                    both.compare(name, &input);
                    both.compare(format!("{name}, no ctx"), &Input { ctx: Vec::new(), ..input });
                }
                differences.append(&mut both.differences);
            }
            let narrow = [("u8", 17), ("u16", 16), ("u8", 50), ("u64", 56), ("u16", 10), ("u8", 3)];
            for (size, off) in narrow {
                let mut both = Both::load(prog_type, &format!("r0 = *({size} *)(r1 + {off}); exit"));
                for (name, data) in packets() {
                    both.compare(name, &Input { data, data_size_out: 100, ..Input::default() });
                }
                differences.append(&mut both.differences);
            }
        }
        for (prog_type, text) in [
            (ProgType::SchedCls, "r0 = *(u64 *)(r1 + 152); exit"),
            (ProgType::SchedCls, "r0 = *(u64 *)(r1 + 184); exit"),
            (ProgType::CgroupSkb, "r0 = *(u64 *)(r1 + 152); exit"),
            (ProgType::SchedCls, "r0 = *(u8 *)(r1 + 180); exit"),
            (ProgType::SchedCls, "r2 = *(u32 *)(r1 + 76); r0 = *(u32 *)(r1 + 80); r0 -= r2; exit"),
            (ProgType::SchedCls, "r2 = *(u32 *)(r1 + 76); r0 = *(u32 *)(r1 + 140); r0 -= r2; exit"),
            (ProgType::LwtIn, "r2 = *(u32 *)(r1 + 76); r0 = *(u32 *)(r1 + 80); r0 -= r2; exit"),
            (ProgType::LwtXmit, "r2 = *(u32 *)(r1 + 76); r0 = *(u32 *)(r1 + 80); r0 -= r2; exit"),
            (ProgType::CgroupSkb, PARSE),
            (ProgType::LwtSeg6local, PARSE),
            (ProgType::LwtOut, PARSE),
            (ProgType::SchedCls, PARSE),
        ] {
            let mut both = Both::load(prog_type, text);
            for (name, data) in packets() {
                let mut ctx = vec![0; 192];
                ctx[152] = 5;
                ctx[184] = 7;
                let input = Input { data, data_size_out: 100, ctx, ctx_size_out: 192, ..Input::default() };
                both.compare(name, &input);
            }
            differences.append(&mut both.differences);
        }
    });
}

/// Reads a byte by pointer if the packet's end allows it.
const PARSE: &str = "
    r0 = -1
    r2 = *(u32 *)(r1 + 76)
    r3 = *(u32 *)(r1 + 80)
    r4 = r2
    r4 += 20
    if r4 > r3 goto out
    r0 = *(u8 *)(r2 + 19)
    out: exit";

#[test]
fn skb_repeats_go_on_with_the_packet() {
    in_netns(|differences| {
        let text = "r2 = *(u32 *)(r1 + 76); r3 = *(u32 *)(r1 + 80); r0 = 0; r4 = r2; r4 += 15; if r4 > r3 goto out;
            r0 = *(u8 *)(r2 + 14); r0 += 1; *(u8 *)(r2 + 14) = r0; r5 = *(u32 *)(r1 + 48); r5 += 3; *(u32 *)(r1 + 48) = r5; out: exit";
        for prog_type in [ProgType::SchedCls, ProgType::LwtXmit] {
            let mut both = Both::load(prog_type, text);
            for repeat in [0, 1, 2, 7, 300] {
                let input = Input {
                    data: frame(0x1234, 60),
                    data_size_out: 60,
                    ctx_size_out: 192,
                    repeat,
                    ..Input::default()
                };
                both.compare(format!("repeat {repeat}"), &input);
            }
            differences.append(&mut both.differences);
        }
    });
}

#[test]
fn xdp_lengths_contexts_and_flags() {
    in_netns(|differences| {
        let text = "r0 = *(u32 *)(r1 + 12); r0 <<= 8; r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r3 -= r2; r0 += r3;
            r4 = *(u32 *)(r1 + 8); r2 -= r4; r2 <<= 20; r0 += r2; r5 = *(u32 *)(r1 + 16); r0 += r5; exit";
        let mut both = Both::load(ProgType::Xdp, text);
        for len in LENS.into_iter().chain([5000, 3520 + 17 * 4096, 3521 + 17 * 4096]) {
            let data = vec![3; len];
            let input = Input { data, data_size_out: 100_000, ..Input::default() };
            both.compare(format!("len {len}"), &input);
            for room in [0, 1, len as u32, len as u32 + 1, (len as u32).saturating_sub(1), 3000, 4200] {
                let input = Input { data_size_out: room, ..input.clone() };
                both.compare(format!("len {len} room {room}"), &input);
            }
        }
        for len in [60usize, 4000] {
            let plain =
                Input { data: vec![5; len], data_size_out: 5000, ctx_size_out: 24, ..Input::default() };
            both.compare("ctx out only", &plain);
            for (flags, cpu, batch_size) in [(1, 0, 0), (4, 0, 0), (0, 1, 0), (0, 0, 1), (2, 0, 257)] {
                let input = Input { flags, cpu, batch_size, ..plain.clone() };
                both.compare(format!("flags {flags} cpu {cpu} batch {batch_size}"), &input);
            }
            let words: Vec<[u32; 6]> = [0, 1, 4, 8, 12, 20, 44, 46, 48, 212, 216, 220, 252, 256]
                .into_iter()
                .flat_map(|meta| [0, 14, 46, 59, 60, 61, 3000, 4000, 4001].map(|end| [meta, end, 0, 0, 0, 0]))
                .chain([[0, 60, 1, 0, 0, 0], [0, 60, 0, 1, 0, 0], [0, 60, 0, 2, 0, 0], [0, 60, 0, 1, 1, 0]])
                .chain([[0, 60, 0, 0, 1, 0], [0, 60, 0, 0, 0, 1], [4, 60, 0, 1, 0, 0], [4, 60, 0, 1, 0, 1]])
                .collect();
            for word in words {
                let ctx: Vec<u8> = word.iter().flat_map(|word| word.to_ne_bytes()).collect();
                both.compare(format!("len {len} ctx {word:?}"), &Input { ctx, ..plain.clone() });
            }
            let ctx: Vec<u8> =
                [0, len as u32, 0, 0, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
            for ctx_size_out in [1, 23, 24, 25] {
                both.compare(
                    format!("room for ctx {ctx_size_out}"),
                    &Input { ctx: ctx.clone(), ctx_size_out, ..plain.clone() },
                );
            }
        }
        differences.append(&mut both.differences);
    });
}

#[test]
fn bytes_as_contexts() {
    in_netns(|differences| {
        for (prog_type, text) in [
            (ProgType::RawTracepoint, "r0 = *(u64 *)(r1 + 8); exit"),
            (ProgType::RawTracepoint, "r0 = 7; exit"),
            (ProgType::RawTracepoint, "r6 = r1; r0 = *(u64 *)(r6 + 88); exit"),
            (ProgType::Syscall, "r0 = *(u32 *)(r1 + 4); *(u32 *)(r1 + 8) = 77; exit"),
            (ProgType::Syscall, "r0 = 3; exit"),
        ] {
            let mut both = Both::load(prog_type, text);
            for len in [0usize, 1, 8, 12, 15, 16, 88, 95, 96, 97, 104, 4096] {
                let ctx: Vec<u8> = (0..len).map(|at| at as u8).collect();
                both.compare(format!("ctx {len}"), &Input { ctx, ..Input::default() });
            }
            let plain = Input { ctx: vec![1; 96], ..Input::default() };
            for (what, input) in [
                ("data", Input { data: vec![1; 20], ..plain.clone() }),
                ("data out", Input { data_size_out: 20, ..plain.clone() }),
                ("ctx out", Input { ctx_size_out: 20, ..plain.clone() }),
                ("repeat", Input { repeat: 1, ..plain.clone() }),
                ("batch", Input { batch_size: 1, ..plain.clone() }),
                ("cpu without flag", Input { cpu: 1, ..plain.clone() }),
                ("cpu 0", Input { flags: 1, ..plain.clone() }),
                ("cpu 1", Input { flags: 1, cpu: 1, ..plain.clone() }),
                ("cpu far", Input { flags: 1, cpu: 100_000, ..plain.clone() }),
                ("flag 2", Input { flags: 2, ..plain.clone() }),
            ] {
                both.compare(what, &input);
            }
            differences.append(&mut both.differences);
        }
    });
}

#[test]
fn types_without_test_run() {
    in_netns(|differences| {
        for prog_type in [ProgType::Kprobe, ProgType::Tracepoint, ProgType::PerfEvent, ProgType::SkMsg] {
            let mut both = Both::load(prog_type, "r0 = 0; exit");
            both.compare("plain", &Input { data: vec![0; 64], ..Input::default() });
            differences.append(&mut both.differences);
        }
    });
}

#[test]
fn flow_dissectors() {
    in_netns(|differences| {
        for text in [
            "r0 = 0; exit",
            "r2 = *(u64 *)(r1 + 144); *(u16 *)(r2 + 0) = 3; *(u16 *)(r2 + 2) = 0xffff; r0 = 129; exit",
            "r2 = *(u64 *)(r1 + 144); *(u16 *)(r2 + 0) = 40; *(u16 *)(r2 + 2) = 20; r0 = 2; exit",
            "r2 = *(u64 *)(r1 + 144); r0 = *(u16 *)(r2 + 10); r3 = *(u32 *)(r2 + 48); *(u32 *)(r2 + 52) = r3; exit",
            "r2 = *(u32 *)(r1 + 76); r0 = *(u32 *)(r1 + 80); r0 -= r2; exit",
            "r2 = *(u32 *)(r1 + 76); r3 = *(u32 *)(r1 + 80); r0 = 0; r4 = r2; r4 += 24; if r4 > r3 goto out; r0 = *(u8 *)(r2 + 23); out: exit",
            "r2 = 1; r3 = r10; r3 += -8; r4 = 8; call 26; r2 = *(u64 *)(r10 - 8); r0 += r2; exit",
        ] {
            let mut both = Both::load(ProgType::FlowDissector, text);
            for (name, data) in packets() {
                for (flags, byte, ctx_size_out) in
                    [(0u32, 0u8, 0), (7, 0, 56), (0xffff_ffff, 0, 40), (0, 1, 56)]
                {
                    let mut ctx = vec![0; 56];
                    ctx[48..52].copy_from_slice(&flags.to_ne_bytes());
                    ctx[9] = byte;
                    let input = Input {
                        data: data.clone(),
                        data_size_out: 100,
                        ctx,
                        ctx_size_out,
                        ..Input::default()
                    };
                    both.compare(format!("{name} {flags:#x} {byte}"), &input);
                }
                both.compare(
                    format!("{name}, no room"),
                    &Input { data, data_size_out: 10, ..Input::default() },
                );
            }
            for len in [13, 14, 4096, 4097] {
                both.compare(
                    format!("len {len}"),
                    &Input { data: vec![1; len], data_size_out: 56, ..Input::default() },
                );
            }
            differences.append(&mut both.differences);
        }
    });
}

#[test]
fn socket_lookups() {
    in_netns(|differences| {
        let fields: Vec<String> = (8..68)
            .step_by(4)
            .map(|off| format!("r0 = *(u32 *)(r1 + {off}); if r0 != 0 goto pass; exit; pass: r0 = 1; exit"))
            .collect();
        let others =
            ["r0 = 1; exit", "r0 = 0; exit", "r0 = *(u64 *)(r1 + 0); if r0 == 0 goto out; r0 = 1; out: exit"];
        for text in fields.iter().map(String::as_str).chain(others) {
            let mut both = Both::load(ProgType::SkLookup, text);
            for family in [0u32, 2, 10, 0x1_0002] {
                for at in (0..72).step_by(4) {
                    for value in [1u32, 0x1_0000, 0xffff] {
                        let mut ctx = vec![0; 72];
                        ctx[8..12].copy_from_slice(&family.to_ne_bytes());
                        if at != 8 {
                            ctx[at..at + 4].copy_from_slice(&value.to_ne_bytes());
                        }
                        let input = Input { ctx, ctx_size_out: 72, ..Input::default() };
                        both.compare(format!("family {family} at {at} {value:#x}"), &input);
                    }
                }
            }
            both.compare("no context", &Input::default());
            both.compare("data", &Input { data: vec![1; 20], ctx: vec![0; 72], ..Input::default() });
            differences.append(&mut both.differences);
        }
    });
}
