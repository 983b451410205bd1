//! What programs on socket buffers do.

use mimic_abi::ProgType;

use super::step::{BUFFER, BUFFER_LEN, Steps};

const OFFSETS: &[i64] = &[
    0, 1, 2, 6, 8, 9, 10, 12, 14, 16, 20, 23, 24, 26, 30, 34, 36, 40, 42, 46, 50, 54, 58, 60, 64, -1, -14,
    1000,
];

/// `__sk_buff` fields that most types may read: size and offset. Not the upper halves of those that the kernel has in 16 bits: it answers
/// with the lower one, an oversight of its rewriting.
const FIELDS: &[(&str, i32)] = &[
    ("u32", 0),
    ("u32", 4),
    ("u32", 8),
    ("u32", 12),
    ("u32", 16),
    ("u32", 20),
    ("u32", 24),
    ("u32", 28),
    ("u32", 32),
    ("u32", 36),
    ("u32", 40),
    ("u32", 44),
    ("u32", 48),
    ("u32", 56),
    ("u32", 68),
    ("u32", 84),
    ("u32", 164),
    ("u32", 176),
    ("u16", 0),
    ("u8", 17),
    ("u8", 25),
    ("u8", 9),
];
/// Fields that tc programs may read as well.
const TC_FIELDS: &[(&str, i32)] = &[("u32", 72), ("u64", 152), ("u32", 160), ("u8", 180), ("u64", 184)];

fn is_tc(prog_type: ProgType) -> bool {
    matches!(prog_type, ProgType::SchedCls | ProgType::SchedAct)
}

/// One random thing.
pub(super) fn step(steps: &mut Steps) {
    let kind = steps.rng.below(34);
    match (steps.prog_type, kind) {
        (_, 0 | 1) => load_bytes(steps, 26),
        (_, 2 | 3) => fields(steps),
        (_, 4) => perf_event_output(steps),
        (ProgType::SocketFilter | ProgType::CgroupSkb, 5) => load_bytes(steps, 68),
        (ProgType::SocketFilter | ProgType::SchedCls | ProgType::SchedAct, 6) => packet_load(steps),
        (ProgType::SocketFilter, _) => set_fields(steps),
        (ProgType::CgroupSkb, _) => {
            steps.direct(76, 80, false);
            set_fields(steps);
        }
        (ProgType::LwtIn, 7..) => {
            steps.direct(76, 80, false);
            if kind.is_multiple_of(2) { csum_diff(steps) } else { steps.call(17, &[]) }
        }
        (ProgType::LwtXmit, 8..) if !LWT_XMIT.contains(&kind) => steps.direct(76, 80, true),
        (prog_type, kind) => packet_step(steps, prog_type, kind),
    }
}

/// The kinds below that lwt_xmit programs may do.
const LWT_XMIT: &[usize] = &[8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 21, 26, 27, 28];

fn packet_step(steps: &mut Steps, prog_type: ProgType, kind: usize) {
    match kind {
        5 | 7 if is_tc(prog_type) => load_bytes(steps, 68),
        8 | 9 => store_bytes(steps),
        10 => {
            let flags = steps.usual(&[0, 2, 4, 4, 2]);
            let args = [
                offset(steps),
                steps.usual(&[0, 1, 0x1234, 0xffff, 0x0100_007f]),
                steps.usual(&[0, 5, 0x4321, 0xffff, 0x0200_000a]),
                flags,
            ];
            steps.call(10, &args);
        }
        11 => {
            let flags = steps
                .usual(&[0, 2, 4, 0x10, 0x12, 0x14, 0x20, 0x24, 0x34, 0x44, 0x54, 0x60, 0x62, 0x80, 0x94]);
            let args = [
                offset(steps),
                steps.usual(&[0, 1, 0x1234, 0xffff, 0x0100_007f]),
                steps.usual(&[0, 5, 0x4321, 0xffff, 0x0200_000a]),
                flags,
            ];
            steps.call(11, &args);
        }
        12 => csum_diff(steps),
        13 => {
            let sum = steps.usual(&[0, 1, 0xffff, 0x1_0000, 0xffff_ffff]);
            steps.call(40, &[sum]);
        }
        14 => {
            let len = steps
                .usual(&[0, 1, 13, 14, 20, 34, 40, 54, 60, 64, 100, 200, 1500, 3520, 8000, 16000, 16065]);
            let flags = steps.usual(&[0, 0, 0, 0, 1]);
            steps.call(38, &[len, flags]);
        }
        15 => {
            let len = steps.usual(&[0, 1, 14, 34, 54, 60, 64, 100, 5000]);
            steps.call(39, &[len]);
        }
        16 => {
            let proto = steps.usual(&[0x0081, 0xa888, 0x0008, 0]);
            let tci = steps.usual(&[0, 1, 100, 0x6064, 0xf123, 0xffff]);
            steps.call(18, &[proto, tci]);
        }
        17 => steps.call(19, &[]),
        18 => {
            let proto = steps.usual(&[0x0008, 0xdd86, 0xdd86, 0]);
            let flags = steps.usual(&[0, 0, 0, 0, 1]);
            steps.call(31, &[proto, flags]);
        }
        19 => {
            let head = steps.usual(&[0, 1, 4, 14, 20, 40, 64, 65, 200, 1000, 16000]);
            let flags = steps.usual(&[0, 0, 0, 0, 0, 1]);
            steps.call(43, &[head, flags]);
        }
        20 => steps.call(24, &[]),
        21 => steps.call(17, &[]),
        22 | 23 => adjust_room(steps),
        24 => {
            let kind = steps.usual(&[0, 1, 2, 3, 4, 5]);
            steps.call(32, &[kind]);
        }
        25 => {
            let hash = steps.usual(&[0, 1, 0x1234_5678]);
            if steps.rng.chance(50) {
                steps.call(48, &[hash])
            } else {
                steps.call(41, &[])
            }
            steps.field("u32", 68);
        }
        26 => redirect(steps),
        27 | 28 => tunnel(steps),
        29 => {
            let level = steps.usual(&[0, 1, 2, 3, 4]);
            steps.call(135, &[level]);
        }
        30 => steps.call(97, &[]),
        31 => {
            let args = [steps.usual(&[0, 1, 5_000_000_000]), steps.usual(&[0, 1, 2, 3])];
            steps.call(192, &args);
            fields(steps);
        }
        32 => check_mtu(steps),
        33 => fib_lookup(steps),
        _ => {
            steps.direct(76, 80, true);
            set_fields(steps);
        }
    }
}

fn offset(steps: &mut Steps) -> i64 {
    steps.usual(OFFSETS)
}

fn load_bytes(steps: &mut Steps, id: u32) {
    let (off, len) = (offset(steps), steps.rng.pick(&[1, 2, 4, 6, 8, 20, 64]));
    let mut args = vec![(2, off), (4, len)];
    if id == 68 {
        args.push((5, steps.usual(&[0, 1, 1, 2])));
    }
    steps.call_with_buffer(id, 3, &args);
    steps.note_buffer(len as usize);
}

fn store_bytes(steps: &mut Steps) {
    let (off, len) = (offset(steps), steps.rng.pick(&[1, 2, 3, 4, 6, 8, 20, 64]));
    let flags = steps.usual(&[0, 0, 1, 1, 2, 3, 4]);
    steps.call_with_buffer(9, 3, &[(2, off), (4, len), (5, flags)]);
}

fn fields(steps: &mut Steps) {
    for _ in 0..steps.rng.range(1, 4) {
        let more = if is_tc(steps.prog_type) && steps.rng.chance(30) { TC_FIELDS } else { FIELDS };
        let (size, off) = steps.rng.pick(more);
        // cgroup_skb and lwt programs may not read all of them; those are refused as a whole, so leave the rare ones out.
        let rare = matches!(off, 12 | 44 | 84) && !is_tc(steps.prog_type);
        if !rare {
            steps.field(size, off);
        }
    }
}

fn set_fields(steps: &mut Steps) {
    let value = steps.rng.imm();
    let (size, off) = match (steps.prog_type, steps.rng.below(8)) {
        (ProgType::SchedCls | ProgType::SchedAct, 0) => ("u32", 44),
        (ProgType::SchedCls | ProgType::SchedAct, 1) => ("u32", 72),
        (ProgType::SchedCls | ProgType::SchedAct, 2) => ("u64", 152),
        (ProgType::SchedCls | ProgType::SchedAct, 3) => ("u32", 12),
        (ProgType::SchedCls | ProgType::SchedAct | ProgType::CgroupSkb, 4) => ("u32", 8),
        (ProgType::SchedCls | ProgType::SchedAct | ProgType::CgroupSkb, 5) => ("u32", 32),
        _ => ("u32", 48 + 4 * steps.rng.below(5) as i32),
    };
    steps.add(&format!("r1 = {value}; *({size} *)(r6 + {off}) = r1"));
    steps.field(size, off);
}

fn packet_load(steps: &mut Steps) {
    // Far outside it would end the program, which hides the rest.
    let off = steps.rng.pick(&[
        0,
        1,
        9,
        12,
        14,
        16,
        20,
        23,
        30,
        38,
        -0x100000,
        -0x100000 + 9,
        -0x200000 + 12,
        -0x1000,
    ]);
    let size = steps.rng.pick(&["u8", "u16", "u32"]);
    if steps.rng.chance(50) {
        steps.add(&format!("r0 = *({size} *)skb[{off}]"));
    } else {
        steps.add(&format!("r7 = {off}; r0 = *({size} *)skb[r7 + 0]"));
    }
    steps.note("r0");
}

fn adjust_room(steps: &mut Steps) {
    let by = steps.usual(&[-60, -40, -28, -20, -8, -4, -1, 0, 4, 8, 14, 20, 28, 36, 40, 50, 4095, 4096]);
    let mode = steps.usual(&[0, 1, 1, 0, 2]);
    let mut flags = 0;
    if steps.rng.chance(60) {
        for _ in 0..steps.rng.range(1, 3) {
            flags |= 1 << steps.rng.below(9);
        }
        if flags & (1 << 6) != 0 || steps.rng.chance(20) {
            flags |= steps.rng.pick(&[0i64, 4, 14, 14, 18, 28]) << 56;
        }
    }
    steps.call(50, &[by, mode, flags]);
}

fn redirect(steps: &mut Steps) {
    let (ifindex, flags) = (steps.usual(&[0, 1, 2, 99]), steps.usual(&[0, 1, 2]));
    let peer = is_tc(steps.prog_type) && steps.rng.chance(50);
    let id = if peer { 155 } else { 23 };
    steps.add(&format!("r1 = {ifindex} ll; r2 = {flags} ll; call {id}"));
    steps.note("r0");
}

fn tunnel(steps: &mut Steps) {
    let len = steps.rng.pick(&[44, 44, 44, 28, 24, 22, 8, 40]);
    match steps.rng.below(5) {
        0 | 1 => {
            // A key without label and extension is taken.
            if steps.rng.chance(70) {
                steps.add(&format!("*(u16 *)(r10 {}) = 0; *(u32 *)(r10 {}) = 0", BUFFER + 22, BUFFER + 24));
            }
            let flags = steps.usual(&[0, 0, 1, 2, 4, 8, 16, 17, 32]);
            steps.call_with_buffer(21, 2, &[(3, len), (4, flags)]);
        }
        2 | 3 => {
            let flags = steps.usual(&[0, 0, 1, 16, 17, 2]);
            steps.call_with_buffer(20, 2, &[(3, len), (4, flags)]);
            steps.note_buffer(len as usize);
        }
        _ => {
            let id = steps.rng.pick(&[29, 30]);
            let len = steps.rng.pick(&[4, 8, 6, 64, 252, 256]);
            steps.call_with_buffer(id, 2, &[(3, len)]);
            if id == 29 {
                steps.note_buffer(len as usize);
            }
        }
    }
}

/// `bpf_csum_diff` of parts of the buffer.
pub(super) fn csum_diff(steps: &mut Steps) {
    let from = steps.rng.pick(&[0, 4, 8, 20, 40, 128, 6]);
    let to = steps.rng.pick(&[0, 4, 8, 20, 40, 128, 2]);
    let seed = steps.usual(&[0, 1, 0xffff, 0xffff_ffff]);
    let second = BUFFER + BUFFER_LEN as i32 / 2;
    let suffix = if i32::try_from(seed).is_ok() { "" } else { " ll" };
    steps.add(&format!(
        "r1 = r10; r1 += {BUFFER}; r2 = {from}; r3 = r10; r3 += {second}; r4 = {to}; r5 = {seed}{suffix}; call 28"
    ));
    steps.note("r0");
}

/// `bpf_check_mtu` with a length of 0 or more in the buffer.
pub(super) fn check_mtu(steps: &mut Steps) {
    let len = steps.usual(&[0, 60, 1500, 65535, 65537, 100_000]) as i32;
    steps.add(&format!("*(u32 *)(r10 {BUFFER}) = {len}"));
    let args = [
        (2, steps.usual(&[0, 1, 2])),
        (4, steps.usual(&[0, 4, -4, -100, 70000])),
        (5, steps.usual(&[0, 0, 1, 2])),
    ];
    steps.call_with_buffer(163, 3, &args);
    steps.note_buffer(8);
}

/// `bpf_fib_lookup` with some families and addresses.
pub(super) fn fib_lookup(steps: &mut Steps) {
    let family = steps.usual(&[2, 10, 10, 0, 1]) as u8;
    let ifindex = steps.usual(&[0, 1, 2]) as i32;
    steps.add(&format!("*(u8 *)(r10 {BUFFER}) = {family}; *(u32 *)(r10 {}) = {ifindex}", BUFFER + 8));
    if steps.rng.chance(50) {
        let first = steps.rng.pick(&[0x80fe, 0x02ff, 0x0120, 0x00fc]);
        steps.add(&format!("*(u16 *)(r10 {}) = {first}", BUFFER + 32));
    }
    let args = [(3, steps.rng.pick(&[64, 64, 64, 60])), (4, steps.usual(&[0, 0, 1, 2, 4, 8, 0x40]))];
    steps.call_with_buffer(69, 2, &args);
    steps.note_buffer(64);
}

/// `bpf_perf_event_output` to an array without events.
pub(super) fn perf_event_output(steps: &mut Steps) {
    let flags = steps.usual(&[
        0,
        1,
        2,
        0xffff_ffff,
        60 << 32 | 0xffff_ffff,
        14 << 32,
        5000 << 32 | 0xffff_ffff,
        1 << 52,
    ]);
    let len = steps.rng.pick(&[0, 1, 8, 64]);
    steps.add(&format!(
        "r1 = r6; r2 = map[idx:1]; r3 = {flags} ll; r4 = r10; r4 += {BUFFER}; r5 = {len}; call 25"
    ));
    steps.note("r0");
}
