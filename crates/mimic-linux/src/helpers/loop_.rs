//! bpf_loop: a callback, again and again.

use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult, Next};

pub(super) const ROWS: &[Helper] = &[Helper::new(
    HelperSpec::new(181, "loop")
        .args(&[
            arg("nr_loops", ArgType::Anything),
            arg("callback_fn", ArgType::Func),
            arg_or_null("callback_ctx", ArgType::Stack),
            arg("flags", ArgType::Anything),
        ])
        .flags(HelperFlags::CALLS_BACK)
        .since(5, 17),
    loop_,
)];

/// The most calls (`BPF_MAX_LOOPS`).
const LOOPS_MAX: u64 = 8 << 20;

/// Calls `callback(index, ctx)` until it answers something else than 0. Answers how often it was called.
fn loop_(call: &mut Call<'_>, loops: u64, callback: u64, ctx: u64, flags: u64, _: u64) -> HelperResult {
    let func = call.func(callback)?;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    if loops > LOOPS_MAX {
        // The verifier puts the loop in place of the call, and there the number is 32 bits wide.
        return Ok(u64::from(-Errno::E2BIG.0 as u32));
    }
    if loops == 0 {
        return Ok(0);
    }
    let mut called = 0;
    let next = move |_: &mut Call<'_>, r0: u64| {
        called += 1;
        Ok(if r0 != 0 || called == loops {
            Next::Return(called)
        } else {
            Next::Again([called, ctx, 0, 0, 0])
        })
    };
    Err(call.call_back(func, [0, ctx, 0, 0, 0], next))
}
