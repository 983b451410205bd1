//! Clocks, jiffies, random numbers and CPU numbers, from the world.

use crate::Linux;
use mimic_abi::{HelperFlags, HelperSpec};
use mimic_vm::{Call, Helper, HelperResult, Known};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(HelperSpec::new(5, "ktime_get_ns").since(4, 1), ktime_get_ns),
    Helper::new(HelperSpec::new(7, "get_prandom_u32").since(4, 1), get_prandom_u32),
    Helper::new(
        HelperSpec::new(8, "get_smp_processor_id").flags(HelperFlags::FASTCALL).since(4, 1),
        get_smp_processor_id,
    )
    .known(Known::Cpu),
    Helper::new(HelperSpec::new(42, "get_numa_node_id").since(4, 10), get_numa_node_id),
    Helper::new(HelperSpec::new(118, "jiffies64").since(5, 6), jiffies64),
    Helper::new(HelperSpec::new(125, "ktime_get_boot_ns").since(5, 8), ktime_get_boot_ns),
    Helper::new(HelperSpec::new(160, "ktime_get_coarse_ns").since(5, 11), ktime_get_coarse_ns),
    Helper::new(HelperSpec::new(208, "ktime_get_tai_ns").since(6, 1), ktime_get_tai_ns),
];

fn ktime_get_ns(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).clock().read_ns(call.cpu()))
}

fn ktime_get_boot_ns(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let clock = Linux::of(call).clock();
    Ok(clock.boot_ns(clock.read_ns(call.cpu())))
}

fn ktime_get_coarse_ns(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let clock = Linux::of(call).clock();
    Ok(clock.coarse_ns(clock.read_ns(call.cpu())))
}

fn ktime_get_tai_ns(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let clock = Linux::of(call).clock();
    Ok(clock.tai_ns(clock.read_ns(call.cpu())))
}

fn jiffies64(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let clock = Linux::of(call).clock();
    Ok(clock.jiffies(clock.read_ns(call.cpu())))
}

fn get_prandom_u32(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(u64::from(Linux::of(call).random(call.cpu()) as u32))
}

fn get_smp_processor_id(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(u64::from(call.cpu()))
}

fn get_numa_node_id(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(u64::from(Linux::of(call).world().numa_node(call.cpu())))
}
