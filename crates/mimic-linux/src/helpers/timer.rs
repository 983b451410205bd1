//! Timers in map values, on the world's clock. They run when the runner says so, between runs: see `Linux::advance_to`.

use crate::Linux;
use crate::timers::Base;
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, Size, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(169, "timer_init")
            .args(&[
                arg("timer", ArgType::Timer),
                arg("map", ArgType::ConstMapPtr),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 15),
        timer_init,
    ),
    Helper::new(
        HelperSpec::new(170, "timer_set_callback")
            .args(&[arg("timer", ArgType::Timer), arg("callback_fn", ArgType::Func)])
            .flags(HelperFlags::GPL_ONLY)
            .flags(HelperFlags::CALLS_BACK)
            .since(5, 15),
        timer_set_callback,
    ),
    Helper::new(
        HelperSpec::new(171, "timer_start")
            .args(&[
                arg("timer", ArgType::Timer),
                arg("nsecs", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 15),
        timer_start,
    ),
    Helper::new(
        HelperSpec::new(172, "timer_cancel")
            .args(&[arg("timer", ArgType::Timer)])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 15),
        timer_cancel,
    ),
];

/// Times are absolute (`BPF_F_TIMER_ABS`).
const ABSOLUTE: u64 = 1;
/// The callback is to run on this CPU (`BPF_F_TIMER_CPU_PIN`), which it always does.
const CPU_PIN: u64 = 2;

fn timer_init(call: &mut Call<'_>, addr: u64, map: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    // The clocks' numbers of clock_gettime(2).
    let base = match flags {
        0 => Base::Real,
        1 => Base::Monotonic,
        7 => Base::Boot,
        _ => return Err(Errno::EINVAL.into()),
    };
    init(call, addr, map, base)
}

/// Makes a timer, or work, at an address in a value of `map`.
pub(crate) fn init(call: &mut Call<'_>, addr: u64, map: u64, base: Base) -> HelperResult {
    let (map, id) = (call.map(map)?, load(call, addr)?);
    let id = Linux::of(call).lock_timers().init(addr, id, map, base)?;
    call.store(addr, Size::Dw, id)?;
    Ok(0)
}

pub(crate) fn timer_set_callback(
    call: &mut Call<'_>,
    addr: u64,
    func: u64,
    _: u64,
    _: u64,
    _: u64,
) -> HelperResult {
    let (func, id) = (call.func(func)?, load(call, addr)?);
    Linux::of(call).lock_timers().set_callback(addr, id, func)?;
    Ok(0)
}

pub(crate) fn timer_start(
    call: &mut Call<'_>,
    addr: u64,
    ns: u64,
    flags: u64,
    _: u64,
    _: u64,
) -> HelperResult {
    if flags & !(ABSOLUTE | CPU_PIN) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (linux, id) = (Linux::of(call), load(call, addr)?);
    linux.lock_timers().start((addr, id), linux.clock(), ns, flags & ABSOLUTE != 0, call.cpu())?;
    Ok(0)
}

fn timer_cancel(call: &mut Call<'_>, addr: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let id = load(call, addr)?;
    Ok(u64::from(Linux::of(call).lock_timers().cancel(addr, id, call.cpu())?))
}

/// What is in a `struct bpf_timer` or `struct bpf_wq`.
fn load(call: &Call<'_>, addr: u64) -> Result<u64, Trap> {
    call.check(addr, 16, true)?;
    call.load(addr, Size::Dw)
}
