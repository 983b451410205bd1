//! What XDP programs do.

use super::skb::{check_mtu, csum_diff, fib_lookup, perf_event_output};
use super::step::Steps;

/// One random thing.
pub(super) fn step(steps: &mut Steps) {
    match steps.rng.below(14) {
        0 | 1 => {
            let by = steps.usual(&[-64, -40, -20, -14, -4, -1, 1, 4, 14, 20, 34, 40, 60, -200, -217, 3000]);
            steps.call(44, &[by]);
        }
        2 => {
            let by = steps.usual(&[-32, -8, -4, -252, -256, -6, 4, 8, 0]);
            steps.call(54, &[by]);
        }
        3 | 4 => {
            let by = steps.usual(&[-40, -20, -8, -1, 1, 8, 64, 200, 3000, 4096, -3000, -1000, -60]);
            steps.call(65, &[by]);
        }
        5 => bytes(steps, 189),
        6 => bytes(steps, 190),
        7 => steps.call(188, &[]),
        8 => csum_diff(steps),
        9 => check_mtu(steps),
        10 => fib_lookup(steps),
        11 => {
            let args = [steps.usual(&[0, 1, 2]), steps.usual(&[0, 1])];
            let statements = format!("r1 = {} ll; r2 = {} ll; call 23", args[0], args[1]);
            steps.add(&statements);
            steps.note("r0");
        }
        12 => perf_event_output(steps),
        _ => {
            steps.direct(0, 4, true);
            let off = steps.rng.pick(&[12, 16]);
            steps.field("u32", off);
            steps.add("r2 = *(u32 *)(r6 + 8); r3 = *(u32 *)(r6 + 0); r3 -= r2");
            steps.note("r3");
        }
    }
}

fn bytes(steps: &mut Steps, id: u32) {
    let off = steps.usual(&[0, 1, 6, 12, 14, 16, 23, 30, 34, 42, 54, 60, 100, 3500, 3516, 4090, 4999, 8191]);
    let len = steps.rng.pick(&[1, 2, 4, 6, 8, 20, 64, 200]);
    steps.call_with_buffer(id, 3, &[(2, off), (4, len)]);
    if id == 189 {
        steps.note_buffer(len as usize);
    }
}
