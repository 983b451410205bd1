//! The helpers of packets: what they answer, and what they make of packet and context.

use crate::both::{Both, Input, frame, in_netns, packets};
use mimic_abi::ProgType;

/// Puts r0 and what programs see of the packet into the context, which comes back.
const REPORT: &str = "
    *(u32 *)(r6 + 48) = r0
    r0 >>= 32
    *(u32 *)(r6 + 52) = r0
    r0 = *(u32 *)(r6 + 0)
    *(u32 *)(r6 + 56) = r0
    r0 = *(u32 *)(r6 + 16)
    r2 = *(u32 *)(r6 + 28)
    r2 <<= 16
    r0 |= r2
    *(u32 *)(r6 + 60) = r0
    r0 = *(u32 *)(r6 + 20)
    r0 <<= 16
    r2 = *(u32 *)(r6 + 24)
    r0 |= r2
    *(u32 *)(r6 + 64) = r0
    r2 = *(u32 *)(r6 + 176)
    *(u32 *)(r6 + 8) = r2
    r2 = *(u32 *)(r6 + 164)
    *(u32 *)(r6 + 32) = r2
    r0 = *(u32 *)(r6 + 80)
    r2 = *(u32 *)(r6 + 76)
    r0 -= r2
    exit";

/// 32 bytes on the stack.
const STACK: &str = "
    r6 = r1
    r0 = 0x1122334455667788 ll; *(u64 *)(r10 - 8) = r0
    r0 = 0x99aabbccddeeff01 ll; *(u64 *)(r10 - 16) = r0
    r0 = 0xfedcba9876543210 ll; *(u64 *)(r10 - 24) = r0
    r0 = 0x0f1e2d3c4b5a6978 ll; *(u64 *)(r10 - 32) = r0
";

/// A statement that sets a register to any 64-bit value.
fn set(reg: u32, value: i64) -> String {
    format!("r{reg} = {value} ll; ")
}

/// A call of a helper on the context with numbers as r2 to r5.
fn call(helper: u32, args: &[i64]) -> String {
    let args: String = args.iter().enumerate().map(|(at, value)| set(at as u32 + 2, *value)).collect();
    format!("r1 = r6; {args} call {helper}; ")
}

/// A call with memory at r10-32 in register `reg`.
fn call_mem(helper: u32, args: &[i64], reg: u32) -> String {
    let args: String = args.iter().enumerate().map(|(at, value)| set(at as u32 + 2, *value)).collect();
    format!("r1 = r6; {args} r{reg} = r10; r{reg} += -32; call {helper}; ")
}

/// Runs a body over packets in a tc classifier.
fn tc(differences: &mut Vec<String>, body: &str, frames: &[(&str, Vec<u8>)], flags: u32) {
    let mut both = Both::load(ProgType::SchedCls, &format!("{STACK}{body}{REPORT}"));
    both.name(body);
    for (name, data) in frames {
        let input =
            Input { data: data.clone(), data_size_out: 20_000, ctx_size_out: 192, flags, ..Input::default() };
        both.compare(name, &input);
    }
    differences.append(&mut both.differences);
}

fn ip_frames() -> Vec<(&'static str, Vec<u8>)> {
    vec![("ipv4", frame(0x0800, 60)), ("ipv6", frame(0x86dd, 80)), ("arp", frame(0x0806, 42))]
}

fn product(lists: &[&[i64]]) -> Vec<Vec<i64>> {
    lists.iter().fold(vec![Vec::new()], |all, list| {
        all.iter()
            .flat_map(|head| list.iter().map(move |last| [head.as_slice(), &[*last]].concat()))
            .collect()
    })
}

#[test]
fn bytes() {
    let offs = [0, 12, 14, 38, 39, 40, 56, 57, 58, 76, 77, 0xffff, 0x7fff_ffff, 0x8000_0000, -1, -14];
    in_netns(|differences| {
        for args in product(&[&offs, &[0], &[4], &[0, 1, 2, 3, 4, -1]]) {
            tc(differences, &call_mem(9, &args, 3), &ip_frames(), 0);
        }
        for args in product(&[&offs, &[0], &[4]]) {
            let body = call_mem(26, &args, 3)
                + "r7 = r0; r0 = *(u32 *)(r10 - 32); *(u64 *)(r6 + 152) = r0; r0 = r7; ";
            tc(differences, &body, &ip_frames(), 0);
        }
        for args in
            product(&[&[0, 12, 24, 25, 42, 43, 56, 62, 63, 0xffff, 0x1_0000, -1], &[0], &[4], &[0, 1, 2, -1]])
        {
            let body = call_mem(68, &args, 3)
                + "r7 = r0; r0 = *(u32 *)(r10 - 32); *(u64 *)(r6 + 152) = r0; r0 = r7; ";
            tc(differences, &body, &ip_frames(), 0);
        }
        for len in [0, 1, 42, 43, 60, 61, 80, 81, 0x7fff_ffff, -1] {
            tc(differences, &call(39, &[len]), &ip_frames(), 0);
        }
    });
}

#[test]
fn checksums() {
    in_netns(|differences| {
        let (from, to) = (0x1234_5678, 0xffff_fedc);
        for args in
            product(&[&[24, 25, 40, 41, 58, 0xffff, 0x1_0000], &[0, from], &[to, 0], &[0, 1, 2, 4, 8, 16]])
        {
            tc(differences, &call(10, &args), &ip_frames(), 0);
        }
        let flags: Vec<i64> =
            (0..0x200).step_by(16).flat_map(|high| [high, high + 2, high + 4, high + 3]).collect();
        for args in product(&[&[40, 41, 0x1_0000], &[0, from], &[to], &flags]) {
            tc(differences, &call(11, &args), &ip_frames()[..2], 0);
        }
        for args in product(&[&[40], &[from, 0], &[to], &[0, 2, 4, 16, 18, 20, 0x90, 0x94]]) {
            // With the sum of the whole packet known: it must follow, or the kernel answers EBADMSG.
            tc(differences, &call(11, &args), &ip_frames()[..2], 4);
            let fixed = call(10, &[24, args[1], args[2], args[3] & 15]) + &call(11, &args);
            tc(differences, &fixed, &ip_frames()[..1], 4);
        }
        for args in product(&[&[20, 41], &[0], &[4], &[0, 1]]) {
            tc(differences, &call_mem(9, &args, 3), &ip_frames(), 4);
        }
        for update in [0, 1, 0xffff, from, 0xffff_ffff] {
            tc(differences, &call(40, &[update]), &ip_frames()[..1], 0);
            tc(differences, &call(40, &[update]), &ip_frames()[..1], 4);
        }
        for level in [0, 1, 2, 3, 4, -1] {
            for again in [0, 1, 2, 3] {
                let body = call(135, &[level]) + &call(135, &[again]) + &call(135, &[0]);
                tc(differences, &body, &ip_frames()[..1], 0);
                tc(differences, &body, &ip_frames()[..1], 4);
            }
        }
    });
}

#[test]
fn checksum_differences() {
    in_netns(|differences| {
        for (from, to, seed) in product(&[
            &[0, 4, 8, 16, 20, 3, 32],
            &[0, 4, 12, 16, 5],
            &[0, 1, 0xffff, 0xffff_ffff, 0x1234_5678],
        ])
        .into_iter()
        .map(|row| (row[0], row[1], row[2]))
        {
            let part = |reg: u32, len: i64, at: i64| match len {
                0 => format!("r{reg} = 0; "),
                _ => format!("r{reg} = r10; r{reg} += {at}; "),
            };
            let body = part(1, from, -32)
                + &set(2, from)
                + &part(3, to, -16)
                + &set(4, to)
                + &set(5, seed)
                + "call 28; ";
            tc(differences, &body, &[("ipv4", frame(0x0800, 60))], 0);
        }
        let zeros =
            "r0 = 0; *(u64 *)(r10 - 32) = r0; r1 = r10; r1 += -32; r2 = 8; r3 = 0; r4 = 0; r5 = 0; call 28; ";
        tc(differences, zeros, &[("ipv4", frame(0x0800, 60))], 0);
    });
}

#[test]
fn lengths() {
    in_netns(|differences| {
        for args in product(&[&[0, 13, 14, 33, 34, 42, 60, 61, 100, 2000, 16063, 16064, 16065, -1], &[0, 1]])
        {
            tc(differences, &call(38, &args), &ip_frames(), 0);
            tc(differences, &call(38, &args), &ip_frames(), 4);
        }
        for args in product(&[&[0, 1, 14, 100, 5000, 16004, 16005, 16384, 0x7fff_ffff, -20, -1], &[0, 1]]) {
            tc(differences, &call(43, &args), &ip_frames(), 0);
        }
        let twice = call(43, &[30, 0]) + &call(38, &[40, 0]) + &call(43, &[300, 0]) + &call(38, &[2000, 0]);
        tc(differences, &twice, &ip_frames(), 0);
    });
}

#[test]
fn headers() {
    in_netns(|differences| {
        for args in product(&[&[0x0008, 0xdd86, 0x0800, 0], &[0, 1]]) {
            tc(differences, &call(31, &args), &packets(), 0);
            let back = call(31, &[0xdd86, 0]) + &call(31, &[0x0008, 0]);
            tc(differences, &back, &ip_frames(), 0);
        }
        for pkt_type in [0, 1, 2, 3, 4, 7, -1] {
            let body = call(32, &[pkt_type]) + "r7 = *(u32 *)(r6 + 4); *(u64 *)(r6 + 152) = r7; ";
            tc(differences, &body, &packets(), 0);
        }
        let diffs =
            [-4096, -4095, -60, -40, -29, -28, -26, -25, -20, -8, -1, 0, 1, 4, 20, 28, 40, 100, 4095, 4096];
        for args in product(&[&diffs, &[0, 1, 2], &[0]]) {
            tc(differences, &call(50, &args), &ip_frames(), 0);
        }
        let l2 = |len: i64| len << 56;
        let flags = [
            1,
            2,
            4,
            6,
            8,
            10,
            12,
            18,
            20,
            24,
            26,
            32,
            34,
            64,
            66,
            0x80,
            0x100,
            0x180,
            0x82,
            0x200,
            0x400,
            l2(14),
            2 | l2(14),
            2 | 64 | l2(14),
            2 | 64 | l2(13),
            4 | 16 | 64 | l2(14),
            2 | l2(255),
            l2(255),
        ];
        for args in product(&[&[-40, -20, 20, 28, 50], &[0, 1], &flags]) {
            tc(differences, &call(50, &args), &ip_frames()[..2], 0);
        }
        for args in product(&[&[-20, 20], &[0, 1], &[0, 2, 32]]) {
            tc(differences, &call(50, &args), &ip_frames()[..2], 4);
        }
        let tunnel = call(50, &[28, 1, 2 | 16]) + &call(50, &[28, 1, 2 | 16]) + &call(38, &[70, 0]);
        tc(differences, &tunnel, &ip_frames(), 0);
        let tunnel = call(50, &[48, 1, 4 | 16]) + &call(50, &[-48, 1, 0x80]) + &call(43, &[4, 0]);
        tc(differences, &tunnel, &ip_frames(), 0);
    });
}

#[test]
fn vlan_tags() {
    in_netns(|differences| {
        for (proto, tci) in [(0x0081, 5), (0xa888, 0x2fff), (0x8100, 0), (0, 1), (0x0081, -1)] {
            let push = call(18, &[proto, tci]);
            let pop = call(19, &[]);
            for body in [
                push.clone(),
                pop.clone(),
                push.clone() + &pop,
                push.clone() + &push,
                push.clone() + &push + &push,
                push.clone() + &push + &pop,
                push.clone() + &push + &pop + &pop,
                pop.clone() + &pop,
                pop.clone() + &pop + &pop,
                pop.clone() + &push + &push,
                push.clone() + &push + &call(50, &[20, 1, 0]),
            ] {
                tc(differences, &body, &packets(), 0);
                tc(differences, &body, &packets(), 4);
            }
        }
    });
}

#[test]
fn fields() {
    let hash = "r7 = *(u32 *)(r6 + 68); *(u64 *)(r6 + 152) = r7; ";
    in_netns(|differences| {
        for body in [
            call(34, &[]) + "if r0 == 0 goto none; r0 = 1; none: ",
            call(48, &[0x1234_5678_9abc]) + hash,
            call(48, &[77]) + &call(34, &[]) + hash,
            call(48, &[77]) + &call(41, &[]) + hash,
            call(48, &[0]) + &call(34, &[]) + hash,
            call(48, &[77]) + &call_mem(9, &[20, 0, 4, 2], 3) + hash,
            call(48, &[77]) + &call(31, &[0xdd86, 0]) + hash,
            call(24, &[]),
            call(47, &[]),
            call_mem(66, &[0, 0, 28, 0], 3),
        ] {
            tc(differences, &body, &packets(), 0);
        }
        for args in product(&[&[0, 1, -1], &[0, 1, 2, 3, -1]]) {
            let body = call(192, &args) + "r7 = *(u64 *)(r6 + 152); *(u32 *)(r6 + 44) = r7; ";
            tc(differences, &body, &packets(), 0);
        }
        for ecn in 0..4u8 {
            let frames: Vec<(&str, Vec<u8>)> = packets()
                .into_iter()
                .map(|(name, mut data)| {
                    for byte in data.iter_mut().skip(15).step_by(4).take(2) {
                        *byte = *byte & 0xcc | ecn | ecn << 4;
                    }
                    (name, data)
                })
                .collect();
            tc(differences, &call(97, &[]), &frames, 0);
            tc(differences, &call(97, &[]), &frames, 4);
        }
    });
}

#[test]
fn elsewhere() {
    in_netns(|differences| {
        for args in product(&[&[0, 1, 2, -1], &[0, 1, 2, 3, 8, 0x1_0000, -1]]) {
            let args_of = |first: u32| set(first, args[0]) + &set(first + 1, args[1]);
            tc(differences, &(args_of(1) + "call 23; "), &ip_frames()[..1], 0);
            tc(differences, &(args_of(1) + "call 155; "), &ip_frames()[..1], 0);
            tc(differences, &call(13, &args), &ip_frames(), 0);
            for len in [0, 4, 19, 20, 24] {
                let mem = if len == 0 { "r2 = 0; " } else { "r2 = r10; r2 += -32; " };
                let body = set(1, args[0]) + mem + &set(3, len) + &set(4, args[1]) + "call 152; ";
                tc(differences, &body, &ip_frames()[..1], 0);
            }
        }
        for args in product(&[
            &[0, 1, 2],
            &[0, 60, 65536, 65537, -1],
            &[0, 1, -60, 65490, 65491, 65536, -2147483648],
            &[0, 1, 2],
        ]) {
            let body = format!(
                "{} *(u64 *)(r10 - 32) = r7; r1 = r6; {} r3 = r10; r3 += -32; {} {} call 163; r7 = *(u32 *)(r10 - 32); *(u64 *)(r6 + 152) = r7; ",
                set(7, args[1]),
                set(2, args[0]),
                set(4, args[2]),
                set(5, args[3])
            );
            tc(differences, &body, &ip_frames()[..1], 0);
        }
    });
}

/// Runs a body over frames in an XDP program, whole and in fragments.
fn xdp(differences: &mut Vec<String>, body: &str) {
    xdp_times(differences, body, 1);
}

/// The same, so many times on a frame. The kernel takes its time over repeated runs of XDP programs.
fn xdp_times(differences: &mut Vec<String>, body: &str, repeat: u32) {
    let mut both = Both::load(ProgType::Xdp, &format!("{STACK}{body} exit"));
    both.name(body);
    for (len, meta, linear) in [
        (60, 0, 60),
        (14, 0, 14),
        (64, 4, 64),
        (3520, 0, 3520),
        (8000, 0, 3000),
        (100, 0, 20),
        (9000, 8, 4000),
    ] {
        let ctx: Vec<u8> = [meta, linear, 0, 0, 0, 0u32].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let data: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let input = Input { data, data_size_out: 20_000, ctx, ctx_size_out: 24, repeat, ..Input::default() };
        both.compare(format!("{len} bytes, {meta} of metadata, {linear} linear"), &input);
    }
    differences.append(&mut both.differences);
}

#[test]
fn xdp_frames() {
    let deltas = [
        -5000,
        -257,
        -256,
        -217,
        -216,
        -215,
        -100,
        -47,
        -46,
        -45,
        -9,
        -8,
        -4,
        -1,
        0,
        1,
        4,
        8,
        46,
        47,
        96,
        200,
        249,
        252,
        253,
        256,
        1000,
        3000,
        3700,
        4000,
        5000,
        0x7fff_ffff,
        -0x8000_0000,
    ];
    in_netns(|differences| {
        for delta in deltas {
            xdp(differences, &call(44, &[delta]));
            xdp(differences, &call(54, &[delta]));
            xdp(differences, &call(65, &[delta]));
            xdp(differences, &(call(54, &[-12]) + &call(44, &[delta])));
            xdp(differences, &(call(44, &[-40]) + &call(54, &[delta])));
            xdp(differences, &(call(65, &[-20]) + &call(65, &[delta])));
            xdp(differences, &(call(65, &[delta]) + &call(188, &[])));
        }
        for (off, len) in product(&[
            &[0, 10, 19, 20, 59, 60, 61, 2990, 2999, 3000, 7095, 7096, 7999, 0xffff, 0x1_0000, -1],
            &[1, 8, 16],
        ])
        .into_iter()
        .map(|row| (row[0], row[1]))
        {
            xdp(
                differences,
                &(call_mem(189, &[off, 0, len], 3) + "r7 = *(u64 *)(r10 - 32); r7 <<= 8; r0 ^= r7; "),
            );
            xdp(differences, &call_mem(190, &[off, 0, len], 3));
        }
        for body in [call(44, &[8]), call(54, &[-4]), call(65, &[-1000]), call(65, &[40])] {
            xdp_times(differences, &body, 3);
        }
        for flags in [0, 1, 2, 8, -1] {
            xdp(differences, &(set(1, 1) + &set(2, flags) + "call 23; "));
        }
        for args in product(&[&[0, 1, 2], &[0, 60, 65537], &[0, -60, 65536], &[0, 1]]) {
            let body = format!(
                "{} *(u64 *)(r10 - 32) = r7; r1 = r6; {} r3 = r10; r3 += -32; {} {} call 163; r7 = *(u32 *)(r10 - 32); r7 <<= 4; r0 ^= r7; ",
                set(7, args[1]),
                set(2, args[0]),
                set(4, args[2]),
                set(5, args[3])
            );
            xdp(differences, &body);
        }
    });
}

/// Fields of which the kernel keeps half, or that it does not always write.
#[test]
fn short_fields() {
    in_netns(|differences| {
        for (off, value) in
            product(&[&[12, 44, 72, 8, 32], &[0, 5, 0xfffe, 0xffff, 0x1_0000, 0x1_2345, 0x7fff_ffff]])
                .into_iter()
                .map(|row| (row[0], row[1]))
        {
            let again =
                format!("r7 = *(u32 *)(r6 + {off}); r0 = *(u16 *)(r6 + {off}); *(u64 *)(r6 + 152) = r7; ");
            let first = format!("r7 = 9; *(u32 *)(r6 + {off}) = r7; ");
            let reg = format!("{first} r7 = {value}; *(u32 *)(r6 + {off}) = r7; {again}");
            tc(differences, &reg, &ip_frames()[..1], 0);
            tc(
                differences,
                &format!("{first} *(u32 *)(r6 + {off}) = {value}; {again}"),
                &ip_frames()[..1],
                0,
            );
        }
    });
}

/// Legacy loads, at sizes and offsets around all edges, of the types that have them.
#[test]
fn legacy_loads() {
    let offs: [i32; 27] = [
        0,
        1,
        12,
        23,
        42,
        43,
        44,
        45,
        46,
        56,
        57,
        58,
        59,
        60,
        -1,
        -0x10_0000,
        -0x10_0000 + 9,
        -0x10_0000 + 45,
        -0x10_0001,
        -0x10_0000 - 14,
        -0x20_0000,
        -0x20_0000 + 12,
        -0x20_0000 + 59,
        -0x20_0000 + 60,
        -0x20_0001,
        -0x7fff_ffff,
        0x7fff_ffff,
    ];
    in_netns(|differences| {
        for prog_type in [ProgType::SocketFilter, ProgType::SchedCls] {
            for off in offs {
                for size in ["u8", "u16", "u32"] {
                    let texts = [
                        format!("r6 = r1; r0 = *({size} *)skb[{off}]; r0 ^= 0x5a5a; exit"),
                        format!(
                            "r6 = r1; r7 = 3; r0 = *({size} *)skb[r7 + {}]; r0 ^= 0x5a5a; exit",
                            off.saturating_sub(3)
                        ),
                    ];
                    for text in texts {
                        let mut both = Both::load(prog_type, &text);
                        let input = Input { data: frame(0x0800, 60), data_size_out: 60, ..Input::default() };
                        both.compare("ipv4", &input);
                        differences.append(&mut both.differences);
                    }
                }
            }
        }
    });
}
