//! Work queues: callbacks that run soon, outside of the program that asks for them. Like a timer that is due at once.

use crate::helpers::timer;
use crate::timers::Base;
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, MemAccess, MemLen, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

const WQ: ArgType = ArgType::Mem(MemAccess::ReadWrite, MemLen::Fixed(16));

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(0, "bpf_wq_init")
            .args(&[arg("wq", WQ), arg("map", ArgType::ConstMapPtr), arg("flags", ArgType::Anything)])
            .since(6, 10),
        init,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_wq_set_callback_impl")
            .args(&[
                arg("wq", WQ),
                arg("callback_fn", ArgType::Func),
                arg("flags", ArgType::Anything),
                arg("aux", ArgType::Anything),
            ])
            .flags(HelperFlags::CALLS_BACK)
            .since(6, 10),
        set_callback,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_wq_start")
            .args(&[arg("wq", WQ), arg("flags", ArgType::Anything)])
            .since(6, 10),
        start,
    ),
];

fn init(call: &mut Call<'_>, wq: u64, map: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    check(flags).and_then(|()| timer::init(call, wq, map, Base::Monotonic)).or_else(int)
}

fn set_callback(call: &mut Call<'_>, wq: u64, func: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    check(flags).and_then(|()| timer::timer_set_callback(call, wq, func, 0, 0, 0)).or_else(int)
}

fn start(call: &mut Call<'_>, wq: u64, flags: u64, _: u64, _: u64, _: u64) -> HelperResult {
    check(flags).and_then(|()| timer::timer_start(call, wq, 0, 0, 0, 0)).or_else(int)
}

fn check(flags: u64) -> Result<(), Trap> {
    if flags as u32 == 0 { Ok(()) } else { Err(Errno::EINVAL.into()) }
}

/// What a kfunc that returns an `int` leaves in r0: only its low half is meant.
fn int(trap: Trap) -> HelperResult {
    match trap {
        Trap::Errno(errno) => Ok(u64::from(-errno.0 as u32)),
        trap => Err(trap),
    }
}
