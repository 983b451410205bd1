//! Infrared receivers: what programs decode is noted as effects.

use crate::effects::{Effect, note};
use mimic_abi::{ArgType, HelperFlags, HelperSpec, arg};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(77, "rc_repeat")
            .args(&[arg("ctx", ArgType::Ctx)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 18),
        rc_repeat,
    ),
    Helper::new(
        HelperSpec::new(78, "rc_keydown")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("protocol", ArgType::Anything),
                arg("scancode", ArgType::Anything),
                arg("toggle", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 18),
        rc_keydown,
    ),
    Helper::new(
        HelperSpec::new(92, "rc_pointer_rel")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("rel_x", ArgType::Anything),
                arg("rel_y", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 0),
        rc_pointer_rel,
    ),
];

fn rc_repeat(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    note(call, Effect::KeyRepeat).map(|()| 0)
}

/// Any toggle bit but 0 is 1.
fn rc_keydown(
    call: &mut Call<'_>,
    _: u64,
    protocol: u64,
    scancode: u64,
    toggle: u64,
    _: u64,
) -> HelperResult {
    let toggle = u32::from(toggle as u32 != 0);
    note(call, Effect::KeyDown { protocol: protocol as u32, scancode, toggle }).map(|()| 0)
}

fn rc_pointer_rel(call: &mut Call<'_>, _: u64, x: u64, y: u64, _: u64, _: u64) -> HelperResult {
    note(call, Effect::PointerMoved { x: x as i32, y: y as i32 }).map(|()| 0)
}
